// The server's interface: who asks, for which collection, and how long it took.

import { by, t } from "./page.js";

export const requests = [];  // of this page: {what, ms}, the last one last
const MOST = 100;
const changed = new EventTarget();

export const onAnswer = (listener) => changed.addEventListener("answer", listener);

export function address(path, scheme = "") {
  const url = new URL(path, document.baseURI);
  const collection = by("collection").value.trim();
  if (collection && collection !== "default" && path !== "v1/collections") {
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
  requests.push({ what: `${method} /${kind(path)}`, ms: performance.now() - started });
  requests.splice(0, requests.length - MOST);
  changed.dispatchEvent(new Event("answer"));
  if (!reply.ok) {
    const problem = await reply.json().catch(() => ({ detail: reply.statusText }));
    throw new Error(problem.detail);
  }
  return reply;
}

// A path without what is asked in particular.
const kind = (path) => path.replace(/\?.*/, "").replace(/(speakers\/)[^/]+/, "$1...").replace(/(recordings\/).+/, "$1...");

export const askJson = async (...request) => (await ask(...request)).json();

export function form(fields) {
  const data = new FormData();
  for (const [name, values] of Object.entries(fields)) {
    for (const value of [values].flat()) {
      if (value) {
        data.append(name, value);  // a file goes under its own name
      }
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
