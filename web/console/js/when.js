// Who spoke when: a time line beside the video, and the turns as a table.

import { ask, askJson, form, save } from "./api.js";
import { attempt, by, element, percent, row, t } from "./page.js";

let file = null;

export function setUpWhen() {
  by("long-file").addEventListener("change", (event) => take(event.target.files[0]));
  by("segment").addEventListener("click", () => attempt(find));
  by("rttm").addEventListener("click", () => attempt(saveRttm));
}

function take(chosen) {
  if (!chosen) {
    return;
  }
  file = chosen;
  by("segment").disabled = by("rttm").disabled = false;
  by("timeline").replaceChildren();
  by("turns").hidden = true;
  const player = by("long-player");
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
}

async function find() {
  const { duration_s, turns } = await askJson("POST", "v1/segments", form({ audio: file }));
  const speakers = [...new Set(turns.map((turn) => turn.speaker))];
  by("timeline").replaceChildren(...speakers.map((speaker) => lane(speaker, turns, duration_s)));
  by("turns").tBodies[0].replaceChildren(...turns.map((turn) => row(
    link(turn), turn.end_s.toFixed(1), turn.speaker,
    turn.verdict ? percent(turn.verdict.probability) : "",
  )));
  by("turns").hidden = turns.length === 0;
  if (turns.length === 0) {
    by("timeline").textContent = t("no_speech");
  }
}

function lane(speaker, turns, duration) {
  const made = element("div", "", { class: "lane" });
  const track = element("div", "", { class: "track" });
  for (const turn of turns.filter((each) => each.speaker === speaker)) {
    const button = element("button", "", { type: "button", "aria-label": named(turn), title: named(turn) });
    button.classList.toggle("unknown", turn.speaker_id === null);
    button.style.left = `${(100 * turn.start_s) / duration}%`;
    button.style.width = `${(100 * (turn.end_s - turn.start_s)) / duration}%`;
    button.addEventListener("click", () => seek(turn));
    track.append(button);
  }
  made.append(element("span", speaker), track);
  return made;
}

function link(turn) {
  const button = element("button", turn.start_s.toFixed(1), { type: "button", class: "link", "aria-label": named(turn) });
  button.addEventListener("click", () => seek(turn));
  return button;
}

const named = (turn) => t("seek", {
  speaker: turn.speaker, from: turn.start_s.toFixed(1), to: turn.end_s.toFixed(1),
});

function seek(turn) {
  by("long-player").currentTime = turn.start_s;
  by("long-player").play().catch(() => {});
}

async function saveRttm() {
  await save(await ask("POST", "v1/segments?format=rttm", form({ audio: file })), `${file.name}.rttm`);
}
