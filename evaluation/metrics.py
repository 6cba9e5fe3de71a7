"""Error rates of verification, as pure functions of scores and counts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


class Steps:
    """Trials put in order once, so that they can be weighed many times.

    Trials of one score are one step, so that their order does not matter.

    Args:
        target: (n_target,) scores of trials of one speaker, n_target > 0.
        impostor: (n_impostor,) scores of trials of two speakers, n_impostor > 0.

    Raises:
        ValueError: one of the two is empty.
    """

    scores: Scores
    """(steps,), ascending."""

    def __init__(self, target: Scores, impostor: Scores) -> None:
        if target.size == 0 or impostor.size == 0:
            raise ValueError(
                f"trials of both kinds are needed, got {target.size} and {impostor.size}"
            )
        self.scores, step = np.unique(np.concatenate([target, impostor]), return_inverse=True)
        self._target, self._impostor = step[: target.size], step[target.size :]

    def masses(
        self, target_weights: Scores | None = None, impostor_weights: Scores | None = None
    ) -> tuple[Scores, Scores]:
        """How much target and how much impostor stands at each step, (steps,) each.

        Args:
            target_weights, impostor_weights: how often each trial counts; once where None.
        """
        count = self.scores.size
        targets = np.bincount(self._target, target_weights, count).astype(np.float64)
        impostors = np.bincount(self._impostor, impostor_weights, count).astype(np.float64)
        return targets, impostors


def error_rates(target: Scores, impostor: Scores) -> tuple[Scores, Scores, Scores]:
    """Miss and false-alarm rates at every threshold that tells trials apart.

    A trial is accepted when its score is at or above the threshold.

    Args:
        target, impostor: as for `Steps`.

    Returns:
        Thresholds, ascending and ended by infinity, and the miss and false-alarm rates there.

    Raises:
        ValueError: one of the two is empty.
    """
    steps = Steps(target, impostor)
    return np.append(steps.scores, np.inf), *rates(*steps.masses())


def rates(targets: Scores, impostors: Scores) -> tuple[Scores, Scores]:
    """Miss and false-alarm rates, (steps + 1,) each, of the masses that `Steps` gives."""
    below = [np.concatenate([[0.0], np.cumsum(mass)]) for mass in (targets, impostors)]
    return below[0] / below[0][-1], (below[1][-1] - below[1]) / below[1][-1]


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
    """`equal_error_rate` of such rates as `error_rates` gives."""
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
    """`min_dcf` of such rates as `error_rates` gives."""
    costs = p_target * misses + (1.0 - p_target) * false_alarms
    return float(costs.min() / min(p_target, 1.0 - p_target))


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
