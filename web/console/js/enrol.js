// Registers, adds to, registers anew and deletes a speaker, with the recordings at hand.

import { askJson, form, speakerPath } from "./api.js";
import { allClips } from "./clips.js";
import { attempt, by, t } from "./page.js";

export function setUpEnrol() {
  by("until").addEventListener("change", () => { by("given-by").required = by("until").value !== ""; });
  by("enrol").addEventListener("submit", (event) => {
    event.preventDefault();
    const change = CHANGES[event.submitter.value];
    attempt("enrol", () => change(by("speaker-id").value.trim()));
  });
}

// What was noted of a consent; null where nothing was.
function consent() {
  const given_by = by("given-by").value.trim();
  return given_by && { given_by, given_at: new Date().toISOString(), until: by("until").value || null };
}

async function renew(id) {
  const given = consent();
  if (given) {  // first: where a consent has ended, nothing can be enrolled
    await askJson("PATCH", speakerPath(id), { consent: given });
  }
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
    const given = consent();
    const noted = given ? {
      consent_given_by: given.given_by, consent_given_at: given.given_at, consent_until: given.until,
    } : {};
    const body = form({ speaker_id: id, audio: allClips(), ...noted });
    tell("done_register", id, await askJson("POST", "v1/speakers", body));
  },
  async add(id) {
    await renew(id);
    tell("done_add", id, await askJson("POST", `${speakerPath(id)}/recordings`, form({ audio: allClips() })));
  },
  async replace(id) {
    await renew(id);
    tell("done_replace", id, await askJson("PUT", `${speakerPath(id)}/recordings`, form({ audio: allClips() })));
  },
  async delete(id) {
    if (window.confirm(t("sure_delete", { name: id }))) {
      const receipt = await askJson("DELETE", speakerPath(id));
      by("enrolled").textContent = t("done_delete", { name: id, count: receipt.files.length });
    }
  },
};
