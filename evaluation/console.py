"""Pictures of the console at work, for the docs: a real browser, the sample voices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Never

import requests
from playwright.sync_api import Page
from tqdm import tqdm

from evaluation.browser import browsing, open_console, record, write_microphone
from evaluation.server import ServerProcess, running_server

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
PICTURES = ROOT / "img"
TALK_S = 5.0
SPEAKER = "kim@example.org"
N_PICTURES = 9


def run() -> int:
    """`python -m evaluation console`: writes img/console-*.png."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name) / "gallery") as server,
        tqdm(total=N_PICTURES, unit="picture") as bar,
    ):
        folder = Path(name)
        for voice, clip in {"kim": "ast1@example.org-0", "lee": "ast4@example.org-1"}.items():
            write_microphone([DATA / f"{clip}.mp4"], folder / f"{voice}.wav")
        _enrol_others(server)
        _first_visit(folder, server, bar)
        _stranger(folder, server, bar)
        _gallery(folder, server, bar)
        _phone(folder, server, bar)
        _farewell(folder, server, bar)
    return 0


def _enrol_others(server: ServerProcess) -> None:
    for number in (2, 3, 5):
        with (DATA / f"ast{number}@example.org-0.mp4").open("rb") as file:
            data = {"speaker_id": f"ast{number}@example.org"}
            requests.post(
                f"{server.url}/v1/speakers", data=data, files={"audio": file}, timeout=60
            ).raise_for_status()


def _first_visit(folder: Path, server: ServerProcess, bar: tqdm[Never]) -> None:
    with browsing(folder / "kim.wav") as context:
        page = open_console(context, server.url)
        record(page, TALK_S)
        _take(page, "recorded", bar)
        page.fill("#speaker-id", SPEAKER)
        page.fill("#given-by", "the speaker, at the desk")
        page.click("#register")
        page.wait_for_selector("#enrolled:not(:empty)")
        _take(page, "registered", bar)
        record(page, TALK_S)
        page.click("#identify")
        page.wait_for_selector("#outcome.accepted")
        page.wait_for_selector("#wave-name:has-text('are speech')")
        _take(page, "identified", bar)


def _stranger(folder: Path, server: ServerProcess, bar: tqdm[Never]) -> None:
    with browsing(folder / "lee.wav") as context:
        page = open_console(context, server.url)
        record(page, TALK_S)
        page.click("#identify")
        page.wait_for_selector("#outcome.unknown")
        page.wait_for_selector("#wave-name:has-text('are speech')")
        _take(page, "stranger", bar)


def _gallery(folder: Path, server: ServerProcess, bar: tqdm[Never]) -> None:
    talk = folder / "talk.wav"
    clips = ["ast1@example.org-2", "ast5@example.org-3", "ast7@example.org-2", "ast1@example.org-4"]
    write_microphone([DATA / f"{clip}.mp4" for clip in clips], talk)
    with browsing(folder / "kim.wav") as context:
        page = open_console(context, server.url)
        page.click("#tab-when")
        page.set_input_files("#long-file", talk)
        page.click("#segment")
        page.wait_for_selector(".lane")
        _take(page, "who-spoke-when", bar)
        page.click("#tab-speakers")
        page.wait_for_selector("#list button")
        page.click("#look-alikes")
        page.wait_for_selector("#pairs li")
        _take(page, "speakers", bar)
        page.click("#tab-health")
        page.wait_for_selector("#facts dd")
        _take(page, "health", bar)


def _phone(folder: Path, server: ServerProcess, bar: tqdm[Never]) -> None:
    with browsing(folder / "kim.wav", narrow=True, dark=True, language="ko") as context:
        page = open_console(context, server.url)
        record(page, TALK_S)
        page.click("#identify")
        page.wait_for_selector("#outcome.accepted")
        page.wait_for_selector("#wave-name:has-text('표시됨')")
        page.evaluate("document.querySelector('#outcome').scrollIntoView({block: 'center'})")
        _take(page, "phone", bar)


def _farewell(folder: Path, server: ServerProcess, bar: tqdm[Never]) -> None:
    with browsing(folder / "kim.wav") as context:
        page = open_console(context, server.url)
        page.on("dialog", lambda dialog: dialog.accept())
        record(page, TALK_S)
        page.fill("#speaker-id", SPEAKER)
        page.click("#delete-id")
        page.wait_for_selector("#enrolled:has-text('is deleted')")
        page.click("#identify")
        page.wait_for_selector("#outcome.unknown")
        page.wait_for_selector("#wave-name:has-text('are speech')")
        _take(page, "deleted", bar)


def _take(page: Page, name: str, bar: tqdm[Never]) -> None:
    page.screenshot(path=PICTURES / f"console-{name}.png")
    bar.update()
