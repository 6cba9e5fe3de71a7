"""What the network is to say of each training recording, at each speed that it is played at, and
of windows that the teacher heard by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpus import NEAR_DEV_SPEAKERS, Corpus
from training.covariances import speaker_weights
from training.settings import RunSettings
from training.target_space import TargetSpace, read_target_space, unit_rows
from training.windows import NOBODY, windows_anywhere


@dataclass(frozen=True)
class Targets:
    """A row a recording and speed: all recordings at their own speed, then at the next, and on.
    Then a row a window that the teacher heard.
    """

    windows: np.ndarray  # (rows,) of `windows.WINDOW`: what to cut
    unit: np.ndarray  # (rows, size) float32, of length 1: what to say of it
    speaker: np.ndarray  # (rows,) int32: its voice's class, -1 where that has none
    centroids: np.ndarray  # (classes, size) float32, of length 1
    chances: np.ndarray  # (rows,) of being picked, their sum 1
    space: TargetSpace


def make_targets(corpus: Corpus, settings: RunSettings, size: int) -> Targets:
    """Derives them from the teacher's embeddings and the speakers.

    The teacher's embeddings of the clean whole recordings, in the target space, are drawn towards
    their speaker's mean by `centroid_share`: what a teacher hears of the room and the microphone
    in one recording is not to be learned. A window that the teacher heard by itself has what it
    said as it is: the network is to be the same function of sound, also of what no corpus has
    (consistent teaching; Beyer et al. 2022). Speakers who seem to be in the dev lists under
    another ID are never picked. Of the recordings, half are picked at their own speed.

    Raises:
        SystemExit: the teacher was not asked about one of the speeds, or about windows.
    """
    space = read_target_space(size)
    names, speaker, counts = np.unique(
        corpus.speech.labels, return_inverse=True, return_counts=True
    )
    is_near_dev = np.isin(names, list(NEAR_DEV_SPEAKERS))
    is_class = (counts >= settings.class_recordings) & ~is_near_dev
    class_of = np.where(is_class, np.cumsum(is_class) - 1, -1)[speaker]
    if settings.window_share and not corpus.windows:
        raise SystemExit(
            "the teacher was not asked about windows: `python -m training teach --windows 1` does"
        )
    parts, n_classes = [], int(is_class.sum())
    for number, speed in enumerate(settings.all_speeds):
        unit = space.of(_teacher_at(corpus, speed), corpus.domains)
        centroids = np.zeros((len(counts), size), np.float32)
        np.add.at(centroids, speaker, unit)
        centroids = unit_rows(centroids)
        share = settings.centroid_share
        target = unit_rows((1.0 - share) * unit + share * centroids[speaker])
        label = np.where(class_of >= 0, class_of + number * n_classes, -1)
        parts.append((target, label, centroids[is_class]))
    units, labels, all_centroids = map(list, zip(*parts, strict=True))
    n_recordings, n_speeds = len(corpus.speech), len(settings.all_speeds)
    chances = _chances(speaker, is_near_dev)
    of_speed = [1.0] if n_speeds == 1 else [0.5] + [0.5 / (n_speeds - 1)] * (n_speeds - 1)
    windows = [windows_anywhere(n_recordings, speed) for speed in settings.all_speeds]
    shares = [(1.0 - settings.window_share) * np.outer(of_speed, chances).ravel()]
    if settings.window_share:
        taught, said = (np.concatenate(each) for each in zip(*corpus.windows, strict=True))
        number = np.full(len(taught), -1)
        for index, speed in enumerate(settings.all_speeds):
            number[np.isclose(taught["speed"], speed) & (taught["other"] == NOBODY)] = index
        own = class_of[taught["recording"]]
        windows.append(taught)
        units.append(space.of(said, corpus.domains[taught["recording"]]))
        labels.append(np.where((number >= 0) & (own >= 0), own + number * n_classes, -1))
        shares.append(settings.window_share * _chances(speaker[taught["recording"]], is_near_dev))
    return Targets(
        windows=np.concatenate(windows),
        unit=np.concatenate(units),
        speaker=np.concatenate(labels).astype(np.int32),
        centroids=np.concatenate(all_centroids),
        chances=np.concatenate(shares),
        space=space,
    )


def _chances(speaker: np.ndarray, is_near_dev: np.ndarray) -> np.ndarray:
    """(rows,) of being picked, between all rows alike and all speakers alike; their sum 1."""
    chances = np.where(is_near_dev[speaker], 0.0, speaker_weights(speaker))
    found: np.ndarray = chances / chances.sum()
    return found


def _teacher_at(corpus: Corpus, speed: float) -> np.ndarray:
    if speed == 1.0:
        return corpus.teacher
    if speed not in corpus.teacher_at:
        raise SystemExit(
            f"the teacher was not asked about speed {speed:g}: "
            f"`python -m training teach --speed {speed:g}` does"
        )
    return corpus.teacher_at[speed]
