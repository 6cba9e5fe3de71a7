// Who is it? A recording's answer, in words and as a ranking.

import { askJson, form } from "./api.js";
import { chosenClip, mark } from "./clips.js";
import { listenLive } from "./live.js";
import { attempt, by, element, onLanguage, percent, row, say, t } from "./page.js";

let limits = { max_fpir: 0.01 };
let answer = null;  // the one that is shown

export function setUpAsk() {
  by("identify").addEventListener("click", () => attempt("identify", identify));
  onLanguage(() => answer && show(answer));
}

export function forget() {
  answer = null;
  for (const id of ["outcome", "why", "heard", "enrolled"]) {
    by(id).textContent = "";
  }
  by("ranking").hidden = true;
}

export function listen() {
  forget();
  learnLimits();
  return listenLive(show);
}

async function identify() {
  forget();
  const clip = chosenClip();
  await learnLimits();
  const found = await askJson("POST", "v1/identify", form({ audio: clip }));
  if (clip === chosenClip()) {
    show(found);
  }
  markSpeech(clip).catch((error) => say(error.message, true));
}

async function markSpeech(clip) {
  const { turns } = await askJson("POST", "v1/segments", form({ audio: clip }));
  mark(clip, turns);
}

// How many strangers this server takes for somebody, at most.
async function learnLimits() {
  limits = await askJson("GET", "v1/gallery").catch(() => limits);
}

function show(found) {
  answer = found;
  const { candidates, verdict } = found;
  const values = {
    name: candidates[0].speaker_id, chance: percent(verdict.stranger_chance), most: percent(limits.max_fpir),
  };
  const outcome = by("outcome");
  outcome.className = `outcome ${verdict.outcome}`;
  const words = t(verdict.outcome, values);
  if (outcome.textContent !== words) {  // a screen reader need not say it again
    outcome.textContent = words;
  }
  by("why").textContent = reasons(found, values).join(" ");
  by("heard").textContent = heard(found.quality);
  by("ranking").tBodies[0].replaceChildren(...candidates.map(ranked));
  by("ranking").hidden = false;
}

function reasons({ verdict, quality }, values) {
  const words = [t(`why_${verdict.outcome}`, values)];
  if (verdict.more_speech_s !== null) {
    words.push(t("more", { seconds: Math.ceil(verdict.more_speech_s) }));
  }
  if (quality?.two_voices) {
    words.push(t("two_voices"));
  }
  return [...words, t("not_checked")];
}

function heard(quality) {
  if (!quality) {
    return "";
  }
  const speech = t("heard", { speech: quality.speech_s.toFixed(1), total: quality.total_s.toFixed(1) });
  return quality.snr_db === null ? speech : `${speech} ${t("snr", { decibels: quality.snr_db.toFixed(0) })}`;
}

function ranked({ speaker_id, score, probability }) {
  const bar = element("progress", "", { max: 1, value: probability ?? 0, "aria-label": t("probability") });
  const cell = document.createElement("span");
  cell.append(bar, ` ${percent(probability ?? 0)}`);
  return row(speaker_id, cell, score.toFixed(2));
}
