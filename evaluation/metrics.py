"""Error rates of verification and identification, as pure functions of scores and counts."""

from __future__ import annotations

import math

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
    above = int(np.argmax(misses >= false_alarms))  # the last threshold has misses 1, alarms 0
    if above == 0:
        return float(misses[0])
    gap_before = false_alarms[above - 1] - misses[above - 1]
    gap_after = misses[above] - false_alarms[above]
    share = gap_before / (gap_before + gap_after)
    return float(misses[above - 1] + share * (misses[above] - misses[above - 1]))


def bootstrap_eer(
    target: Scores,
    impostor: Scores,
    target_speakers: npt.NDArray[np.str_],
    impostor_speakers: npt.NDArray[np.str_],
    *,
    rng: np.random.Generator,
    draws: int = 500,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the EER when the enrolled speakers are drawn again.

    Trials of one speaker are not independent, so whole speakers are drawn with replacement, each
    with all trials in which it is the enrolled one (Efron and Tibshirani 1993, chapter 8).

    Args:
        target_speakers, impostor_speakers: the enrolled speaker of each trial.

    Returns:
        Lower and upper end, fractions.
    """
    speakers = np.unique(np.concatenate([target_speakers, impostor_speakers]))
    of_target = [target[target_speakers == speaker] for speaker in speakers]
    of_impostor = [impostor[impostor_speakers == speaker] for speaker in speakers]
    rates = []
    for _ in range(draws):
        drawn = rng.integers(len(speakers), size=len(speakers))
        some_target = np.concatenate([of_target[i] for i in drawn])
        some_impostor = np.concatenate([of_impostor[i] for i in drawn])
        if some_target.size and some_impostor.size:
            rates.append(equal_error_rate(some_target, some_impostor))
    tail = (1.0 - coverage) / 2.0
    low, high = np.quantile(rates, [tail, 1.0 - tail])
    return float(low), float(high)


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
