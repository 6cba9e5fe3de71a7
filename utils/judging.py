"""From a voice to a decision: who is nearest, and is it really them?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.calibration import LEVEL_SPEAKERS, UNKNOWN_S, Calibration
from utils.decision import Verdict, compare, decide
from utils.errors import NotEnrolled
from utils.gallery import Candidate, Snapshot
from utils.hearing import Voice


class Judge:
    """Judges voices by one calibration; safe to share between threads."""

    def __init__(self, calibration: Calibration, max_fpir: float) -> None:
        """`max_fpir`: of strangers, the share that may be taken for somebody."""
        self.calibration = calibration
        self.max_fpir = max_fpir
        self._newest: tuple[Snapshot | None, float] = (None, 0.0)

    def level(self, gallery: Snapshot) -> float:
        """`Calibration.level` of a gallery, from as many speakers as that takes."""
        known, level = self._newest  # one read, so that threads see a pair that belongs together
        if known is not gallery:
            step = max(1, -(-gallery.count // LEVEL_SPEAKERS))
            level = self.calibration.level(np.ascontiguousarray(gallery.centroids[::step]))
            self._newest = (gallery, level)
        return level

    def verdict(
        self,
        voice: Voice,
        nearest: Sequence[Candidate],
        gallery: Snapshot,
        among: Snapshot | None = None,
    ) -> Verdict | None:
        """Judges the nearest of the speakers that were looked at.

        Args:
            nearest: speakers of the gallery, best first.
            among: those that were looked at; the whole gallery if it is not given.

        Returns:
            None where nobody is near, for nobody is enrolled.
        """
        among = among or gallery
        return judge(
            self.calibration,
            voice,
            nearest,
            among,
            level=self.level(gallery),
            max_fpir=self.max_fpir,
        )

    def matches(self, voice: Voice, speaker_id: str, gallery: Snapshot) -> bool | None:
        """Whether a voice is more likely that of the ID as it is enrolled than another's.

        Returns:
            None where the ID is not enrolled.
        """
        if speaker_id not in gallery:
            return None
        centroids = gallery.centroids[[gallery.row_of[speaker_id]]]
        enrolled_s = [gallery.enrolled_s(speaker_id)]
        _, ratios = compare(
            self.calibration, voice.embedding, centroids, _known(voice.speech_s), enrolled_s
        )
        return bool(ratios[0] > 0.0)

    def same(self, first: Voice, second: Voice, gallery: Snapshot) -> Verdict:
        """Judges whether two voices, of which neither need be enrolled, are one person's.

        The gallery says how alike strangers are here.
        """
        return decide(
            self.calibration,
            first.embedding,
            second.embedding[None],
            probe_s=_known(first.speech_s),
            enrolled_s=[second.speech_s],
            speakers=1,
            level=self.level(gallery),
            max_fpir=self.max_fpir,
        )


def judge(
    calibration: Calibration,
    voice: Voice,
    nearest: Sequence[Candidate],
    among: Snapshot,
    *,
    level: float,
    max_fpir: float,
) -> Verdict | None:
    """Judges the nearest speaker; None where there is none.

    Args:
        nearest: of the speakers `among` whom was searched, best first.
        level: `Calibration.level` of the gallery's centroids.
        max_fpir: of strangers, the share that may be taken for somebody.
    """
    if not nearest:
        return None
    return decide(
        calibration,
        voice.embedding,
        among.centroids[[among.row_of[each.speaker_id] for each in nearest]],
        probe_s=_known(voice.speech_s),
        enrolled_s=[each.enrolled_s for each in nearest],
        speakers=among.count,
        level=level,
        max_fpir=max_fpir,
    )


def other_speaker(
    nearest: Sequence[Candidate], verdict: Verdict | None, speaker_id: str
) -> str | None:
    """Whose voice it is, where that is another ID's beyond doubt."""
    if verdict is None or verdict.outcome != "accepted" or nearest[0].speaker_id == speaker_id:
        return None
    return nearest[0].speaker_id


def only(gallery: Snapshot, speaker_ids: Sequence[str]) -> Snapshot:
    """A gallery of some of the speakers.

    Args:
        speaker_ids: in the form that `check_speaker_id` gives; one that comes twice counts once.

    Raises:
        NotEnrolled: one of them is not there.
    """
    ids = list(dict.fromkeys(speaker_ids))
    for each in ids:
        if each not in gallery:
            raise NotEnrolled(f"No speaker '{each}' is enrolled; leave that ID out, or enrol it.")
    rows = [gallery.row_of[each] for each in ids]
    seconds = [gallery.seconds[row] for row in rows]
    return Snapshot.of(ids, gallery.centroids[rows], seconds)


def _known(seconds: float | None) -> float:
    return UNKNOWN_S if seconds is None else seconds
