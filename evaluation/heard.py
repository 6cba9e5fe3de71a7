"""The dev recordings as the server hears them, under several conditions: what is calibrated on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.audio import Audio
from evaluation.conditions import Condition, hear
from evaluation.files import read_text
from utils.calibration import Calibration, Floats, Rows
from utils.embedding import Engine, load_engine
from utils.hearing import speech_windows
from utils.quality import QualityRules, find_speech, measure
from utils.scoring import centroid
from utils.speech import SpeechDetector

Index = npt.NDArray[np.intp]

ENROLLED = (Condition(), Condition(crop_s=3.0))
PROBES = (
    Condition(),
    Condition(crop_s=1.5),
    Condition(crop_s=2.0),
    Condition(crop_s=3.0),
    Condition(crop_s=5.0),
    Condition(crop_s=2.0, noise_db=5.0),
    Condition(crop_s=3.0, codec="gsm"),
)
LEAST_S = QualityRules.min_identify_s


@dataclass(frozen=True)
class Heard:
    """All dev recordings under one condition."""

    rows: Rows  # (recordings, 64); zeros where nothing was heard
    seconds: Floats  # (recordings,) of speech; 0 where the server refuses the recording


@dataclass(frozen=True)
class Dev:
    """The dev recordings, and which may be compared with which."""

    names: list[str]
    speaker: Index  # (recordings,)
    source: npt.NDArray[np.str_]
    heard: dict[str, Heard]

    @property
    def half(self) -> npt.NDArray[np.bool_]:
        """(recordings,) every other speaker."""
        is_even: npt.NDArray[np.bool_] = self.speaker % 2 == 0
        return is_even


def listen(
    wave: npt.NDArray[np.float32], engine: Engine, detector: SpeechDetector
) -> tuple[Rows, float] | None:
    """What the server makes of a wave: its embedding, (64,), and its seconds of speech.

    Returns:
        None where there is less speech than the server answers.
    """
    mask = find_speech(wave, detector)
    spoken_s = measure(wave, mask).speech_s
    if spoken_s < LEAST_S:
        return None
    return centroid(engine.embed(speech_windows(wave, mask, engine))), spoken_s


def read_dev(speech: Path, cache: Path) -> Dev:
    """Hears all dev recordings under every condition, or takes what was kept of them.

    Raises:
        SystemExit: the dev recordings are not there.
    """
    lines = list(csv.DictReader(read_text(speech / "dev.tsv").splitlines(), delimiter="\t"))
    files, speakers, sources = (
        [line[name] for line in lines] for name in ("file", "speaker", "source")
    )
    engine, detector = load_engine("onnx"), SpeechDetector()
    audio = Audio(speech)
    heard = {}
    for condition in {each.name: each for each in (*ENROLLED, *PROBES)}.values():
        path = cache / f"heard-{engine.model_id}-{condition.name}.npz"
        if not path.exists():
            rows, seconds = np.zeros((len(files), 64), np.float32), np.zeros(len(files))
            for place, name in enumerate(tqdm(files, condition.name, unit="file", leave=False)):
                wave = hear(name, audio, condition, as_probe=True)
                if found := listen(wave, engine, detector):
                    rows[place], seconds[place] = found
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, rows=rows, seconds=seconds)
        with np.load(path) as saved:
            heard[condition.name] = Heard(saved["rows"], saved["seconds"])
    speaker = np.unique(speakers, return_inverse=True)[1]
    return Dev(files, speaker, np.array(sources), heard)


class Scored:
    """AS-norm scores between any dev recordings."""

    def __init__(self, dev: Dev, calibration: Calibration) -> None:
        self.dev = dev
        self._calibration = calibration
        self._statistics = {
            name: calibration.statistics(heard.rows) for name, heard in dev.heard.items()
        }

    def __call__(self, probe: str, probes: Index, enrolled: str, models: Index) -> Floats:
        """(probes, models) scores of recordings under two conditions."""
        return self._calibration.scores(
            self.cosines(probe, probes, enrolled, models),
            self._statistics[probe].at(probes),
            self._statistics[enrolled].at(models),
        )

    def cosines(self, probe: str, probes: Index, enrolled: str, models: Index) -> Floats:
        rows = self.dev.heard[probe].rows[probes] @ self.dev.heard[enrolled].rows[models].T
        return rows.astype(np.float64)
