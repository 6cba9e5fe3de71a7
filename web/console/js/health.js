// How the server does, and how long this page's requests took.

import { askJson, onAnswer, requests } from "./api.js";
import { by, element, onLanguage, percent, row, t } from "./page.js";

const EVERY_MS = 5_000;
let timer = 0;

export function setUpHealth() {
  onAnswer(showLatencies);
  onLanguage(showLatencies);
}

export function showHealth(isShown) {
  clearInterval(timer);
  if (isShown) {
    look();
    timer = setInterval(look, EVERY_MS);
  }
}

async function look() {
  const ready = await askJson("GET", "readyz").catch((error) => ({ problem: error.message }));
  const gallery = await askJson("GET", "v1/gallery").catch(() => null);
  const facts = [[t("ready"), ready.problem ? `${t("ready_no")}: ${ready.problem}` : t("ready_yes")]];
  if (!ready.problem) {
    facts.push([t("engine"), ready.engine], [t("network"), ready.model_id]);
  }
  if (gallery) {
    facts.push([t("people"), gallery.speakers], [t("skipped"), gallery.files_skipped],
      [t("threshold"), percent(gallery.max_fpir)]);
  }
  facts.push([t("answers"), new Date().toLocaleTimeString(document.documentElement.lang)]);
  by("facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function showLatencies() {
  if (requests.length === 0) {
    return;
  }
  const all = requests.map((each) => each.ms);
  draw(by("latencies"), all);
  by("latency-name").textContent = t("latency_text", { count: all.length, ...summary(all) });
  const kinds = [...new Set(requests.map((each) => each.what))].sort();
  by("kinds").tBodies[0].replaceChildren(...kinds.map((what) => {
    const some = requests.filter((each) => each.what === what).map((each) => each.ms);
    const { last, median, most } = summary(some);
    return row(what, some.length, last, median, most);
  }));
}

function summary(times) {
  const sorted = [...times].sort((one, other) => one - other);
  return {
    last: times.at(-1).toFixed(0), median: sorted[Math.floor(sorted.length / 2)].toFixed(0), most: sorted.at(-1).toFixed(0),
  };
}

function draw(canvas, times) {
  const paint = canvas.getContext("2d");
  const { width, height } = canvas;
  const most = Math.max(...times);
  const step = width / 100;
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  times.forEach((each, place) => {
    const size = Math.max(2, (each / most) * (height - 8));
    paint.fillRect(place * step, height - size, step - 2, size);
  });
}
