"""Error rates of "who spoke when": pure functions of what was said and what was answered.

The diarisation error rate (DER) is that of NIST's Rich Transcription evaluations: missed speech,
false alarms and confusion over reference speech, labels mapped one to one as is best. The
identification error counts likewise, but an enrolled speaker must be called by their own ID (as
in the identification error rate of REPERE, Kahn et al. 2012); only the numbers of unknown
speakers are mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

COLLAR_S = 0.25  # to either side of a reference boundary nothing is counted: people differ there
NOBODY = -1


@dataclass(frozen=True)
class Span:
    """Somebody speaks; enrolled ones are labelled with their ID, unknown ones with any name."""

    start_s: float
    end_s: float
    label: str
    is_enrolled: bool


@dataclass(frozen=True)
class Errors:
    """Seconds, of one recording or of several together."""

    speech: float  # of reference, that is counted
    miss: float = 0.0
    false_alarm: float = 0.0
    enrolled: float = 0.0  # enrolled speakers under another label than their ID
    unknown: float = 0.0  # unknown speakers under an ID, or under another one's number
    confusion: float = 0.0  # of DER: under a label that is mapped to somebody else

    def __add__(self, other: Errors) -> Errors:
        return Errors(*(one + two for one, two in zip(self.row(), other.row(), strict=True)))

    def row(self) -> tuple[float, ...]:
        return (self.speech, self.miss, self.false_alarm, self.enrolled, self.unknown,
                self.confusion)  # fmt: skip

    def shares(self) -> dict[str, float]:
        """Of the reference speech; the identification error, DER and the parts of both.

        Raises:
            ZeroDivisionError: nobody speaks.
        """
        lost = self.miss + self.false_alarm
        return {
            "identification_error": (lost + self.enrolled + self.unknown) / self.speech,
            "miss": self.miss / self.speech,
            "false_alarm": self.false_alarm / self.speech,
            "confusion_enrolled": self.enrolled / self.speech,
            "confusion_unknown": self.unknown / self.speech,
            "der": (lost + self.confusion) / self.speech,
        }


def count_errors(
    reference: Sequence[Span], answer: Sequence[Span], collar_s: float = COLLAR_S
) -> Errors:
    """Compares an answer with the reference; in neither of them two speak at a time.

    Args:
        collar_s: so much before and after each reference boundary is not counted.

    Example:
        >>> said = [Span(0.0, 4.0, "ann", True), Span(4.0, 8.0, "x", False)]
        >>> heard = [Span(0.0, 5.0, "ann", True), Span(5.0, 8.0, "unknown-1", False)]
        >>> count_errors(said, heard, collar_s=0.0)
        Errors(speech=8.0, miss=0.0, false_alarm=0.0, enrolled=0.0, unknown=1.0, confusion=1.0)
    """
    seconds, middles = _pieces(reference, answer, collar_s)
    said, heard = _labels(reference), _labels(answer)
    who, whom = _at(reference, said, middles), _at(answer, heard, middles)
    together = np.zeros((len(said), len(heard)))
    both = (who != NOBODY) & (whom != NOBODY)
    np.add.at(together, (who[both], whom[both]), seconds[both])
    enrolled_said = np.array([is_enrolled for _, is_enrolled in said], np.bool_)
    enrolled_heard = np.array([is_enrolled for _, is_enrolled in heard], np.bool_)
    right = np.array([[one[1] and one == other for other in heard] for one in said], np.bool_)
    right = right.reshape(together.shape)  # also where one of the two is empty
    strangers = np.where(enrolled_said[:, None] | enrolled_heard, 0.0, together)
    wrong = together.sum(axis=1) - (together * (right | _best(strangers))).sum(axis=1)
    return Errors(
        speech=float(seconds[who != NOBODY].sum()),
        miss=float(seconds[(who != NOBODY) & (whom == NOBODY)].sum()),
        false_alarm=float(seconds[(who == NOBODY) & (whom != NOBODY)].sum()),
        enrolled=float(wrong[enrolled_said].sum()),
        unknown=float(wrong[~enrolled_said].sum()),
        confusion=float(together.sum() - (together * _best(together)).sum()),
    )


def _best(together: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which reference label is mapped to which answered one: the most time in agreement."""
    mapped = np.zeros(together.shape, np.bool_)
    mapped[linear_sum_assignment(together, maximize=True)] = True
    return mapped & (together > 0.0)


def _pieces(
    reference: Sequence[Span], answer: Sequence[Span], collar_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lengths and middles of the stretches in which nothing changes, without the collars."""
    bounds = np.array([[each.start_s, each.end_s] for each in reference]).ravel()
    others = np.array([[each.start_s, each.end_s] for each in answer]).ravel()
    cuts = np.unique(np.concatenate([bounds, bounds - collar_s, bounds + collar_s, others]))
    seconds, middles = np.diff(cuts), (cuts[1:] + cuts[:-1]) / 2.0
    counted = np.array([bool((np.abs(bounds - each) >= collar_s).all()) for each in middles])
    return seconds[counted.astype(np.bool_)], middles[counted.astype(np.bool_)]


def _labels(spans: Sequence[Span]) -> list[tuple[str, bool]]:
    return sorted({(each.label, each.is_enrolled) for each in spans})


def _at(
    spans: Sequence[Span], labels: list[tuple[str, bool]], middles: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """The place among the labels of who speaks at each time; `NOBODY` where nobody does."""
    who = np.full(middles.size, NOBODY)
    for each in spans:
        inside = (each.start_s < middles) & (middles < each.end_s)
        who[inside] = labels.index((each.label, each.is_enrolled))
    return who
