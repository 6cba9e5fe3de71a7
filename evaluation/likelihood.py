"""Scores as likelihood ratios: what they cost, at their best, and how they are calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evaluation.metrics import Scores


def cllr(target: Scores, impostor: Scores) -> float:
    """Cost of log-likelihood ratios (Bruemmer and du Preez 2006), in bits.

    0 is perfect, 1 is what saying nothing costs.

    Args:
        target, impostor: natural logarithms of likelihood ratios; a cosine is none until it is
            calibrated.

    Example:
        >>> cllr(np.zeros(3), np.zeros(5))
        1.0
    """
    misses = np.logaddexp(0.0, -target).mean()
    false_alarms = np.logaddexp(0.0, impostor).mean()
    return float((misses + false_alarms) / (2.0 * np.log(2.0)))


def min_cllr(target: Scores, impostor: Scores) -> float:
    """`cllr` after the best monotone calibration: what is lost in telling apart, not in scaling.

    The calibration is the isotonic regression of the labels on the scores, by pooling adjacent
    violators (Ayer et al. 1955), with the trials' own share of targets taken out.
    """
    scores = np.concatenate([target, impostor])
    labels = np.concatenate([np.ones(target.size), np.zeros(impostor.size)])
    _, place = np.unique(scores, return_inverse=True)  # trials of one score are one step
    weights = np.bincount(place).astype(np.float64)
    posteriors = _pool_adjacent_violators(np.bincount(place, labels) / weights, weights)[place]
    with np.errstate(divide="ignore"):
        ratios = np.log(posteriors) - np.log1p(-posteriors) - np.log(target.size / impostor.size)
    return cllr(ratios[: target.size], ratios[target.size :])


def _pool_adjacent_violators(values: Scores, weights: Scores) -> Scores:
    """Nearest non-decreasing values, least squares by weight."""
    blocks: list[tuple[float, float, int]] = []  # value, weight, how many values are in it
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            before, its_weight, count = blocks.pop()
            weight = its_weight + block[1]
            value = (before * its_weight + block[0] * block[1]) / weight
            block = (value, weight, count + block[2])
        blocks.append(block)
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def calibrate(
    target: Scores,
    impostor: Scores,
    target_speakers: npt.NDArray[np.str_],
    impostor_speakers: npt.NDArray[np.str_],
) -> tuple[Scores, Scores]:
    """Log-likelihood ratios of scores, by a line fitted where its speakers are not.

    The enrolled speakers are cut into two halves in the order of their names; a half's trials
    are scaled by logistic regression on the other half's, targets and impostors weighing the same
    (Bruemmer and du Preez 2006).

    Returns:
        Natural logarithms of likelihood ratios, in the order of `target` and `impostor`.

    Raises:
        ValueError: a half lacks trials of one kind.
    """
    speakers = np.unique(np.concatenate([target_speakers, impostor_speakers]))
    ratios = (np.empty(target.size), np.empty(impostor.size))
    for half in (speakers[::2], speakers[1::2]):
        inside = [np.isin(each, half) for each in (target_speakers, impostor_speakers)]
        slope, offset = _logistic_line(target[~inside[0]], impostor[~inside[1]])
        for ratio, score, within in zip(ratios, (target, impostor), inside, strict=True):
            ratio[within] = slope * score[within] + offset
    return ratios


def _logistic_line(target: Scores, impostor: Scores, steps: int = 50) -> tuple[float, float]:
    """Slope and offset that minimise `cllr`, by Newton's method with a trace of ridge."""
    if target.size == 0 or impostor.size == 0:
        raise ValueError("trials of both kinds are needed in each half of the speakers")
    scores = np.concatenate([target, impostor])
    mean, spread = scores.mean(), max(float(scores.std()), 1e-9)
    rows = np.stack([(scores - mean) / spread, np.ones_like(scores)], axis=1)
    labels = np.concatenate([np.ones(target.size), np.zeros(impostor.size)])
    weights = np.where(labels > 0, 0.5 / target.size, 0.5 / impostor.size)
    line = np.zeros(2)
    ridge = 1e-6 * np.eye(2)
    for _ in range(steps):
        found = 1.0 / (1.0 + np.exp(-np.clip(rows @ line, -60.0, 60.0)))
        gradient = rows.T @ (weights * (found - labels)) + ridge @ line
        curvature = (rows * (weights * found * (1.0 - found))[:, None]).T @ rows + ridge
        step = np.linalg.solve(curvature, gradient)
        line -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(line[0] / spread), float(line[1] - line[0] * mean / spread)
