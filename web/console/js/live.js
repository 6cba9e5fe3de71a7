// A running answer while one speaks, over a WebSocket.

import { address } from "./api.js";
import { by, say, t } from "./page.js";

// Gives where the recorder's pieces go. `show` gets each answer as of POST /v1/identify.
export function listenLive(show) {
  const url = address("v1/live", "ws");
  const key = by("key").value.trim();
  const socket = new WebSocket(url, key ? ["speaker", `key.${key}`] : ["speaker"]);
  const waiting = [];
  let isOpen = false;
  const deliver = (message) => (isOpen ? socket.send(message) : waiting.push(message));
  socket.addEventListener("open", () => {
    isOpen = true;
    socket.send(JSON.stringify({ type: "start", format: "opus" }));
    waiting.splice(0).forEach((message) => socket.send(message));
    by("outcome").className = "outcome";
    by("outcome").textContent = t("hearing");
  });
  socket.addEventListener("message", ({ data }) => {
    const told = JSON.parse(data);
    if (told.type === "error") {
      say(told.detail, true);
    } else if (told.verdict) {
      show(told);
    }
  });
  socket.addEventListener("error", () => say(t("unreachable"), true));
  return {
    send: (piece) => deliver(piece),
    end: () => deliver(JSON.stringify({ type: "end" })),
  };
}
