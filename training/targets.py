"""What the network is to say of each training recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpus import Corpus, teacher_projection
from training.settings import RunSettings


@dataclass(frozen=True)
class Targets:
    """Of every recording of the corpus, in its order."""

    unit: np.ndarray  # (recordings, size) float32, rows of length 1: what to say of it
    speaker: np.ndarray  # (recordings,) int32: its speaker's class, -1 where that has none
    centroids: np.ndarray  # (classes, size) float32, rows of length 1
    chances: np.ndarray  # (recordings,) of being picked, their sum 1


def make_targets(corpus: Corpus, settings: RunSettings, size: int) -> Targets:
    """Derives them from the teacher's embeddings and the speakers.

    The teacher's embeddings of the clean whole recordings are reduced by PCA and drawn towards
    their speaker's mean by `centroid_share`: what a teacher hears of the room and the microphone
    in one recording is not to be learned.
    """
    mean, axes = teacher_projection(corpus.teacher, size)
    unit = _unit((corpus.teacher - mean) @ axes)
    _, speaker, counts = np.unique(corpus.speech.labels, return_inverse=True, return_counts=True)
    centroids = np.zeros((len(counts), size), np.float32)
    np.add.at(centroids, speaker, unit)
    centroids = _unit(centroids)
    share = settings.centroid_share
    is_class = counts >= settings.class_recordings
    class_of = np.where(is_class, np.cumsum(is_class) - 1, -1)
    chances = counts[speaker] ** -0.5  # between all recordings alike and all speakers alike
    return Targets(
        unit=_unit((1.0 - share) * unit + share * centroids[speaker]),
        speaker=class_of[speaker].astype(np.int32),
        centroids=centroids[is_class],
        chances=chances / chances.sum(),
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
