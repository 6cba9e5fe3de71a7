"""The console, driven in a real Chromium with a microphone that hears the sample voices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from utils.keys import KeyFile

browser = pytest.importorskip("evaluation.browser", reason="Playwright is not installed")
CONSOLE = DATA.parent / "web" / "console"

needs_chromium = pytest.mark.skipif(
    browser.find_chromium() is None,
    reason="no Chromium is here; `apt-get install chromium` brings one",
)
TALK_S = 5.0


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What microphones hear: two people."""
    folder = tmp_path_factory.mktemp("voices")
    paths = {}
    for name, recording in {
        "kim": "ast1@example.org-0.mp4",
        "lee": "ast4@example.org-1.mp4",
    }.items():
        paths[name] = folder / f"{name}.wav"
        browser.write_microphone([DATA / recording], paths[name])
    return paths


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "gallery") as running:
        yield running


def watch(context: Any) -> tuple[list[str], list[str]]:
    """Addresses asked for outside this machine, and what the page's console complains of."""
    outside: list[str] = []
    complaints: list[str] = []

    def request(asked: Any) -> None:
        if not re.match(r"(http|ws)://127\.0\.0\.1:|blob:|data:", asked.url):
            outside.append(asked.url)

    context.on("request", request)
    page = context.pages[0]
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    return outside, complaints


def outcome(page: Any) -> str:
    page.click("#identify")
    page.wait_for_selector("#outcome:not(:empty)")
    return str(page.get_attribute("#outcome", "class")).split()[-1]


@needs_chromium
def test_record_register_identify_and_delete(
    server: ServerProcess, voices: dict[str, Path], tmp_path: Path
) -> None:
    with browser.browsing(voices["kim"]) as context:
        outside, complaints = watch(context)
        page = browser.open_console(context, server.url)
        page.on("dialog", lambda dialog: dialog.accept())
        browser.record(page, TALK_S)
        page.fill("#speaker-id", "김 민@example.org")
        page.fill("#given-by", "by this test")
        page.click("#register")
        page.wait_for_selector("#enrolled:has-text('is registered')")
        browser.record(page, TALK_S)
        assert outcome(page) == "accepted"
        assert page.inner_text("#outcome") == "김 민@example.org"
        assert "김 민@example.org" in page.inner_text("#ranking")
        page.wait_for_selector("#wave-name:has-text('are speech')")
        browser.record(page, TALK_S)
        page.click("#add")
        page.wait_for_selector("#enrolled:has-text('2 now')")
        assert (outside, complaints) == ([], [])
    with browser.browsing(voices["lee"]) as context:
        page = browser.open_console(context, server.url)
        browser.record(page, TALK_S)
        assert outcome(page) == "unknown"
        page.on("dialog", lambda dialog: dialog.accept())
        page.fill("#speaker-id", "김 민@example.org")
        page.click("#delete-id")
        page.wait_for_selector("#enrolled:has-text('is deleted')")
        page.click("#identify")
        page.wait_for_selector("#status.bad:has-text('Nobody is enrolled')")
    assert requests.get(f"{server.url}/v1/speakers", timeout=10).json()["total"] == 0
    assert list((tmp_path / "gallery" / "voice_gallery").iterdir()) == []


