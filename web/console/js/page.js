// What every panel uses: elements, words in the chosen language, the status line, dropped files.

import en from "./en.js";
import ko from "./ko.js";

const dictionaries = { en, ko };
const spoken = new EventTarget();
const busy = new Set();
let words = en;

export const by = (id) => document.getElementById(id);

export function t(key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export function speak(language) {
  words = dictionaries[language] ?? en;
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = t(element.dataset.t);
  }
  document.title = t("title");
  spoken.dispatchEvent(new Event("language"));
}

// `render` says again, in another language, what a panel has to say.
export const onLanguage = (render) => spoken.addEventListener("language", render);

export function say(text, isBad = false) {
  by("status").textContent = text;
  by("status").classList.toggle("bad", isBad);
}

// Runs what a control stands for, its failure in the status line: once at a time of a name, but
// null overlaps. `work` may give the words to end with.
export async function attempt(name, work) {
  if (name !== null && busy.has(name)) {
    return;
  }
  busy.add(name);
  say(t("working"));
  try {
    say(await work() ?? "");
  } catch (error) {
    say(error.message, true);
  } finally {
    busy.delete(name);
  }
}

// Has a place take files that are dropped on it.
export function takeDropped(place, take) {
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("dropping");
  });
  place.addEventListener("dragleave", () => place.classList.remove("dropping"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("dropping");
    take([...event.dataTransfer.files]);
  });
}

// Gives a player another file, and lets go of the one before.
export function load(player, file) {
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
}

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

export function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((cell) => {
    const td = document.createElement("td");
    td.append(cell);
    return td;
  }));
  return made;
}

export const percent = (share) => {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value >= 0.01 || value === 0 ? Number(value.toPrecision(2)) : "< 0.01"} %`;
};

export const day = (time) => time.slice(0, 10);
