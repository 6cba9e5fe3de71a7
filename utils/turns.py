"""Which stretches of a recording are one voice: embeddings of a sliding window in, labels out.

    cut     at every pause, and where the windows to either side of a moment are least alike
    merge   the pieces that are likeliest of one voice, until none are likely enough (agglomerative
            clustering; the likelihood knows how much speech each piece has)
    smooth  every step to the nearest voice, a change of voice having its price (Viterbi's path)

and the last two once more, as voices are purer after the first round. Arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from utils.calibration import Calibration, CohortStatistics, Floats, Rows
from utils.speech import CHUNK_S, Mask

Index = npt.NDArray[np.intp]

ROUNDS = 2  # of merging and smoothing; with one, 23 % of speech is wrongly named in place of 21 %


@dataclass(frozen=True)
class SegmentSettings:
    """How turns are found. What is called chosen was, by `python -m evaluation segments`."""

    window_s: float = 1.0  # chosen: DER 5.0 %, with 0.75 s 6.3 %, with 1.5 s 6.6 %
    step_chunks: int = 4  # of 32 ms; chosen: 8 take half the time and come to a DER of 6.3 %
    change: float = 0.6  # cosine distance of two windows that meet; chosen, 0.5 to 0.7 are alike
    same_voice: float = 2.0  # log-likelihood ratio to merge from; chosen, 1.5 to 2.25 are alike
    change_cost: float = 1.0  # in cosines summed over steps: a new voice must be that much nearer
    pause_cost: float = 0.3  # the same after a pause, where turns rather change
    min_speaker_s: float = 1.0  # of speech: who has less is no speaker where there is another one
    # A shorter pause is part of a turn (NIST, Rich Transcription 2003), and no window reaches over
    # a longer one: where they do, the last word before another voice is heard as that voice's.
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        if not (self.window_s > 0 and self.step_chunks > 0 and self.pause_s >= 0):
            raise ValueError(
                "window_s and step_chunks must be more than 0 and pause_s not less, got "
                f"{self.window_s}, {self.step_chunks}, {self.pause_s}"
            )
        if not 0 <= self.pause_cost <= self.change_cost:
            raise ValueError(
                f"need 0 <= pause_cost <= change_cost, got {self.pause_cost}, {self.change_cost}"
            )

    @property
    def reach(self) -> int:
        """Steps from a window's middle to its end."""
        return max(1, round(self.window_s / (2.0 * self.step_chunks * CHUNK_S)))


@dataclass(frozen=True)
class Steps:
    """Speech cut into pieces of up to `step_chunks`, none of which reaches over a pause."""

    first: Index  # (steps,) chunk of the recording
    last: Index  # (steps,) the chunk after
    after_pause: Mask  # (steps,)
    passage: Index  # (steps,) number of what lies between two pauses of `pause_s` or more

    @property
    def seconds(self) -> Floats:
        """(steps,) of speech."""
        seconds: Floats = CHUNK_S * (self.last - self.first).astype(np.float64)
        return seconds


def make_steps(mask: Mask, settings: SegmentSettings) -> Steps:
    """Cuts what is speech.

    Args:
        mask: (chunks,), as `utils.quality.find_speech` gives it.

    Example:
        >>> mask = np.repeat(np.array([0, 1, 0, 1, 0, 1], np.bool_), [1, 5, 8, 2, 10, 2])
        >>> steps = make_steps(mask, SegmentSettings(step_chunks=4, pause_s=0.3))
        >>> list(zip(steps.first.tolist(), steps.last.tolist(), steps.passage.tolist()))
        [(1, 5, 0), (5, 6, 0), (14, 16, 0), (26, 28, 1)]
        >>> steps.after_pause.tolist()
        [True, False, True, True]
    """
    regions = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
    pauses = regions[1:, 0] - regions[:-1, 1]
    passages = np.cumsum(np.append(False, pauses * CHUNK_S >= settings.pause_s))[: len(regions)]
    found = [
        (chunk, min(chunk + settings.step_chunks, end), chunk == begin, passage)
        for (begin, end), passage in zip(regions.tolist(), passages.tolist(), strict=True)
        for chunk in range(begin, end, settings.step_chunks)
    ]
    first, last, after_pause, of_passage = np.array(found, np.intp).reshape(-1, 4).T
    return Steps(first, last, after_pause.astype(np.bool_), of_passage)


def label_steps(
    embeddings: Rows, steps: Steps, calibration: Calibration, settings: SegmentSettings
) -> Index:
    """Numbers the voices.

    Args:
        embeddings: (steps, 64) rows of length 1, of windows whose middle is the step's. There is
            at least one.

    Returns:
        (steps,) whose voice, from 0 in order of appearance.
    """
    labels = np.arange(len(embeddings))
    pure = np.zeros(len(embeddings), np.bool_)
    bounds = _bounds(embeddings, steps, settings)
    for piece, (first, last) in enumerate(pairwise(bounds)):
        labels[first:last] = piece
        pure[_inside(first, last, len(embeddings), settings.reach)] = True
    for _ in range(ROUNDS):
        labels = labels.copy()
        sums, seconds = _totals(embeddings, labels, steps.seconds, pure)
        labels = merge(sums, seconds, calibration, settings.same_voice)[labels]
        labels = _smooth(embeddings, _in_order(labels), steps, settings)
        pure[:] = True
    return labels


