"""`python -m evaluation calibrate --mine`: from a folder of recordings to a server that uses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests

from evaluation.own_calibration import Own, expect, fit
from evaluation.server import running_server
from tests.conftest import DATA
from utils.calibration import Calibration, load_calibration
from utils.embedding import BEST_MODEL, ModelFiles

ROOT = Path(__file__).parent.parent
MODEL = ModelFiles(BEST_MODEL).model_id


def calibrate(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evaluation", "calibrate", "--mine", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def recordings(folder: Path, speakers: int, numbers: int) -> Path:
    for speaker in range(1, speakers + 1):
        (folder / f"s{speaker}").mkdir(parents=True)
        for number in range(numbers):
            shutil.copy(DATA / f"ast{speaker}@example.org-{number}.mp4", folder / f"s{speaker}")
    return folder


def test_it_fits_draws_and_says_what_to_expect(tmp_path: Path) -> None:
    mine = recordings(tmp_path / "mine", 6, 4)
    (mine / "s1" / "broken.mp4").write_bytes(b"no recording")
    output, picture = tmp_path / "own.json", tmp_path / "own.png"
    done = calibrate(mine, "--output", str(output), "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    assert "6 speakers, 24 recordings" in done.stdout
    assert "of 100 strangers about 1 are taken for somebody" in done.stdout
    assert "6 speakers say little" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(output.read_text())["provenance"]["speakers"] == 6
    with running_server(tmp_path / "gallery", "--calibration", str(output)) as server:
        for number in (0, 1):
            with (DATA / f"ast3@example.org-{number}.mp4").open("rb") as file:
                name = f"ast3@example.org-{number}.mp4"
                answer = requests.post(
                    f"{server.url}/Identification_Request", files={"file": (name, file)}, timeout=60
                ).json()
        assert answer["verdict"]["outcome"] == "accepted"


def test_too_few_speakers_are_refused(tmp_path: Path) -> None:
    done = calibrate(recordings(tmp_path / "mine", 2, 2))
    assert done.returncode != 0
    assert "2 speakers" in done.stderr
    assert "10 advised" in done.stderr


def test_a_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("[]")
    command = [sys.executable, "app.py", "--gallery", str(tmp_path / "gallery"),
               "--calibration", str(tmp_path / "own.json")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "is no calibration" in done.stderr


@pytest.fixture(scope="module")
def shipped() -> Calibration:
    return load_calibration(BEST_MODEL, MODEL)


def crowd(n: int, spread: float, common: float) -> Own:
    """Made-up voices: how much one varies, and how much all have in common."""
    rng = np.random.default_rng(n)
    voices = rng.standard_normal((n, 1, 64)) + common * rng.standard_normal(64)
    rows = (voices + spread * rng.standard_normal((n, 4, 64))).reshape(-1, 64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Own(rows.astype(np.float32), np.full(4 * n, 5.0), np.repeat(np.arange(n), 4))


def test_few_speakers_move_it_less_than_many(shipped: Calibration) -> None:
    moved = []
    for n in (6, 120):
        own = crowd(n, spread=0.6, common=0.0)
        moved.append(abs(fit(own, shipped).strangers.curve[0] - shipped.strangers.curve[0]))
    assert moved[0] < moved[1]


def test_of_many_speakers_the_share_that_is_asked_for_is_found(shipped: Calibration) -> None:
    own = crowd(300, spread=0.6, common=0.5)
    fitted = fit(own, shipped)
    asked = 0.15
    before = expect(own, shipped, asked)["fpir"]
    after = expect(own, fitted, asked)["fpir"]
    assert abs(after - asked) < abs(before - asked)


def test_a_harder_crowd_has_a_flatter_line(shipped: Calibration) -> None:
    easy, hard = (fit(crowd(120, spread, 0.0), shipped) for spread in (0.3, 2.0))
    assert hard.llr_line[1] < easy.llr_line[1]
