// Tabs, language and key; each panel sets itself up.

import { setUpAsk } from "./ask.js";
import { setUpHealth, showHealth } from "./health.js";
import { by, speak } from "./page.js";
import { setUpSpeakers, showSpeakers } from "./speakers.js";
import { setUpWhen } from "./when.js";

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
speak(by("language").value);
setUpAsk();
setUpWhen();
setUpSpeakers();
setUpHealth();
document.documentElement.dataset.ready = "yes";
