"""Verification trials: lists of `1 enrolled probe` (target) and `0 enrolled probe` (impostor)."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.metrics import bootstrap_eer, equal_error_rate
from utils.audio import SAMPLE_RATE, decode
from utils.embedding import Engine, load_engine
from utils.features import Array, log_mel_windows
from utils.scoring import centroid

SEED = 2026  # of the bootstrap


def run(lists: list[Path], audio_root: Path, crop_s: float | None, json_path: Path | None) -> int:
    """`python -m evaluation trials`: prints a line a list."""
    engine = load_engine("onnx")
    audio = Audio(audio_root)
    results = {}
    for path in lists:
        results[path.stem] = result = evaluate_list(path, audio, crop_s, engine)
        low, high = result["eer_interval_percent"]
        print(
            f"{path.stem:14} EER {result['eer_percent']:5.2f} % ({low:.2f} to {high:.2f})  "
            f"{result['targets']} targets, {result['impostors']} impostors"
        )
    if json_path:
        document = {"model_id": engine.model_id, "crop_s": crop_s, "lists": results}
        json_path.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def evaluate_list(path: Path, audio: Audio, crop_s: float | None, engine: Engine) -> dict[str, Any]:
    """Scores a list by cosine.

    Args:
        crop_s: the middle so many seconds of both sides; None is the whole recordings.

    Returns:
        eer_percent, its 95 % bootstrap interval over speakers, and the numbers of trials.
    """
    trials = [line.split() for line in path.read_text().splitlines() if line]
    names = sorted({name for _, *pair in trials for name in pair})
    embedded = {
        name: embed_middle(audio.read(name), crop_s, engine)
        for name in tqdm(names, desc=path.stem, unit="file", leave=False)
    }
    scores = np.array([float(embedded[one] @ embedded[other]) for _, one, other in trials])
    is_target = np.array([label == "1" for label, *_ in trials])
    speakers = np.array([str(Path(one).parent) for _, one, _ in trials])
    sides = (scores[is_target], scores[~is_target])
    interval = bootstrap_eer(
        *sides, speakers[is_target], speakers[~is_target], rng=np.random.default_rng(SEED)
    )
    return {
        "eer_percent": 100 * equal_error_rate(*sides),
        "eer_interval_percent": [100 * end for end in interval],
        "targets": int(is_target.sum()),
        "impostors": int((~is_target).sum()),
    }


def embed_middle(wave: Array, crop_s: float | None, engine: Engine) -> Array:
    """(64,) centroid of a recording's windows, or of those of its middle."""
    if crop_s is not None:
        samples = round(crop_s * SAMPLE_RATE)
        start = max(0, (wave.size - samples) // 2)
        wave = wave[start : start + samples]
    return centroid(engine.embed(log_mel_windows(wave, engine.features)))


class Audio:
    """Recordings by name, out of a folder or the zip shards in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        archives = [zipfile.ZipFile(path) for path in sorted(root.glob("*.zip"))]
        self._archive_of = {name: archive for archive in archives for name in archive.namelist()}

    def read(self, name: str) -> npt.NDArray[np.float32]:
        if name in self._archive_of:
            return decode(self._archive_of[name].read(name))
        return decode(self._root / name)
