// Who is enrolled: pages, one speaker's details, and the gallery as a whole.

import { ask, askJson, form, save, speakerPath } from "./api.js";
import { attempt, by, day, element, onLanguage, row, say, t } from "./page.js";

const PAGE = 20;
let offset = 0;
let asked = 0;  // pages so far
let shown = null;  // the speaker in the dialog
let noted = "";  // the consent as it was when the dialog opened

export function setUpSpeakers() {
  by("search").addEventListener("submit", (event) => {
    event.preventDefault();
    offset = 0;
    showSpeakers();
  });
  by("previous").addEventListener("click", () => { offset = Math.max(0, offset - PAGE); showSpeakers(); });
  by("next").addEventListener("click", () => { offset += PAGE; showSpeakers(); });
  by("d-save").addEventListener("click", () => inDialog(change));
  by("d-delete").addEventListener("click", () => inDialog(remove));
  by("look-alikes").addEventListener("click", () => attempt("look-alikes", lookAlikes));
  by("export").addEventListener("click", () => attempt("export", async () => save(await ask("GET", "v1/gallery/export"), "gallery.zip")));
  by("import").addEventListener("change", ({ target }) => bringIn(target));
  by("purge").addEventListener("click", purge);
  onLanguage(() => by("speakers").hidden || showSpeakers());
}

export const showSpeakers = () => attempt(null, list);

// What another key or collection has shown goes.
export function forgetSpeakers() {
  offset = 0;
  by("pairs").replaceChildren();
  by("list").tBodies[0].replaceChildren();
}

async function list() {
  asked += 1;
  const mine = asked;
  const query = new URLSearchParams({ query: by("query").value, offset, limit: PAGE });
  const { speakers, total } = await askJson("GET", `v1/speakers?${query}`);
  if (mine !== asked) {  // another page is on its way
    return;
  }
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
  noted = consentFields().join("\n");
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
  const body = { metadata };
  if (consentFields().join("\n") !== noted) {  // otherwise it keeps its time of day
    body.consent = consent();
  }
  const id = by("new-id").value.trim();
  if (id !== shown.speaker_id) {
    body.speaker_id = id;
  }
  await askJson("PATCH", speakerPath(shown.speaker_id), body);
  by("details").close();
}

const consentFields = () => ["d-given-by", "d-given-at", "d-until"].map((id) => by(id).value.trim());

function consent() {
  const [given_by, given_at, until] = consentFields();
  if (!given_by && until) {
    throw new Error(t("half_consent"));
  }
  return given_by ? { given_by, given_at: given_at || new Date().toISOString(), until: until || null } : null;
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
  await attempt("import", async () => {
    const report = await askJson("POST", "v1/gallery/import", form({ archive, on_conflict: "skip" }));
    await list();
    return t("imported", { count: report.speakers });
  });
}

async function purge() {
  if (!window.confirm(t("sure_purge"))) {
    return;
  }
  await attempt("purge", async () => {
    const { receipts } = await askJson("POST", "v1/gallery/purge");
    await list();
    return t("purged", { count: receipts.length });
  });
}
