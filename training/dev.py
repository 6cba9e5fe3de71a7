"""A run's look at the dev lists: EER of the middle 2 s of both sides, some ten seconds' work."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from evaluation.metrics import equal_error_rate
from training.corpus import decode_recording
from utils.features import FeatureSettings, log_mel_windows

BATCH = 128


class DevLists:
    """The trial lists of a speech folder with the log-mel of their recordings' middle windows."""

    def __init__(self, speech: Path, cache: Path) -> None:
        self._trials = {
            path.stem: [line.split() for line in path.read_text().splitlines() if line]
            for path in sorted((speech / "trials").glob("*.txt"))
        }
        self._names = sorted(
            {name for t in self._trials.values() for _, *pair in t for name in pair}
        )
        self._windows = _middle_windows(speech, self._names, cache / "dev.npz")

    def error_rates(self, network: keras.Model) -> dict[str, float]:
        """EER of each list, a fraction."""
        rows = [
            network.predict_on_batch(self._windows[first : first + BATCH].astype(np.float32))
            for first in range(0, len(self._windows), BATCH)
        ]
        row_of = dict(zip(self._names, (row for part in rows for row in part), strict=True))
        return {name: _error_rate(trials, row_of) for name, trials in self._trials.items()}


def _error_rate(trials: list[list[str]], row_of: dict[str, np.ndarray]) -> float:
    scores = np.array([float(row_of[one] @ row_of[other]) for _, one, other in trials])
    is_target = np.array([label == "1" for label, *_ in trials])
    return equal_error_rate(scores[is_target], scores[~is_target])


def _middle_windows(speech: Path, names: list[str], path: Path) -> np.ndarray:
    """(names, frames, n_mels) float16, made once."""
    if path.exists():
        with np.load(path) as saved:
            if saved["names"].tolist() == names:
                return saved["windows"]
    settings = FeatureSettings()
    archives = [zipfile.ZipFile(shard) for shard in sorted(speech.glob("dev-*.zip"))]
    archive_of = {name: archive for archive in archives for name in archive.namelist()}
    windows = np.zeros((len(names), settings.frames, settings.n_mels), np.float16)
    for row, name in enumerate(tqdm(names, desc="dev recordings", unit="file")):
        wave = decode_recording(archive_of[name].read(name))
        start = max(0, (wave.size - settings.window_samples) // 2)
        windows[row] = log_mel_windows(wave[start : start + settings.window_samples], settings)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, names=names, windows=windows)
    return windows
