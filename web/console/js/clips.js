// The recordings at hand: from the microphone or from files, to be seen and listened to.

import { by, element, load, onLanguage, say, t, takeDropped } from "./page.js";
import { canStream, record } from "./recorder.js";
import { decode, draw } from "./wave.js";

let clips = [];
let chosen = null;
let sound = null;  // of the chosen one; null where this browser cannot decode it
let passages = null;  // of speech in it, once the server has said
let stopRecording = null;

export const allClips = () => clips;
export const chosenClip = () => chosen;

// `onChoice` hears that another recording is looked at; `listen` begins an answer while one speaks.
export function setUpClips(onChoice, listen) {
  const take = (files) => takeAll(files, onChoice);
  by("record").addEventListener("click", () => toggleRecording(take, listen));
  by("file").addEventListener("change", ({ target }) => take([...target.files]));
  by("clips").addEventListener("change", ({ target }) => choose(clips[target.value], onChoice));
  by("live").disabled = !canStream();
  takeDropped(by("ask"), take);
  onLanguage(describe);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", describe);
}

async function toggleRecording(take, listen) {
  const button = by("record");
  button.disabled = true;
  say("");
  try {
    if (stopRecording) {
      const stop = stopRecording;
      stopRecording = null;
      take([await stop()]);
    } else {
      stopRecording = await begin(listen);
    }
  } catch (error) {
    say(error.message, true);
  }
  button.disabled = false;
  button.classList.toggle("recording", stopRecording !== null);
  button.dataset.t = stopRecording ? "stop" : "record";
  button.textContent = t(button.dataset.t);
}

async function begin(listen) {
  const live = by("live").checked ? listen() : null;
  const stop = await record((piece) => live?.send(piece));
  return async () => {
    const file = await stop();
    live?.end();
    return file;
  };
}

function takeAll(files, onChoice) {
  if (files.length === 0) {
    return;
  }
  clips = files;
  by("clips").hidden = clips.length === 1;
  by("clips").replaceChildren(by("clips").firstElementChild, ...clips.map((clip, place) => {
    const label = element("label", "", { class: "check" });
    const choice = element("input", "", { type: "radio", name: "clip", value: place });
    choice.checked = place === 0;
    label.append(choice, element("span", clip.name));
    return label;
  }));
  for (const id of ["identify", "register", "add", "replace"]) {
    by(id).disabled = false;
  }
  choose(clips[0], onChoice);
}

async function choose(clip, onChoice) {
  chosen = clip;
  sound = passages = null;
  onChoice();
  load(by("player"), clip);
  const decoded = await decode(clip).catch(() => null);
  if (chosen === clip) {
    sound = decoded;
    describe();
  }
}

// Marks the passages in which a recording has speech, if it is still the one that is looked at.
export function mark(clip, turns) {
  if (clip === chosen) {
    passages = turns;
    describe();
  }
}

function describe() {
  if (!chosen) {
    return;
  }
  const name = by("wave-name");
  delete name.dataset.t;
  draw(by("wave"), sound ?? { samples: [], seconds: 1 }, sound ? passages ?? [] : []);
  const values = { name: chosen.name, seconds: sound?.seconds.toFixed(1) };
  if (sound && passages) {
    const speech = passages.reduce((sum, each) => sum + each.end_s - each.start_s, 0);
    name.textContent = t("wave_speech", { ...values, speech: speech.toFixed(1) });
  } else {
    name.textContent = t(sound ? "wave_some" : "wave_undrawn", values);
  }
}
