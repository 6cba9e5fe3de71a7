// Who is it? A recording, its answer, and enrolling with it.

import { ask, askJson, form, speakerPath } from "./api.js";
import { listenLive } from "./live.js";
import { attempt, by, element, percent, row, say, t } from "./page.js";
import { record } from "./recorder.js";
import { decode, draw } from "./wave.js";

let clip = null;  // the recording at hand
let sound = null;
let stopRecording = null;
let limits = { max_fpir: 0.01 };

export function setUpAsk() {
  by("record").addEventListener("click", toggleRecording);
  by("file").addEventListener("change", (event) => take(event.target.files[0]));
  by("identify").addEventListener("click", () => attempt(identify));
  by("enrol").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => CHANGES[event.submitter.value](by("speaker-id").value.trim()));
  });
  takeDropped(by("ask"));
}

function takeDropped(place) {
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("dropping");
  });
  place.addEventListener("dragleave", () => place.classList.remove("dropping"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("dropping");
    take(event.dataTransfer.files[0]);
  });
}

async function toggleRecording() {
  const button = by("record");
  if (stopRecording) {
    const stop = stopRecording;
    stopRecording = null;
    button.classList.remove("recording");
    button.dataset.t = "record";
    button.textContent = t("record");
    take(await stop());
    return;
  }
  say("");
  try {
    const live = by("live").checked ? listenLive(show) : null;
    const stop = await record((piece) => live?.send(piece));
    stopRecording = async () => {
      const file = await stop();
      live?.end();
      return file;
    };
  } catch (error) {
    say(error.message, true);
    return;
  }
  button.classList.add("recording");
  button.dataset.t = "stop";
  button.textContent = t("stop");
}

async function take(file) {
  if (!file) {
    return;
  }
  clip = file;
  forget();
  for (const id of ["identify", "register", "add", "replace"]) {
    by(id).disabled = false;
  }
  const player = by("player");
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  try {
    sound = await decode(file);
    draw(by("wave"), sound);
    by("wave-name").textContent = t("wave_some", { name: file.name, seconds: sound.seconds.toFixed(1) });
  } catch {  // a kind that this browser cannot draw: the server may know it
    sound = null;
    by("wave-name").textContent = file.name;
  }
}

function forget() {
  for (const id of ["outcome", "why", "enrolled"]) {
    by(id).textContent = "";
  }
  by("ranking").hidden = true;
}

async function identify() {
  forget();
  limits = await askJson("GET", "v1/gallery").catch(() => limits);
  show(await askJson("POST", "v1/identify", form({ audio: clip })));
  markSpeech();
}

async function markSpeech() {
  if (!sound) {
    return;
  }
  const { turns } = await askJson("POST", "v1/segments", form({ audio: clip }));
  const speech = turns.reduce((sum, turn) => sum + turn.end_s - turn.start_s, 0);
  draw(by("wave"), sound, turns);
  by("wave-name").textContent = t("wave_speech", {
    name: clip.name, seconds: sound.seconds.toFixed(1), speech: speech.toFixed(1),
  });
}

export function show({ candidates, verdict, quality }) {
  const values = {
    name: candidates[0].speaker_id, chance: percent(verdict.stranger_chance), most: percent(limits.max_fpir),
  };
  const outcome = by("outcome");
  outcome.className = `outcome ${verdict.outcome}`;
  outcome.textContent = t(verdict.outcome, values);
  const reasons = [t(`why_${verdict.outcome}`, values)];
  if (verdict.more_speech_s !== null) {
    reasons.push(t("more", { seconds: Math.ceil(verdict.more_speech_s) }));
  }
  if (quality?.two_voices) {
    reasons.push(t("two_voices"));
  }
  by("why").textContent = [...reasons, t("not_checked")].join(" ");
  by("ranking").tBodies[0].replaceChildren(...candidates.map((each) => {
    const probability = each.probability ?? 0;
    const bar = element("progress", "", { max: 1, value: probability, "aria-label": t("probability") });
    const cell = document.createElement("span");
    cell.append(bar, ` ${percent(probability)}`);
    return row(each.speaker_id, cell, each.score.toFixed(2));
  }));
  by("ranking").hidden = false;
}

function consent() {
  const given = by("given-by").value.trim();
  return given ? {
    consent_given_by: given, consent_given_at: new Date().toISOString(), consent_until: by("until").value,
  } : {};
}

function tell(key, id, said) {
  const words = [t(key, {
    name: id, seconds: said.speech_s?.toFixed(1), count: said.recordings.length,
  })];
  if (said.duplicate_of) {
    words.push(t("duplicate", { name: said.duplicate_of }));
  }
  if (said.matches_before === false) {
    words.push(t("no_match"));
  }
  by("enrolled").textContent = words.join(" ");
}

const CHANGES = {
  async register(id) {
    const body = form({ speaker_id: id, audio: clip, ...consent() });
    tell("done_register", id, await askJson("POST", "v1/speakers", body));
  },
  async add(id) {
    tell("done_add", id, await askJson("POST", `${speakerPath(id)}/recordings`, form({ audio: clip })));
  },
  async replace(id) {
    tell("done_replace", id, await askJson("PUT", `${speakerPath(id)}/recordings`, form({ audio: clip })));
  },
  async delete(id) {
    if (window.confirm(t("sure_delete", { name: id }))) {
      const receipt = await (await ask("DELETE", speakerPath(id))).json();
      by("enrolled").textContent = t("done_delete", { name: id, count: receipt.files.length });
    }
  },
};
