// The server's interface: who asks, for which collection, and how long it took.

import { by, t } from "./page.js";

export const latencies = [];  // ms of this page's requests, the last one last
const changed = new EventTarget();

export const onAnswer = (listener) => changed.addEventListener("answer", listener);

export function address(path, scheme = "") {
  const url = new URL(path, document.baseURI);
  const collection = by("collection").value.trim();
  if (collection && collection !== "default") {
    url.searchParams.set("collection", collection);
  }
  if (scheme) {
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  }
  return url;
}

export async function ask(method, path, body) {
  const headers = {};
  const key = by("key").value.trim();
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  if (body && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const started = performance.now();
  let reply;
  try {
    reply = await fetch(address(path), { method, headers, body });
  } catch {
    throw new Error(t("unreachable"));
  }
  latencies.push(performance.now() - started);
  latencies.splice(0, latencies.length - 100);
  changed.dispatchEvent(new Event("answer"));
  if (!reply.ok) {
    const problem = await reply.json().catch(() => ({ detail: reply.statusText }));
    throw new Error(problem.detail);
  }
  return reply;
}

export const askJson = async (...request) => (await ask(...request)).json();

export function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) {
      data.append(name, value, value.name ?? "recording.webm");
    } else if (value) {
      data.append(name, value);
    }
  }
  return data;
}

export const speakerPath = (id) => `v1/speakers/${encodeURIComponent(id)}`;

export async function save(reply, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await reply.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