@needs_chromium
def test_files_are_dropped_speakers_looked_after_and_turns_shown(
    server: ServerProcess, voices: dict[str, Path]
) -> None:
    for speaker in (1, 4):
        clip = DATA / f"ast{speaker}@example.org-0.mp4"
        with clip.open("rb") as file:
            data = {"speaker_id": f"s{speaker}"}
            requests.post(
                f"{server.url}/v1/speakers", data=data, files={"audio": file}, timeout=30
            ).raise_for_status()
    with browser.browsing(voices["kim"]) as context:
        outside, complaints = watch(context)
        page = browser.open_console(context, server.url)
        page.on("dialog", lambda dialog: dialog.accept())
        page.set_input_files("#file", DATA / "ast4@example.org-2.mp4")
        assert outcome(page) == "accepted"
        page.click("#tab-when")
        page.set_input_files("#long-file", DATA / "ast1@example.org-1.mp4")
        page.click("#segment")
        page.wait_for_selector(".lane:has-text('s1') .track button")
        page.click(".track button")
        page.click("#tab-speakers")
        page.wait_for_selector("#page:has-text('1 to 2 of 2')")
        page.fill("#query", "S4")
        page.press("#query", "Enter")
        page.wait_for_selector("#page:has-text('1 to 1 of 1')")
        page.click("#list button")
        page.fill("#metadata", '{"site": "Seoul"}')
        page.fill("#new-id", "park")
        page.click("#d-save")
        page.wait_for_selector("#details", state="hidden")
        shown = requests.get(f"{server.url}/v1/speakers/park", timeout=10).json()
        assert shown["metadata"] == {"site": "Seoul"}
        page.click("#look-alikes")
        page.wait_for_selector("#pairs li:has-text('park')")
        with page.expect_download() as download:
            page.click("#export")
        assert download.value.suggested_filename == "gallery.zip"
        page.click("#tab-health")
        page.wait_for_selector("#facts:has-text('ready')")
        assert "requests" in page.inner_text("#latency-name")
        assert (outside, complaints) == ([], [])


@needs_chromium
def test_several_files_are_enrolled_and_what_is_shown_speaks_the_language_chosen(
    server: ServerProcess, voices: dict[str, Path]
) -> None:
    with browser.browsing(voices["kim"]) as context:
        outside, complaints = watch(context)
        page = browser.open_console(context, server.url)
        page.set_input_files("#file", [DATA / f"ast1@example.org-{n}.mp4" for n in (0, 2, 3)])
        page.fill("#speaker-id", "kim")
        page.click("#register")
        page.wait_for_selector("#enrolled:has-text('is registered')")
        page.check("#clips label:has-text('-3.mp4') input")
        page.wait_for_selector("#wave-name:has-text('-3.mp4')")
        assert outcome(page) == "accepted"
        page.wait_for_selector("#wave-name:has-text('are speech')")
        page.select_option("#language", "ko")
        assert "표시됨" in page.inner_text("#wave-name")
        assert "모르는 사람" in page.inner_text("#why")
        page.click("#tab-when")
        page.set_input_files("#long-file", DATA / "ast4@example.org-1.mp4")
        page.click("#segment")
        page.wait_for_selector("#turns td:has-text('unknown-1')")
        assert page.inner_text("#turns tbody tr:first-child td:last-child") == ""
        page.click("#tab-health")
        page.wait_for_selector("#kinds td:has-text('POST /v1/identify')")
        assert (outside, complaints) == ([], [])
    shown = requests.get(f"{server.url}/v1/speakers/kim", timeout=10).json()
    assert len(shown["recordings"]) == 3


@needs_chromium
def test_a_consent_goes_along_with_registering_anew(
    server: ServerProcess, voices: dict[str, Path]
) -> None:
    def kim() -> dict[str, Any]:
        return dict(requests.get(f"{server.url}/v1/speakers/kim", timeout=10).json())

    with browser.browsing(voices["kim"]) as context:
        page = browser.open_console(context, server.url)
        page.set_input_files("#file", DATA / "ast1@example.org-0.mp4")
        page.fill("#speaker-id", "kim")
        page.click("#register")
        page.wait_for_selector("#enrolled:has-text('is registered, ')")
        assert kim()["consent"] is None
        page.fill("#until", "2999-01-01")
        page.click("#replace")
        assert not page.eval_on_selector("#enrol", "form => form.checkValidity()")
        page.fill("#given-by", "by this test")
        page.click("#replace")
        page.wait_for_selector("#enrolled:has-text('registered anew')")
        noted = kim()["consent"]
        assert (noted["given_by"], noted["until"][:10]) == ("by this test", "2999-01-01")
        page.click("#tab-speakers")
        page.click("#list button")
        page.fill("#metadata", '{"site": "Seoul"}')
        page.click("#d-save")
        page.wait_for_selector("#details", state="hidden")
    assert kim()["metadata"] == {"site": "Seoul"}
    assert kim()["consent"] == noted


