"""What the network is to say of each training recording, at each speed that it is played at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpus import NEAR_DEV_SPEAKERS, Corpus, teacher_projection
from training.settings import RunSettings


@dataclass(frozen=True)
class Targets:
    """A row a recording and speed: all recordings at their own speed, then at the next, and on."""

    recording: np.ndarray  # (rows,) int32: its index in the corpus
    speed: np.ndarray  # (rows,) float32
    unit: np.ndarray  # (rows, size) float32, of length 1: what to say of it
    speaker: np.ndarray  # (rows,) int32: its voice's class, -1 where that has none
    centroids: np.ndarray  # (classes, size) float32, of length 1
    chances: np.ndarray  # (rows,) of being picked, their sum 1


def make_targets(corpus: Corpus, settings: RunSettings, size: int) -> Targets:
    """Derives them from the teacher's embeddings and the speakers.

    The teacher's embeddings of the clean whole recordings are reduced by PCA and drawn towards
    their speaker's mean by `centroid_share`: what a teacher hears of the room and the microphone
    in one recording is not to be learned. Speakers who seem to be in the dev lists under another
    ID are never picked. Half of all windows are of the recordings' own speed.

    Raises:
        SystemExit: the teacher was not asked about one of the speeds.
    """
    mean, axes = teacher_projection(corpus.teacher, size)
    names, speaker, counts = np.unique(
        corpus.speech.labels, return_inverse=True, return_counts=True
    )
    is_near_dev = np.isin(names, list(NEAR_DEV_SPEAKERS))
    is_class = (counts >= settings.class_recordings) & ~is_near_dev
    class_of = np.where(is_class, np.cumsum(is_class) - 1, -1)[speaker]
    parts = []
    for number, speed in enumerate(settings.all_speeds):
        unit = _unit((_teacher_at(corpus, speed) - mean) @ axes)
        centroids = np.zeros((len(counts), size), np.float32)
        np.add.at(centroids, speaker, unit)
        centroids = _unit(centroids)
        share = settings.centroid_share
        target = _unit((1.0 - share) * unit + share * centroids[speaker])
        label = np.where(class_of >= 0, class_of + number * is_class.sum(), -1)
        parts.append((target, label, centroids[is_class]))
    units, labels, all_centroids = zip(*parts, strict=True)
    n_recordings, n_speeds = len(corpus.speech), len(settings.all_speeds)
    # between all recordings alike and all speakers alike
    chances = np.where(is_near_dev[speaker], 0.0, counts[speaker] ** -0.5)
    chances /= chances.sum()
    of_speed = [1.0] if n_speeds == 1 else [0.5] + [0.5 / (n_speeds - 1)] * (n_speeds - 1)
    return Targets(
        recording=np.tile(np.arange(n_recordings, dtype=np.int32), n_speeds),
        speed=np.repeat(np.float32(settings.all_speeds), n_recordings),
        unit=np.concatenate(units),
        speaker=np.concatenate(labels).astype(np.int32),
        centroids=np.concatenate(all_centroids),
        chances=np.outer(of_speed, chances).ravel(),
    )


def _teacher_at(corpus: Corpus, speed: float) -> np.ndarray:
    if speed == 1.0:
        return corpus.teacher
    if speed not in corpus.teacher_at:
        raise SystemExit(
            f"the teacher was not asked about speed {speed:g}: "
            f"`python -m training teach --speed {speed:g}` does"
        )
    return corpus.teacher_at[speed]


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
