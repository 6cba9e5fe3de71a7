"""Error rates of identification among many, where a probe may be of nobody enrolled."""

from __future__ import annotations

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
    mated: Scores,
    mated_rank: npt.NDArray[np.intp],
    unmated: Scores,
    fpir: float,
    mated_weights: Scores | None = None,
    unmated_weights: Scores | None = None,
) -> Scores:
    """Share of enrolled probes missed at the threshold that names so few strangers (open set).

    False-negative and false-positive identification rates as in ISO/IEC 19795-1: a mated probe
    is missed where its own speaker is not the nearest, or scores under the threshold; a stranger
    is a false positive where anybody's score reaches it.

    Args:
        mated: (probes,) the score of each enrolled probe's own speaker.
        mated_rank: (probes,) its place, 1 the nearest.
        unmated: (strangers,) the highest score that each got from anybody.
        fpir: in [0, 1]; where it is finer than one stranger, none may pass.
        mated_weights, unmated_weights: (..., probes) and (..., strangers), how often each counts;
            once where None.

    Returns:
        (...), a fraction each; NaN where no probe or no stranger counts.
    """
    mated_weights = np.ones(mated.size) if mated_weights is None else mated_weights
    unmated_weights = np.ones(unmated.size) if unmated_weights is None else unmated_weights
    order = np.argsort(-unmated, kind="stable")
    passing = np.cumsum(unmated_weights[..., order], axis=-1)
    may_pass = np.sum(passing <= fpir * passing[..., -1:] + 1e-9, axis=-1)
    # just above the first stranger that may not pass
    thresholds = np.append(np.nextafter(unmated[order], np.inf), -np.inf)[may_pass]
    missed = (mated_rank > 1) | (mated < thresholds[..., None])
    named = unmated_weights.any(axis=-1)
    return np.where(named, weighted_share(missed, mated_weights), np.nan)


def weighted_share(happened: npt.NDArray[np.bool_], weights: Scores) -> Scores:
    """(...): the weight of what happened over all weight, along the last axis; NaN over none."""
    with np.errstate(invalid="ignore"):
        share: Scores = np.sum(happened * weights, axis=-1) / np.sum(weights, axis=-1)
    return share
