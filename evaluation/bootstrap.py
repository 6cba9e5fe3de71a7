"""Confidence intervals by drawing the speakers again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from evaluation.metrics import Scores

DRAWS = 500
COVERAGE = 0.95

Figures = Callable[[Scores, Scores], Mapping[str, float]]
"""Figures of the weights of target and of impostor trials."""


def bootstrap(
    figures: Figures,
    target_speakers: npt.NDArray[np.str_],
    impostor_speakers: npt.NDArray[np.str_],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of figures when the speakers are drawn again with replacement.

    Trials that share a speaker are not independent, so whole speakers are drawn: a target trial
    counts as often as its speaker was drawn, an impostor trial as often as its one speaker was
    times its other (Snijders and Borgatti 1999, who so draw the vertices of a graph). Draws in
    which no trial of one kind is left are passed over.

    Args:
        figures: of the weights, (n_target,) and (n_impostor,).
        target_speakers: (n_target,).
        impostor_speakers: (n_impostor, 2), enrolled and asking.

    Returns:
        Lower and upper end by figure.
    """
    speakers, place = np.unique(
        np.concatenate([target_speakers, impostor_speakers.ravel()]), return_inverse=True
    )
    of_target = place[: target_speakers.size]
    of_impostor = place[target_speakers.size :].reshape(-1, 2)
    drawn: list[Mapping[str, float]] = []
    for times in draw(len(speakers), draws, rng):
        target_weights = times[of_target]
        impostor_weights = times[of_impostor[:, 0]] * times[of_impostor[:, 1]]
        if target_weights.any() and impostor_weights.any():
            drawn.append(figures(target_weights, impostor_weights))
    return {name: interval(each[name] for each in drawn) for name in drawn[0]}


def draw(speakers: int, draws: int, rng: np.random.Generator) -> Scores:
    """(draws, speakers): how often each is drawn when as many are as there are."""
    chosen = rng.integers(speakers, size=(draws, speakers))
    counts = [np.bincount(each, minlength=speakers) for each in chosen]
    return np.array(counts, np.float64)


def interval(drawn: Iterable[float]) -> tuple[float, float]:
    """The middle 95 % (percentile method; Efron and Tibshirani 1993, chapter 13)."""
    tail = (1.0 - COVERAGE) / 2.0
    low, high = np.nanquantile(np.fromiter(drawn, np.float64), [tail, 1.0 - tail])
    return float(low), float(high)
