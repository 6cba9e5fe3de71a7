// A running answer while one speaks, over a WebSocket.

import { address } from "./api.js";
import { by, say, t } from "./page.js";

// Gives where the recorder's pieces go. `show` gets each answer as of POST /v1/identify.
export function listenLive(show) {
  const url = address("v1/live", "ws");
  const key = by("key").value.trim();
  const socket = new WebSocket(url, key ? ["speaker", `key.${key}`] : ["speaker"]);
  const waiting = [];
  const deliver = (message) => {
    if (socket.readyState === WebSocket.CONNECTING) {
      waiting.push(message);
    } else if (socket.readyState === WebSocket.OPEN) {
      socket.send(message);
    }
  };
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ type: "start", format: "opus" }));
    waiting.splice(0).forEach((message) => socket.send(message));
    listening(t("hearing"));
  });
  socket.addEventListener("message", ({ data }) => {
    const told = JSON.parse(data);
    if (told.type === "error") {
      say(told.detail, true);
    } else if (told.type === "waiting") {
      listening(t("hearing_some", { speech: told.speech_s.toFixed(1), needed: told.needed_s.toFixed(1) }));
    } else {
      show(told);
    }
  });
  socket.addEventListener("error", () => say(t("no_live"), true));
  return {
    send: (piece) => deliver(piece),
    end: () => deliver(JSON.stringify({ type: "end" })),
  };
}

function listening(words) {
  by("outcome").className = "outcome";
  by("outcome").textContent = words;
}
