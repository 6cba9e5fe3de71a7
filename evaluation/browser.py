"""A real browser on the console: Debian's Chromium, its microphone fed from a recording."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import BrowserContext, Page, sync_playwright
from scipy.signal import resample_poly

from utils.audio import decode

NAMES = ("chromium", "chromium-browser", "google-chrome")
RATE = 48_000  # what browsers record at
MARGIN_S = 0.3  # after each recording
NARROW = {"width": 390, "height": 844}  # a phone
WIDE = {"width": 1100, "height": 900}
PATIENCE_MS = 20_000


def find_chromium() -> str | None:
    """Where a Chromium is; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def write_microphone(recordings: Sequence[Path], target: Path) -> None:
    """Writes what the microphone is to hear, one recording after the other: 16-bit, 48 kHz."""
    pause = np.zeros(int(16_000 * MARGIN_S), np.float32)
    sound = np.concatenate([part for path in recordings for part in (decode(path), pause)])
    samples = np.clip(resample_poly(sound, 3, 1), -1.0, 1.0)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@contextlib.contextmanager
def browsing(
    microphone: Path, *, narrow: bool = False, dark: bool = False, language: str = "en"
) -> Iterator[BrowserContext]:
    """A browser whose microphone hears a recording, again and again.

    Args:
        microphone: as `write_microphone` wrote it.

    Raises:
        FileNotFoundError: there is no Chromium.
    """
    chromium = find_chromium()
    if chromium is None:
        raise FileNotFoundError("There is no Chromium; `apt-get install chromium` brings one.")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            home,
            executable_path=chromium,
            args=[
                "--no-sandbox",  # containers run as root
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
            ],
            viewport=NARROW if narrow else WIDE,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
            locale=language,
            permissions=["microphone"],
        )
        context.set_default_timeout(PATIENCE_MS)
        try:
            yield context
        finally:
            context.close()


def open_console(context: BrowserContext, url: str) -> Page:
    """The console, once its script has set it up."""
    page = context.pages[0] if context.pages else context.new_page()
    page.goto(f"{url}/")
    page.wait_for_selector("html[data-ready=yes]")
    return page


def record(page: Page, seconds: float) -> None:
    """Records through the page's own buttons."""
    page.click("#record")
    page.wait_for_timeout(1e3 * seconds)
    page.click("#record")
    page.wait_for_selector("#identify:enabled")
    page.wait_for_selector("#wave-name:has-text('recording.')")
