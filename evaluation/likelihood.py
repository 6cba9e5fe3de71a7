"""Scores as likelihood ratios: what they cost, at their best, and how they are calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from evaluation.metrics import Scores, Steps


def cllr(
    target: Scores,
    impostor: Scores,
    target_weights: Scores | None = None,
    impostor_weights: Scores | None = None,
) -> float:
    """Cost of log-likelihood ratios (Bruemmer and du Preez 2006), in bits.

    0 is perfect, 1 is what saying nothing costs.

    Args:
        target, impostor: natural logarithms of likelihood ratios; a cosine is none until it is
            calibrated.
        target_weights, impostor_weights: how often each trial counts; once where None.

    Example:
        >>> cllr(np.zeros(3), np.zeros(5))
        1.0
    """
    misses = np.average(np.logaddexp(0.0, -target), weights=target_weights)
    false_alarms = np.average(np.logaddexp(0.0, impostor), weights=impostor_weights)
    return float((misses + false_alarms) / (2.0 * np.log(2.0)))


def min_cllr(target: Scores, impostor: Scores) -> float:
    """`cllr` after the best monotone calibration: what is lost in telling apart, not in scaling.

    The calibration is the isotonic regression of the labels on the scores, by pooling adjacent
    violators (Ayer et al. 1955), with the trials' own share of targets taken out.

    Raises:
        ValueError: there are no trials of one kind.

    Example:
        >>> min_cllr(np.array([0.9, 0.8]), np.array([0.1, 0.2]))
        0.0
    """
    return least_cllr(*Steps(target, impostor).masses())


def least_cllr(targets: Scores, impostors: Scores) -> float:
    """`min_cllr` of the masses that `Steps` gives, (steps,) each."""
    heard = targets + impostors > 0.0
    targets, impostors = targets[heard], impostors[heard]
    weights = targets + impostors
    posteriors = isotonic_regression(targets / weights, weights=weights).x
    posteriors = np.clip(posteriors, 0.0, 1.0)  # pooling may leave 1 + 2e-16
    with np.errstate(divide="ignore"):
        ratios = np.log(posteriors) - np.log1p(-posteriors)
    ratios -= np.log(targets.sum() / impostors.sum())
    some, others = targets > 0.0, impostors > 0.0
    return cllr(ratios[some], ratios[others], targets[some], impostors[others])


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
