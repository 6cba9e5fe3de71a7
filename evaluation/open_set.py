"""Error rates of identification among many, where a probe may be of nobody enrolled."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evaluation.metrics import Scores


def ranks(scores: Scores, own: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Place of each probe's own speaker among all, 1 the nearest; a tie counts against it.

    Args:
        scores: (probes, speakers).
        own: (probes,) the column of each probe's speaker.
    """
    of_own = scores[np.arange(len(own)), own][:, None]
    places: npt.NDArray[np.intp] = np.sum(scores >= of_own, axis=1)
    return places


def fnir_at_fpir(
    mated: Scores, mated_rank: npt.NDArray[np.intp], unmated: Scores, fpir: float
) -> float:
    """Share of enrolled probes missed at the threshold that names so few strangers (open set).

    False-negative and false-positive identification rates as in ISO/IEC 19795-1: a mated probe
    is missed where its own speaker is not the nearest, or scores under the threshold; a stranger
    is a false positive where anybody's score reaches it.

    Args:
        mated: (probes,) the score of each enrolled probe's own speaker.
        mated_rank: (probes,) its place, 1 the nearest.
        unmated: (strangers,) the highest score that each got from anybody.
        fpir: in [0, 1); where it is finer than one stranger, none may pass.
    """
    highest = np.sort(unmated)[::-1]
    allowed = math.floor(fpir * unmated.size + 1e-9)
    # just above the first stranger that may not pass
    threshold = np.nextafter(highest[allowed], np.inf) if allowed < unmated.size else -np.inf
    return float(np.mean((mated_rank > 1) | (mated < threshold)))
