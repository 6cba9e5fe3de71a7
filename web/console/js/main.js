// Tabs, language and key; each panel sets itself up.

import { askJson } from "./api.js";
import { forget, listen, setUpAsk } from "./ask.js";
import { setUpClips } from "./clips.js";
import { setUpEnrol } from "./enrol.js";
import { setUpHealth, showHealth } from "./health.js";
import { by, element, speak } from "./page.js";
import { forgetSpeakers, setUpSpeakers, showSpeakers } from "./speakers.js";
import { forgetTurns, setUpWhen } from "./when.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, takesFocus = false) {
  for (const each of tabs) {
    const isIt = each === tab;
    each.setAttribute("aria-selected", isIt);
    each.tabIndex = isIt ? 0 : -1;
    by(each.getAttribute("aria-controls")).hidden = !isIt;
  }
  if (takesFocus) {
    tab.focus();
  }
  const panel = tab.getAttribute("aria-controls");
  showHealth(panel === "health");
  if (panel === "speakers") {
    showSpeakers();
  }
}

// Another key or collection: what is shown is not theirs.
function startOver() {
  forget();
  forgetTurns();
  forgetSpeakers();
  by("collections").replaceChildren();
  select(tabs.find((each) => each.getAttribute("aria-selected") === "true"));
}

// The names of the collections, for whoever may know them.
async function suggestCollections() {
  if (by("collections").childElementCount === 0) {
    const { collections } = await askJson("GET", "v1/collections").catch(() => ({ collections: [] }));
    by("collections").replaceChildren(...collections.map(({ name }) => element("option", "", { value: name })));
  }
}

function remember(id, store, event = "change") {
  by(id).value = store.getItem(id) ?? by(id).value;
  by(id).addEventListener(event, () => store.setItem(id, by(id).value));
}

tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) {
      select(tabs.at((place + step) % tabs.length), true);
    }
  });
});

if (!localStorage.getItem("language")) {
  by("language").value = navigator.language.startsWith("ko") ? "ko" : "en";
}
remember("language", localStorage);
remember("key", sessionStorage);  // gone with the tab
remember("collection", sessionStorage);
by("language").addEventListener("change", () => speak(by("language").value));
by("key").addEventListener("change", startOver);
by("collection").addEventListener("change", startOver);
by("collection").addEventListener("focus", suggestCollections);
speak(by("language").value);
setUpClips(forget, listen);
setUpAsk();
setUpEnrol();
setUpWhen();
setUpSpeakers();
setUpHealth();
document.documentElement.dataset.ready = "yes";
