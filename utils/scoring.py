"""Embeddings compared: centroids, cosine scores, the best candidates. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.shortlist import shortlist

EMBEDDING_SIZE = 64
# Float32 and a normalisation done elsewhere leave 1e-6; 1e-3 takes float16 in between as well and
# still tells an embedding from any other array.
UNIT_TOLERANCE = 1e-3
# The mean of n unit vectors of no common direction is about n ** -0.5 long; below this the
# direction is the rounding's.
_SHORTEST_MEAN = 1e-5
_MANY = 50_000  # rows; below it one exact pass is quick


@dataclass(frozen=True)
class Candidate:
    """A speaker that a probe may be of."""

    speaker_id: str
    score: float  # cosine in [-1, 1]; higher is more alike
    enrolled_s: float | None = None  # seconds of speech enrolled; None: not known


def check_unit_rows(embeddings: np.ndarray) -> None:
    """Accepts (n, d) floats with n at least 1 and every row of length 1.

    Raises:
        ValueError: anything else, NaN and infinity included.
    """
    if embeddings.ndim != 2 or len(embeddings) == 0 or embeddings.dtype.kind != "f":
        raise ValueError(
            f"embeddings must be floats of shape (n >= 1, d), got {embeddings.dtype} "
            f"of shape {embeddings.shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.vecdot(embeddings, embeddings))
        is_unit = np.abs(lengths - 1.0) <= UNIT_TOLERANCE  # False for NaN
    if not is_unit.all():
        row = int(np.argmin(is_unit))
        raise ValueError(f"row {row} of the embeddings has length {lengths[row]}, not 1")


def centroid(embeddings: np.ndarray) -> np.ndarray:
    """The unit mean of a speaker's embeddings.

    Args:
        embeddings: (n, d), n at least 1, each row of length 1.

    Returns:
        (d,) float32 of length 1.

    Raises:
        ValueError: the shape does not fit, a row is not of length 1, or the rows cancel out.

    Example:
        >>> centroid(np.array([[1.0, 0.0], [0.0, 1.0]]))
        array([0.70710677, 0.70710677], dtype=float32)
    """
    check_unit_rows(embeddings)
    mean = embeddings.mean(axis=0, dtype=np.float64)  # (n, d) -> (d,)
    length = float(np.linalg.norm(mean))
    if length < _SHORTEST_MEAN:
        raise ValueError("the embeddings cancel out; they have no mean direction")
    unit: np.ndarray = (mean / length).astype(np.float32)
    return unit


def cosine_scores(
    probe: np.ndarray, centroids: np.ndarray, *, check_rows: bool = True
) -> np.ndarray:
    """Scores one probe against every enrolled speaker.

    A row's score is the same to the last bit wherever the row stands: `np.vecdot` takes one dot
    product a row. A matrix product does not have that (OpenBLAS: the last bits of 183 in 299
    shorter matrices differed), so that ties would depend on the order of enrolment.

    Args:
        probe: (d,) embedding of length 1; d is 64 in our network.
        centroids: (n_speakers, d), each row of length 1; n_speakers may be 0.
        check_rows: whether the lengths of the rows are looked at; the gallery checked its own
            when they came in.

    Returns:
        (n_speakers,) cosines in [-1, 1], in gallery order; higher is more alike.

    Raises:
        ValueError: a shape does not fit, or the probe or a row is not of length 1.

    Example:
        >>> cosine_scores(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
        array([0., 1.])
    """
    _check_probe(probe, centroids)
    if check_rows and len(centroids):
        check_unit_rows(centroids)
    scores: np.ndarray = np.clip(np.vecdot(centroids, probe), -1.0, 1.0)
    return scores


def search(
    probe: np.ndarray,
    centroids: np.ndarray,
    codes: np.ndarray,
    speaker_ids: Sequence[str],
    top: int,
) -> list[Candidate]:
    """The best speakers of one probe, exactly, out of a few or a million.

    Args:
        probe: (64,) float32 of length 1.
        centroids: float32 (n_speakers, 64), rows of length 1, which is not looked at.
        codes: their 8-bit copies, by `utils.shortlist.encode`.
        speaker_ids, top, and what is returned: see `top_candidates`.

    Raises:
        ValueError: a shape does not fit, the probe is not of length 1, or `top` is below 1.
    """
    if len(centroids) > _MANY:
        _check_probe(probe, centroids)
        _check_top(top)
        rows = shortlist(probe, codes, top)
        centroids, speaker_ids = centroids[rows], [speaker_ids[row] for row in rows.tolist()]
    return top_candidates(cosine_scores(probe, centroids, check_rows=False), speaker_ids, top)


def top_candidates(scores: np.ndarray, speaker_ids: Sequence[str], top: int) -> list[Candidate]:
    """The best speakers of one probe, best first; equal scores in the order of their IDs.

    Args:
        scores: (n_speakers,) cosines.
        speaker_ids: the ID of each score; what stands beyond n_speakers is not looked at.
        top: at least 1, how many are wanted.

    Returns:
        min(top, n_speakers) candidates.

    Raises:
        ValueError: `top` is below 1.

    Example:
        >>> [c.speaker_id for c in top_candidates(np.array([0.5, 0.9, 0.5]), ["b", "c", "a"], 2)]
        ['c', 'a']
    """
    _check_top(top)
    if len(scores) > top:
        cut = np.partition(scores, len(scores) - top)[len(scores) - top]
        rows = np.flatnonzero(scores >= cut)  # all that tie with the last one are in
    else:
        rows = np.arange(len(scores))
    candidates = [Candidate(speaker_ids[row], float(scores[row])) for row in rows.tolist()]
    return sorted(candidates, key=lambda one: (-one.score, one.speaker_id))[:top]


def _check_probe(probe: np.ndarray, centroids: np.ndarray) -> None:
    if probe.ndim != 1 or centroids.ndim != 2 or centroids.shape[1] != len(probe):
        raise ValueError(
            f"a probe of shape {probe.shape} cannot be scored against centroids "
            f"of shape {centroids.shape}"
        )
    check_unit_rows(probe[np.newaxis])


def _check_top(top: int) -> None:
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
