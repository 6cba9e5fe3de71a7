"""The directions of the teacher's embeddings that the network is to learn, 64 of 192.

What the teacher says of two windows of one voice differs, and so does what it says of two corpora:
a language or a microphone that all speakers of a corpus share moves all their embeddings. Neither
tells speakers apart, and both take up numbers that few have. So an origin is taken off that is
mostly the mean of the recording's domain, and directions in which windows of one voice differ count
less (WCCN; Hatch, Kajarekar and Stolcke 2006) before the principal ones are kept.

`python -m training space` makes it once, of the training speakers; all runs read it from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.corpus import NEAR_DEV_SPEAKERS, Corpus
from training.covariances import covariance, inverse_root, speaker_weights, within_covariance
from training.settings import CENTRING, WCCN
from training.windows import NOBODY

FILE = Path(__file__).with_suffix(".npz")
SIZE = 64
SHRINKAGE = 0.1  # of the covariance within speakers
FEW_SPEAKERS = 5  # a domain of so many counts half: its mean is theirs as much as its own


@dataclass(frozen=True)
class TargetSpace:
    domains: np.ndarray  # (domains,) source and language, in order
    origins: np.ndarray  # (domains + 1, wide) float32; the last is of a domain not named
    axes: np.ndarray  # (wide, size) float32

    def origins_of(self, domains: np.ndarray) -> np.ndarray:
        """(n, wide) of these domains (n,)."""
        place = np.searchsorted(self.domains, domains).clip(0, len(self.domains) - 1)
        found: np.ndarray = self.origins[np.where(self.domains[place] == domains, place, -1)]
        return found

    def of(self, said: np.ndarray, domains: np.ndarray) -> np.ndarray:
        """(n, size) float32 of length 1, of what the teacher says (n, wide) in these domains."""
        return unit_rows((said - self.origins_of(domains)) @ self.axes)


def fit_target_space(
    corpus: Corpus, size: int = SIZE, wccn: float = WCCN, centring: float = CENTRING
) -> TargetSpace:
    """Derives it from windows of one voice at its own speed, or from whole recordings where the
    teacher was not asked about windows.
    """
    said, recording = _one_voice_each(corpus)
    labels, domains = corpus.speech.labels[recording], corpus.domains[recording]
    weights = speaker_weights(labels)
    mean = weights @ said
    names, domain = np.unique(domains, return_inverse=True)
    origins = np.tile(mean, (len(names) + 1, 1))
    for number in range(len(names)):
        inside = domain == number
        speakers = len(np.unique(labels[inside]))
        own = np.average(said[inside], axis=0, weights=weights[inside])
        origins[number] += centring * speakers / (speakers + FEW_SPEAKERS) * (own - mean)
    said = said - origins[domain]
    within = within_covariance(said, labels, SHRINKAGE)
    whiten = inverse_root(within / np.trace(within), wccn)
    _, axes = np.linalg.eigh(whiten @ covariance(said, labels) @ whiten)
    return TargetSpace(
        domains=names,
        origins=(origins + weights @ said).astype(np.float32),
        axes=(whiten @ axes[:, ::-1][:, :size]).astype(np.float32),
    )


def write_target_space(space: TargetSpace, path: Path = FILE) -> Path:
    np.savez_compressed(path, domains=space.domains, origins=space.origins, axes=space.axes)
    return path


def read_target_space(size: int, path: Path = FILE) -> TargetSpace:
    """The first `size` of its directions: the largest."""
    with np.load(path) as saved:
        return TargetSpace(saved["domains"], saved["origins"], saved["axes"][:, :size])


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