@needs_chromium
def test_an_answer_comes_while_one_speaks(server: ServerProcess, voices: dict[str, Path]) -> None:
    store = KeyFile(server.log.parent)
    text, _ = store.create("admin", "default")
    with (DATA / "ast1@example.org-0.mp4").open("rb") as file:
        requests.post(
            f"{server.url}/v1/speakers",
            data={"speaker_id": "kim"},
            files={"audio": file},
            headers={"X-API-Key": text},
            timeout=30,
        ).raise_for_status()
    with browser.browsing(voices["kim"]) as context:
        outside, complaints = watch(context)
        page = browser.open_console(context, server.url)
        page.fill("#key", text)
        page.check("#live")
        page.click("#record")
        page.wait_for_selector("#outcome.accepted:has-text('kim')")
        assert page.inner_text("#record") == "Stop"
        page.click("#record")
        page.wait_for_selector("#identify:enabled")
        assert (outside, complaints) == ([], [])


@needs_chromium
def test_a_key_lets_the_page_in(server: ServerProcess, voices: dict[str, Path]) -> None:
    folder = server.log.parent
    text, _ = KeyFile(folder).create("admin", "default")
    with browser.browsing(voices["kim"]) as context:
        page = browser.open_console(context, server.url)
        page.click("#tab-speakers")
        page.wait_for_selector("#status.bad:has-text('A key is needed')")
        page.fill("#key", text)
        page.click("#search button")
        page.wait_for_selector("#page:has-text('Nobody')")


@needs_chromium
@pytest.mark.parametrize(
    ("narrow", "dark", "language"),
    [(False, False, "en"), (True, True, "ko")],
    ids=["desk", "phone"],
)
def test_every_control_has_a_name_and_nothing_is_wider_than_the_screen(
    server: ServerProcess, voices: dict[str, Path], narrow: bool, dark: bool, language: str
) -> None:
    with browser.browsing(voices["kim"], narrow=narrow, dark=dark, language=language) as context:
        page = browser.open_console(context, server.url)
        assert page.get_attribute("html", "lang") == language
        for tab in ("ask", "when", "speakers", "health"):
            page.click(f"#tab-{tab}")
            nameless = page.evaluate(
                """() => [...document.querySelectorAll(
                    "button, input, select, textarea, canvas, meter")]
                .filter((each) => each.offsetParent !== null || each.type === "file")
                .filter((each) => !(each.textContent.trim() || each.ariaLabel ||
                    each.getAttribute("aria-labelledby") || each.labels?.length))
                .map((each) => each.outerHTML)"""
            )
            assert nameless == []
            assert page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
        page.focus("#tab-ask")
        page.keyboard.press("ArrowRight")
        assert page.get_attribute("#tab-when", "aria-selected") == "true"
        assert page.is_visible("#when")
        assert page.is_hidden("#ask")


# Without a browser


def words(language: str) -> set[str]:
    text = (CONSOLE / "js" / f"{language}.js").read_text(encoding="utf-8")
    return set(re.findall(r"[{,\s](\w+): \"", text))


def test_both_languages_say_the_same_things() -> None:
    assert words("en") == words("ko")
    used = set()
    for path in CONSOLE.rglob("*"):
        if path.suffix in {".js", ".html"} and path.stem not in {"en", "ko"}:
            text = path.read_text(encoding="utf-8")
            used |= set(re.findall(r"data-t=\"(\w+)\"|\bt\(\"(\w+)\"", text))
    names = {one or other for one, other in used}
    assert names <= words("en")


def test_the_page_needs_no_other_host_and_no_script_in_it(server: ServerProcess) -> None:
    reply = requests.get(f"{server.url}/", timeout=10)
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in CONSOLE.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=", page)
    assert requests.get(f"{server.url}/console/../app.py", timeout=10).status_code == 404
    assert requests.get(f"{server.url}/console/%2e%2e/console.py", timeout=10).status_code == 404
