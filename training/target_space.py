"""The directions of the teacher's embeddings that the network is to learn, 64 of 192.

What the teacher says of two windows of one voice differs, and so does what it says of two corpora:
a language or a microphone that all speakers of a corpus share moves all their embeddings. Neither
tells speakers apart, and both take up numbers that few have. So an origin is taken off that is the
mean of the recording's domain, and directions in which windows of one voice differ count less
(WCCN; Hatch, Kajarekar and Stolcke 2006) before the principal ones are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpus import NEAR_DEV_SPEAKERS, Corpus
from training.covariances import covariance, inverse_root, speaker_weights, within_covariance
from training.settings import RunSettings
from training.windows import NOBODY

SHRINKAGE = 0.1  # of the covariance within speakers
FEW_SPEAKERS = 5  # a domain of so many counts half: its mean is theirs as much as its own


@dataclass(frozen=True)
class TargetSpace:
    origins: np.ndarray  # (domains, wide) float32
    domain: np.ndarray  # (recordings,) int32, each one's row in `origins`
    axes: np.ndarray  # (wide, size) float32

    def of(self, said: np.ndarray, recording: np.ndarray) -> np.ndarray:
        """(n, size) float32 of length 1, of what the teacher says (n, wide) of these (n,)."""
        return unit_rows((said - self.origins[self.domain[recording]]) @ self.axes)


def fit_target_space(corpus: Corpus, settings: RunSettings, size: int) -> TargetSpace:
    """Derives it from windows of one voice at its own speed, or from whole recordings where the
    teacher was not asked about windows.
    """
    said, recording = _one_voice_each(corpus)
    labels = corpus.speech.labels[recording]
    weights = speaker_weights(labels)
    mean = weights @ said
    names, domain = np.unique(corpus.domains, return_inverse=True)
    origins = np.tile(mean, (len(names), 1))
    for number in range(len(names)):
        inside = domain[recording] == number
        if inside.any():
            speakers = len(np.unique(labels[inside]))
            share = settings.domain_centring * speakers / (speakers + FEW_SPEAKERS)
            own = np.average(said[inside], axis=0, weights=weights[inside])
            origins[number] += share * (own - mean)
    said = said - origins[domain[recording]]
    within = within_covariance(said, labels, SHRINKAGE)
    whiten = inverse_root(within / np.trace(within), settings.target_wccn)
    _, axes = np.linalg.eigh(whiten @ covariance(said, labels) @ whiten)
    return TargetSpace(
        origins=(origins + weights @ said).astype(np.float32),
        domain=domain.astype(np.int32),
        axes=(whiten @ axes[:, ::-1][:, :size]).astype(np.float32),
    )


def _one_voice_each(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """What the teacher says (n, wide), and the recordings (n,) that it says it of."""
    said, recording = corpus.teacher, np.arange(len(corpus.speech))
    if corpus.windows:
        windows, of_windows = (np.concatenate(each) for each in zip(*corpus.windows, strict=True))
        plain = (windows["other"] == NOBODY) & (windows["speed"] == 1.0)
        said, recording = of_windows[plain], windows["recording"][plain]
    heard = ~np.isin(corpus.speech.labels[recording], list(NEAR_DEV_SPEAKERS))
    return said[heard], recording[heard]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """(n, d) float32 of length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
