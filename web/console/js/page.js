// What every panel uses: elements, words in the chosen language, the status line.

import en from "./en.js";
import ko from "./ko.js";

const dictionaries = { en, ko };
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
}

export function say(text, isBad = false) {
  by("status").textContent = text;
  by("status").classList.toggle("bad", isBad);
}

// Runs what a button stands for: one at a time, its failure in the status line.
export async function attempt(work) {
  say(t("working"));
  try {
    await work();
    say("");
  } catch (error) {
    say(error.message, true);
  }
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
