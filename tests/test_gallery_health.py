"""`python -m evaluation gallery`: what it finds in a gallery that has it all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import DATA
from utils.audio import decode
from utils.calibration import load_calibration
from utils.embedding import BEST_MODEL, load_engine
from utils.features import log_mel_windows
from utils.gallery import FolderGallery
from utils.lookalikes import BLOCK, nearest_pairs

ROOT = Path(__file__).parent.parent


def embed(*clips: str) -> np.ndarray:
    engine = load_engine("onnx")
    wave = np.concatenate([decode(DATA / clip) for clip in clips])
    return engine.embed(log_mel_windows(wave, engine.features))


def health(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evaluation", "gallery", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_it_finds_what_is_wrong(tmp_path: Path) -> None:
    model_id = load_engine("onnx").model_id
    with FolderGallery(tmp_path, model_id) as gallery:
        for speaker in (1, 2, 3, 4):
            gallery.register(f"s{speaker}", "0", embed(f"ast{speaker}@example.org-0.mp4"), 6.0)
        gallery.register("s1 again", "0", embed("ast1@example.org-0.mp4"), 6.0)
        gallery.add("s2", "1", embed("ast4@example.org-1.mp4"), 6.0, most=5)
        pair = embed("ast5@example.org-0.mp4", "ast3@example.org-1.mp4")
        gallery.register("a pair", "0", pair, 9.0)
        gallery.register("short", "0", embed("ast6@example.org-0.mp4")[:1], 1.5)
    np.save(tmp_path / "voice_gallery" / "torn-0.npy", np.zeros((2, 3)))
    done = health(tmp_path, "--json", str(tmp_path / "health.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "health.json").read_text())
    assert (found["speakers"], found["recordings"]) == (7, 8)
    assert ["s1", "s1 again"] in [each["speaker_ids"] for each in found["likely_duplicates"]]
    assert found["look_alikes"][0]["cosine"] > 0.99
    assert [each["speaker_id"] for each in found["recordings_unlike_each_other"]] == ["s2"]
    assert found["two_voices"] == ["a%20pair-0.npy"]
    assert found["little_speech"] == [{"speaker_id": "short", "speech_s": 1.5}]
    assert [each["file"] for each in found["files_that_take_no_part"]] == ["torn-0.npy"]
    assert "7 speakers, 8 recordings" in done.stdout
    assert "more: --shown or --json" not in done.stdout
    assert "s1 again" in done.stdout


def test_few_lines_are_shown_and_all_duplicates_written(tmp_path: Path) -> None:
    with FolderGallery(tmp_path, load_engine("onnx").model_id) as gallery:
        for number in range(4):  # one voice four times: six pairs
            gallery.register(f"s{number}", "0", embed("ast1@example.org-0.mp4"), 6.0)
    done = health(tmp_path, "--shown", "2", "--json", str(tmp_path / "health.json"))
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "health.json").read_text())["likely_duplicates"]) == 6
    assert "under two IDs?: 6" in done.stdout
    assert "... and 4 more: --shown or --json" in done.stdout
    for none in ("0", "-1", "many"):
        refused = health(tmp_path, "--shown", none)
        assert refused.returncode == 2
        assert "no number from 1 on" in refused.stderr


def test_an_empty_gallery_is_in_order_and_no_gallery_is_refused(tmp_path: Path) -> None:
    refused = health(tmp_path)
    assert refused.returncode != 0
    assert "there is no gallery" in refused.stderr
    FolderGallery(tmp_path, load_engine("onnx").model_id).close()
    done = health(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 speakers")


def test_pairs_over_many_blocks_are_those_of_all_at_once(tmp_path: Path) -> None:
    model_id = load_engine("onnx").model_id
    n = BLOCK + 40
    rows = np.random.default_rng(3).standard_normal((n, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    rows[n - 1] = rows[5]
    with FolderGallery(tmp_path, model_id) as gallery:
        for number, row in enumerate(rows):
            gallery.register(f"v{number:03}", "0", row[None], 5.0)
        calibration = load_calibration(BEST_MODEL, model_id)
        pairs = nearest_pairs(gallery.snapshot(), calibration, most=10)
    statistics = calibration.statistics(rows)
    scores = calibration.scores((rows @ rows.T).astype(float), statistics, statistics)
    order = np.argsort(-scores[np.triu_indices(n, 1)])[:10]
    expected = [
        (f"v{one:03}", f"v{other:03}")
        for one, other in np.stack(np.triu_indices(n, 1), axis=1)[order].tolist()
    ]
    assert pairs[0].speaker_ids == ("v005", f"v{n - 1:03}")
    assert [each.speaker_ids for each in pairs] == expected