def merge(sums: Floats, seconds: Floats, calibration: Calibration, least_llr: float) -> Index:
    """Merges two groups after the other, those likeliest to be of one voice first.

    Args:
        sums: (groups, 64) sums of the groups' embeddings; at least one group.
        seconds: (groups,) of speech.
        least_llr: natural log-likelihood ratio under which two groups stay apart.

    Returns:
        (groups,) numbers, the same for groups that are one by now.
    """
    sums, seconds = sums.copy(), seconds.copy()
    rows = _unit(sums)
    statistics = calibration.statistics(rows)
    of_group = np.arange(len(sums))
    is_left = np.ones(len(sums), np.bool_)
    ratios = _ratios(calibration, rows, statistics, seconds, slice(None))
    np.fill_diagonal(ratios, -np.inf)
    while ratios.max() >= least_llr:
        one, other = (int(place) for place in np.unravel_index(np.argmax(ratios), ratios.shape))
        sums[one] += sums[other]
        seconds[one] += seconds[other]
        of_group[of_group == other] = one
        is_left[other] = False
        rows[one] = _unit(sums[one : one + 1])[0]
        changed = calibration.statistics(rows[one : one + 1])
        statistics.mean[one], statistics.spread[one] = changed.mean[0], changed.spread[0]
        with_all = _ratios(calibration, rows, statistics, seconds, slice(one, one + 1))[0]
        with_all[~is_left] = with_all[one] = -np.inf
        ratios[one] = ratios[:, one] = with_all
        ratios[other] = ratios[:, other] = -np.inf
    return of_group


def _ratios(
    calibration: Calibration, rows: Rows, statistics: CohortStatistics, seconds: Floats, of: slice
) -> Floats:
    """Log-likelihood ratios of some groups with all: (some, groups)."""
    cosines = (rows[of] @ rows.T).astype(np.float64)
    scores = calibration.scores(cosines, statistics.at(of), statistics)
    return calibration.llr(
        scores,
        np.broadcast_to(seconds[of][:, None], scores.shape),
        np.broadcast_to(seconds, scores.shape),
    )


def _bounds(embeddings: Rows, steps: Steps, settings: SegmentSettings) -> list[int]:
    """The steps that pieces begin with, and the number of steps."""
    count, reach = len(embeddings), settings.reach
    before = embeddings[np.maximum(np.arange(count) - reach, 0)]
    after = embeddings[np.minimum(np.arange(count) + reach - 1, count - 1)]
    distances = 1.0 - np.vecdot(before, after)
    pauses = np.flatnonzero(steps.after_pause)
    bounds = pauses.tolist()
    for step in np.flatnonzero(distances > settings.change).tolist():
        around = distances[max(0, step - reach) : step + reach + 1]
        # a peak right beside a pause is the change that the pause is already
        if distances[step] == around.max() and np.abs(pauses - step).min() > reach // 2:
            bounds.append(step)
    return [*sorted(bounds), count]


def _inside(first: int, last: int, count: int, reach: int) -> slice:
    """A piece's steps whose windows lie wholly in it; its middle one where none does."""
    begin = first + reach if first > 0 else first
    end = last - reach if last < count else last
    middle = (first + last) // 2
    return slice(begin, end) if begin < end else slice(middle, middle + 1)


def _totals(
    embeddings: Rows, labels: Index, step_s: Floats, counted: Mask
) -> tuple[Floats, Floats]:
    """Sum of the counted embeddings, and the seconds of all steps, of every label."""
    groups = int(labels.max()) + 1
    sums = np.zeros((groups, embeddings.shape[1]))
    np.add.at(sums, labels[counted], embeddings[counted])
    return sums, np.bincount(labels, step_s, groups).astype(np.float64)


def _smooth(embeddings: Rows, labels: Index, steps: Steps, settings: SegmentSettings) -> Index:
    """Gives every step to the nearest voice along the best path; drops voices of too little."""
    sums, seconds = _totals(embeddings, labels, steps.seconds, np.ones(len(labels), np.bool_))
    enough = seconds >= settings.min_speaker_s
    voices = _unit(sums[enough] if enough.any() else sums[[int(seconds.argmax())]])
    costs = np.where(steps.after_pause, settings.pause_cost, settings.change_cost)
    return _in_order(best_path(embeddings @ voices.T, costs))


def best_path(scores: npt.NDArray[np.floating], costs: Floats) -> Index:
    """The labels with the largest sum of scores less the costs of changing (Viterbi 1967).

    Args:
        scores: (steps, labels), both at least 1.
        costs: (steps,) of having another label than the step before; the first is not looked at.

    Returns:
        (steps,) labels.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.4, 0.5], [0.9, 0.1], [0.0, 0.9], [0.0, 0.9]])
        >>> best_path(scores, np.full(5, 1.0)).tolist()
        [0, 0, 0, 1, 1]
    """
    steps, labels = scores.shape
    came_from = np.empty((steps, labels), np.intp)
    totals = scores[0].astype(np.float64)
    for step in range(1, steps):
        best = int(np.argmax(totals))
        stays = totals >= totals[best] - costs[step]
        came_from[step] = np.where(stays, np.arange(labels), best)
        totals = np.where(stays, totals, totals[best] - costs[step]) + scores[step]
    path = np.empty(steps, np.intp)
    path[-1] = np.argmax(totals)
    for step in range(steps - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return path


def _in_order(labels: Index) -> Index:
    """The same labels, numbered from 0 as they appear."""
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    numbers: Index = np.argsort(np.argsort(first))[place]
    return numbers


def _unit(sums: npt.NDArray[np.floating]) -> Rows:
    """(n, 64) -> float32 rows of length 1."""
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    rows: Rows = (sums / lengths).astype(np.float32)
    return rows
