// Who is enrolled: pages, one speaker's details, and the gallery as a whole.

import { ask, askJson, form, save, speakerPath } from "./api.js";
import { attempt, by, day, element, row, say, t } from "./page.js";

const PAGE = 20;
let offset = 0;
let shown = null;  // the speaker in the dialog

export function setUpSpeakers() {
  by("search").addEventListener("submit", (event) => {
    event.preventDefault();
    offset = 0;
    attempt(list);
  });
  by("previous").addEventListener("click", () => { offset = Math.max(0, offset - PAGE); attempt(list); });
  by("next").addEventListener("click", () => { offset += PAGE; attempt(list); });
  by("d-save").addEventListener("click", () => inDialog(change));
  by("d-delete").addEventListener("click", () => inDialog(remove));
  by("look-alikes").addEventListener("click", () => attempt(lookAlikes));
  by("export").addEventListener("click", () => attempt(async () => save(await ask("GET", "v1/gallery/export"), "gallery.zip")));
  by("import").addEventListener("change", (event) => bringIn(event.target));
  by("purge").addEventListener("click", purge);
}

export const showSpeakers = () => attempt(list);

async function list() {
  const query = new URLSearchParams({ query: by("query").value, offset, limit: PAGE });
  const { speakers, total } = await askJson("GET", `v1/speakers?${query}`);
  by("list").tBodies[0].replaceChildren(...speakers.map((one) => {
    const open = element("button", one.speaker_id, { type: "button", class: "link" });
    open.addEventListener("click", () => details(one));
    return row(open, one.recordings.length, one.speech_s?.toFixed(1) ?? "", day(one.enrolled_at), consentOf(one));
  }));
  by("page").textContent = total ? t("page", { first: offset + 1, last: offset + speakers.length, total }) : t("nobody");
  by("previous").disabled = offset === 0;
  by("next").disabled = offset + PAGE >= total;
}

function consentOf({ consent, is_expired }) {
  if (!consent) {
    return t("none");
  }
  if (!consent.until) {
    return t("withdrawn");
  }
  return t(is_expired ? "ended" : "lasts", { date: day(consent.until) });
}

function details(one) {
  shown = one;
  by("details-name").textContent = one.speaker_id;
  by("new-id").value = one.speaker_id;
  by("metadata").value = JSON.stringify(one.metadata, null, 1);
  by("d-given-by").value = one.consent?.given_by ?? "";
  by("d-given-at").value = one.consent ? day(one.consent.given_at) : "";
  by("d-until").value = one.consent?.until ? day(one.consent.until) : "";
  by("d-problem").textContent = "";
  by("d-recordings").replaceChildren(...one.recordings.map((each) => {
    const item = element("li", `${each.number}: ${each.speech_s?.toFixed(1) ?? "?"} s, ${day(each.enrolled_at)} `);
    const button = element("button", t("delete"), { type: "button", class: "danger", "aria-label": t("sure_recording", { number: each.number }) });
    button.addEventListener("click", () => inDialog(async () => {
      if (window.confirm(t("sure_recording", { number: each.number }))) {
        await ask("DELETE", `${speakerPath(one.speaker_id)}/recordings/${each.number}`);
        details(await askJson("GET", speakerPath(one.speaker_id)));
      }
    }));
    item.append(button);
    return item;
  }));
  if (!by("details").open) {
    by("details").showModal();
  }
}

async function inDialog(work) {
  by("d-problem").textContent = "";
  try {
    await work();
    await list();
  } catch (error) {
    by("d-problem").textContent = error.message;
  }
}

async function change() {
  let metadata;
  try {
    metadata = JSON.parse(by("metadata").value || "{}");
  } catch {
    throw new Error(t("bad_json"));
  }
  const given_by = by("d-given-by").value.trim();
  const given_at = by("d-given-at").value || new Date().toISOString();
  const body = { metadata, consent: given_by ? { given_by, given_at, until: by("d-until").value || null } : null };
  const id = by("new-id").value.trim();
  if (id !== shown.speaker_id) {
    body.speaker_id = id;
  }
  await askJson("PATCH", speakerPath(shown.speaker_id), body);
  by("details").close();
}

async function remove() {
  if (window.confirm(t("sure_delete", { name: shown.speaker_id }))) {
    const receipt = await askJson("DELETE", speakerPath(shown.speaker_id));
    by("details").close();
    say(t("done_delete", { name: shown.speaker_id, count: receipt.files.length }));
  }
}

async function lookAlikes() {
  const { pairs } = await askJson("GET", "v1/gallery/look-alikes?limit=10");
  by("pairs").replaceChildren(...pairs.map((pair) => {
    const words = t("pair", { ...pair, score: pair.score.toFixed(2) });
    return element("li", pair.likely_duplicate ? `${words} (${t("duplicates")})` : words);
  }));
  if (pairs.length === 0) {
    by("pairs").append(element("li", t("nobody")));
  }
}

async function bringIn(input) {
  const [archive] = input.files;
  input.value = "";
  if (!archive) {
    return;
  }
  let report = null;
  await attempt(async () => {
    report = await askJson("POST", "v1/gallery/import", form({ archive, on_conflict: "skip" }));
    await list();
  });
  if (report) {
    say(t("imported", { count: report.speakers }));
  }
}

async function purge() {
  if (!window.confirm(t("sure_purge"))) {
    return;
  }
  let receipts = null;
  await attempt(async () => {
    ({ receipts } = await askJson("POST", "v1/gallery/purge"));
    await list();
  });
  if (receipts) {
    say(t("purged", { count: receipts.length }));
  }
}
