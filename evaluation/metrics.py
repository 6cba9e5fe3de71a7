"""Error rates of verification, as pure functions of scores and counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def error_rates(target: Scores, impostor: Scores) -> tuple[Scores, Scores, Scores]:
    """Miss and false-alarm rates at every threshold that tells trials apart.

    A trial is accepted when its score is at or above the threshold; trials of one score are one
    step, so that their order does not matter.

    Args:
        target: (n_target,) scores of trials of one speaker, n_target > 0.
        impostor: (n_impostor,) scores of trials of two speakers, n_impostor > 0.

    Returns:
        Thresholds, ascending and ended by infinity, and the miss and false-alarm rates there.

    Raises:
        ValueError: one of the two is empty.
    """
    if target.size == 0 or impostor.size == 0:
        raise ValueError(f"trials of both kinds are needed, got {target.size} and {impostor.size}")
    thresholds = np.append(np.unique(np.concatenate([target, impostor])), np.inf)
    misses = np.searchsorted(np.sort(target), thresholds, side="left") / target.size
    false_alarms = 1.0 - np.searchsorted(np.sort(impostor), thresholds, side="left") / impostor.size
    return thresholds, misses, false_alarms


def equal_error_rate(target: Scores, impostor: Scores) -> float:
    """The rate at which misses and false alarms are alike (EER), a fraction.

    Between two thresholds both rates are taken to run straight (the crossing of the ROC's line
    segments with the diagonal).

    Raises:
        ValueError: there are no trials of one kind.

    Example:
        >>> equal_error_rate(np.array([0.9, 0.8, 0.3]), np.array([0.5, 0.2, 0.1]))
        0.3333333333333333
    """
    _, misses, false_alarms = error_rates(target, impostor)
    return crossing(misses, false_alarms)


def crossing(misses: Scores, false_alarms: Scores) -> float:
    """`equal_error_rate` of the rates that `error_rates` gives."""
    above = int(np.argmax(misses >= false_alarms))  # the last threshold has misses 1, alarms 0
    if above == 0:
        return float(misses[0])
    gap_before = false_alarms[above - 1] - misses[above - 1]
    gap_after = misses[above] - false_alarms[above]
    share = gap_before / (gap_before + gap_after)
    return float(misses[above - 1] + share * (misses[above] - misses[above - 1]))


def min_dcf(target: Scores, impostor: Scores, p_target: float) -> float:
    """Smallest normalised detection cost over all thresholds, both errors costing the same.

    The cost of NIST's speaker recognition evaluations, c_miss = c_fa = 1: p_target * misses +
    (1 - p_target) * false alarms, over the cost of the better of accepting all and accepting
    none.

    Raises:
        ValueError: there are no trials of one kind.

    Example:
        >>> min_dcf(np.array([0.9, 0.8]), np.array([0.1, 0.2]), p_target=0.01)
        0.0
    """
    _, misses, false_alarms = error_rates(target, impostor)
    return lowest_cost(misses, false_alarms, p_target)


def lowest_cost(misses: Scores, false_alarms: Scores, p_target: float) -> float:
    """`min_dcf` of the rates that `error_rates` gives."""
    costs = p_target * misses + (1.0 - p_target) * false_alarms
    return float(costs.min() / min(p_target, 1.0 - p_target))


def bootstrap(
    figures: Callable[[Scores, Scores], dict[str, float]],
    target: Scores,
    impostor: Scores,
    target_speakers: npt.NDArray[np.str_],
    impostor_speakers: npt.NDArray[np.str_],
    *,
    rng: np.random.Generator,
    draws: int = 200,
    coverage: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of figures when the enrolled speakers are drawn again.

    Trials of one speaker are not independent, so whole speakers are drawn with replacement, each
    with all trials in which it is the enrolled one (Efron and Tibshirani 1993, chapter 8).

    Args:
        figures: of target and impostor scores.
        target_speakers, impostor_speakers: the enrolled speaker of each trial.

    Returns:
        Lower and upper end by figure.
    """
    speakers, which = np.unique(
        np.concatenate([target_speakers, impostor_speakers]), return_inverse=True
    )
    of_target, of_impostor = which[: target.size], which[target.size :]
    drawn_figures: list[dict[str, float]] = []
    for _ in range(draws):
        drawn = np.bincount(
            rng.integers(len(speakers), size=len(speakers)), minlength=len(speakers)
        )
        some_target = np.repeat(target, drawn[of_target])
        some_impostor = np.repeat(impostor, drawn[of_impostor])
        if some_target.size and some_impostor.size:
            drawn_figures.append(figures(some_target, some_impostor))
    tail = (1.0 - coverage) / 2.0
    ends = {
        name: np.quantile([each[name] for each in drawn_figures], [tail, 1.0 - tail])
        for name in drawn_figures[0]
    }
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a share (Wilson 1927); z = 1.96 covers 95 %.

    Example:
        >>> low, high = wilson_interval(63, 63)
        >>> round(low, 3), round(high, 3)
        (0.943, 1.0)
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"need 0 <= successes <= trials and trials > 0: {successes}, {trials}")
    share = successes / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
