// Who spoke when: a time line beside the video, and the turns as a table.

import { ask, askJson, form, save } from "./api.js";
import { attempt, by, element, load, onLanguage, percent, row, t, takeDropped } from "./page.js";

let file = null;
let found = null;  // the server's answer
let shown = [];  // [turn, its elements]

export function setUpWhen() {
  const player = by("long-player");
  by("long-file").addEventListener("change", ({ target }) => take(target.files[0]));
  by("segment").addEventListener("click", () => attempt("segment", find));
  by("rttm").addEventListener("click", () => attempt("rttm", saveRttm));
  player.addEventListener("loadedmetadata", () => player.classList.toggle("sound", player.videoHeight === 0));
  player.addEventListener("timeupdate", follow);
  takeDropped(by("when"), ([first]) => take(first));
  onLanguage(() => found && render());
}

function take(chosen) {
  if (!chosen) {
    return;
  }
  file = chosen;
  forgetTurns();
  by("segment").disabled = by("rttm").disabled = false;
  by("long-name").textContent = file.name;
  load(by("long-player"), file);
}

export function forgetTurns() {
  found = null;
  by("timeline").replaceChildren();
  by("turns").hidden = true;
}

async function find() {
  const asked = file;
  const said = await askJson("POST", "v1/segments", form({ audio: asked }));
  if (asked === file) {
    found = said;
    render();
  }
}

function render() {
  const { duration_s, turns } = found;
  shown = turns.map((turn) => [turn, [bar(turn, duration_s), line(turn)]]);
  const speakers = [...new Set(turns.map((turn) => turn.speaker))];
  by("timeline").replaceChildren(...speakers.map(lane));
  by("turns").tBodies[0].replaceChildren(...shown.map(([, [, tr]]) => tr));
  by("turns").hidden = turns.length === 0;
  if (turns.length === 0) {
    by("timeline").textContent = t("no_speech");
  }
  follow();
}

function lane(speaker) {
  const made = element("div", "", { class: "lane" });
  const track = element("div", "", { class: "track" });
  track.append(...shown.filter(([turn]) => turn.speaker === speaker).map(([, [button]]) => button));
  made.append(element("span", speaker), track);
  return made;
}

function bar(turn, duration) {
  const button = seeking(turn, "");
  button.title = named(turn);
  button.classList.toggle("unknown", turn.speaker_id === null);
  button.style.left = `${(100 * turn.start_s) / duration}%`;
  button.style.width = `${(100 * (turn.end_s - turn.start_s)) / duration}%`;
  return button;
}

function line(turn) {
  const button = seeking(turn, turn.start_s.toFixed(1));
  button.className = "link";
  const isKnown = turn.speaker_id !== null && turn.verdict;
  return row(button, turn.end_s.toFixed(1), turn.speaker, isKnown ? percent(turn.verdict.probability) : "");
}

function seeking(turn, text) {
  const button = element("button", text, { type: "button", "aria-label": named(turn) });
  button.addEventListener("click", () => {
    by("long-player").currentTime = turn.start_s;
    by("long-player").play().catch(() => {});
  });
  return button;
}

const named = (turn) => t("seek", {
  speaker: turn.speaker, from: turn.start_s.toFixed(1), to: turn.end_s.toFixed(1),
});

// Shows where the player is, and whose turn that is.
function follow() {
  if (!found) {
    return;
  }
  const now = by("long-player").currentTime;
  by("timeline").style.setProperty("--now", `${(100 * now) / found.duration_s}%`);
  for (const [turn, elements] of shown) {
    const isNow = turn.start_s <= now && now < turn.end_s;
    elements.forEach((each) => (isNow ? each.setAttribute("aria-current", "true") : each.removeAttribute("aria-current")));
  }
}

async function saveRttm() {
  await save(await ask("POST", "v1/segments?format=rttm", form({ audio: file })), `${file.name}.rttm`);
}
