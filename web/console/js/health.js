// How the server does, and how long this page's requests took.

import { askJson, latencies, onAnswer } from "./api.js";
import { by, element, percent, t } from "./page.js";

const EVERY_MS = 5_000;
let timer = 0;

export function setUpHealth() {
  onAnswer(drawLatencies);
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
  const facts = [[t("ready"), ready.problem ?? t("ready_yes")]];
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

function drawLatencies() {
  const canvas = by("latencies");
  const paint = canvas.getContext("2d");
  const { width, height } = canvas;
  const most = Math.max(...latencies);
  const step = width / 100;
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  latencies.forEach((each, place) => {
    const size = Math.max(2, (each / most) * (height - 8));
    paint.fillRect(place * step, height - size, step - 2, size);
  });
  const sorted = [...latencies].sort((one, other) => one - other);
  by("latency-name").textContent = t("latency_text", {
    count: latencies.length, last: latencies.at(-1).toFixed(0), most: most.toFixed(0),
    median: sorted[Math.floor(sorted.length / 2)].toFixed(0),
  });
}
