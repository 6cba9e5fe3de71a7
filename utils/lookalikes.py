"""Who of a gallery may be taken for whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.calibration import Calibration, CohortStatistics
from utils.gallery import Snapshot

BLOCK = 256  # speakers that are compared with all others at once
DUPLICATE_CHANCE = 0.001  # of strangers, who come as near to anybody here: nearer may be one person


@dataclass(frozen=True)
class Pair:
    """Two speakers who sound alike."""

    speaker_ids: tuple[str, str]  # in order
    cosine: float
    chance: float
    """The share of strangers who would come as near to anybody in a gallery of this size."""

    @property
    def is_likely_duplicate(self) -> bool:
        return self.chance <= DUPLICATE_CHANCE


def nearest_pairs(now: Snapshot, calibration: Calibration, most: int) -> list[Pair]:
    """The speakers who are nearest to each other, by score (AS-norm), nearest first.

    Args:
        most: pairs that are wanted, at least 1.
    """
    if now.count < 2:
        return []
    found = []
    for score, cosine, one, other in _pairs(now, calibration, most):
        first, second = sorted((now.ids[one], now.ids[other]))
        chance = float(calibration.strangers.share(score, now.count))
        found.append(Pair((first, second), cosine, chance))
    return found


def _pairs(
    now: Snapshot, calibration: Calibration, most: int
) -> list[tuple[float, float, int, int]]:
    """Score, cosine and rows of the nearest pairs, in bounded memory."""
    rows = now.centroids
    blocks = range(0, now.count, BLOCK)
    each = [calibration.statistics(rows[first : first + BLOCK]) for first in blocks]
    statistics = CohortStatistics(
        np.concatenate([one.mean for one in each]), np.concatenate([one.spread for one in each])
    )
    best: list[tuple[float, float, int, int]] = []
    for first in blocks:
        block = slice(first, first + BLOCK)
        cosines = (rows[block] @ rows.T).astype(np.float64)
        scores = calibration.scores(cosines, statistics.at(block), statistics)
        scores[np.tril_indices(len(scores), first, now.count)] = -np.inf  # each pair once
        top = np.argpartition(scores, -min(most, scores.size), axis=None)[-most:]
        for place in top.tolist():
            one, other = divmod(place, now.count)
            if np.isfinite(scores[one, other]):
                pair = (float(scores[one, other]), float(cosines[one, other]), first + one, other)
                best.append(pair)
        best = sorted(best, reverse=True)[:most]
    return best
