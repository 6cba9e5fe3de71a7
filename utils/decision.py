"""Is it somebody enrolled? From the nearest speakers to a decision that says how sure it is.

The operator says which share of strangers may be taken for somebody (the false-positive
identification rate, FPIR, of ISO/IEC 19795-1). No cosine is set anywhere: the threshold follows
from that share and from how many are enrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from utils.calibration import UNKNOWN_S, Calibration, Floats, Rows

Outcome = Literal["accepted", "inconclusive", "unknown"]

PRIOR_ENROLLED = 0.5  # of a caller being somebody enrolled, before anything is heard
PLAUSIBLE = 0.5  # a probability from which somebody is not called unknown
MOST_MORE_S = 10.0  # speech that a caller may be asked for


@dataclass(frozen=True)
class Verdict:
    """What is to be made of the nearest speaker."""

    outcome: Outcome
    """`accepted`: so alike are at most `max_fpir` of strangers. `inconclusive`: not enough to say.
    `unknown`: a stranger, as far as can be heard."""
    probability: float
    """That it is the nearest speaker, where half of all callers are enrolled."""
    stranger_chance: float
    """The share of strangers who would come as near to anybody in this gallery."""
    llr: float
    """Natural log-likelihood ratio of the nearest speaker."""
    margin: float | None
    """By how much its LLR is above the next speaker's; None where one is enrolled."""
    probabilities: tuple[float, ...]
    """Of each of the speakers that were weighed, the nearest first; the rest are strangers."""
    more_speech_s: float | None
    """Of an `inconclusive` one: seconds of speech that would be expected to settle it; None where
    more speech would not."""


def decide(
    calibration: Calibration,
    probe: Rows,
    nearest: Rows,
    *,
    probe_s: float,
    enrolled_s: Sequence[float | None],
    speakers: int,
    level: float,
    max_fpir: float,
) -> Verdict:
    """Judges the nearest speaker.

    Args:
        probe: (64,) of length 1.
        nearest: (k, 64) centroids of the nearest speakers, the nearest by cosine first, k at
            least 1.
        probe_s, enrolled_s: seconds of speech in the probe and in each of the nearest; None where
            it is not known.
        speakers: how many are enrolled.
        level: `Calibration.level` of their centroids.
        max_fpir: between 0 and 1.
    """
    scores, ratios = compare(calibration, probe, nearest, probe_s, enrolled_s)
    model = calibration.strangers
    wanted = model.threshold(max_fpir, speakers) + level
    first_s = _known(enrolled_s[0])
    more_s = calibration.more_speech_s(float(scores[0]), wanted, probe_s, first_s)
    probabilities = _probabilities(ratios, speakers)
    probability = probabilities[0]
    outcome: Outcome = "unknown"
    if scores[0] >= wanted:
        outcome = "accepted"
    elif probability >= PLAUSIBLE or (more_s is not None and more_s <= MOST_MORE_S):
        outcome = "inconclusive"
    return Verdict(
        outcome=outcome,
        probability=probability,
        stranger_chance=model.share(float(scores[0]) - level, speakers),
        llr=float(ratios[0]),
        margin=float(ratios[0] - ratios[1:].max()) if len(ratios) > 1 else None,
        probabilities=probabilities,
        more_speech_s=more_s if outcome == "inconclusive" else None,
    )


def compare(
    calibration: Calibration,
    probe: Rows,
    enrolled: Rows,
    probe_s: float,
    enrolled_s: Sequence[float | None],
) -> tuple[Floats, Floats]:
    """Scores and natural log-likelihood ratios of a probe, (64,), with speakers, (k, 64): (k,)."""
    scores = calibration.compare(probe[None], enrolled)[0]
    seconds = np.array([_known(each) for each in enrolled_s])
    return scores, calibration.llr(scores, np.full(len(enrolled), probe_s), seconds)


def _known(seconds: float | None) -> float:
    return UNKNOWN_S if seconds is None else seconds


def _probabilities(ratios: np.ndarray, speakers: int) -> tuple[float, ...]:
    """Of each speaker, among so many equally likely ones and a stranger (Bayes' rule).

    Speakers beyond the nearest are so unlike that they add nothing.
    """
    known = np.log(PRIOR_ENROLLED / speakers) + ratios
    all_of_them = np.logaddexp.reduce(np.append(known, np.log1p(-PRIOR_ENROLLED)))
    return tuple(np.exp(known - all_of_them).tolist())
