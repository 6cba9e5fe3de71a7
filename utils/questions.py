"""What is asked about a recording without enrolling anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from utils.audio import SAMPLE_RATE
from utils.clock import Clock
from utils.decision import Outcome, Verdict
from utils.errors import EmptyGallery
from utils.gallery import Candidate, Gallery
from utils.hearing import Ear, Hearing, Source, Voice
from utils.judging import Judge, only
from utils.quality import Quality
from utils.scoring import cosine_scores
from utils.segments import Turn, find_turns
from utils.speaker_id import check_speaker_id

N_WEIGHED = 5  # speakers that a verdict weighs against each other

Asked = Source | Hearing | Voice
"""A recording, what was heard in one, or the embedding of one."""


@dataclass(frozen=True)
class Identification:
    """Who of the enrolled speakers it is."""

    candidates: list[Candidate]
    """The nearest speakers, best first."""
    verdict: Verdict
    """Whether the first of them is to be believed."""
    quality: Quality | None
    """None of an embedding."""
    has_two_voices: bool | None
    timings_ms: dict[str, float]

    @property
    def speaker_id(self) -> str | None:
        """The speaker, if one is accepted."""
        return self.candidates[0].speaker_id if self.verdict.outcome == "accepted" else None


@dataclass(frozen=True)
class Verification:
    """Whether it is the speaker it is said to be."""

    speaker_id: str
    score: float
    """Cosine of the recording and the speaker's centroid, in [-1, 1]."""
    verdict: Verdict
    quality: Quality | None
    """None of an embedding."""
    has_two_voices: bool | None
    timings_ms: dict[str, float]

    @property
    def outcome(self) -> Literal["accepted", "inconclusive", "rejected"]:
        outcome = self.verdict.outcome
        return "rejected" if outcome == "unknown" else outcome


@dataclass(frozen=True)
class Comparison:
    """Whether two recordings are of one voice."""

    score: float
    """Cosine of the two, in [-1, 1]."""
    verdict: Verdict
    first: Hearing
    second: Hearing
    timings_ms: dict[str, float]

    @property
    def outcome(self) -> Literal["same", "inconclusive", "different"]:
        names: dict[Outcome, Literal["same", "inconclusive", "different"]] = {
            "accepted": "same",
            "inconclusive": "inconclusive",
            "unknown": "different",
        }
        return names[self.verdict.outcome]


@dataclass(frozen=True)
class Conversation:
    """Who spoke when in a recording."""

    turns: list[Turn]
    duration_s: float
    timings_ms: dict[str, float]


def identify(
    ear: Ear,
    judge: Judge,
    gallery: Gallery,
    asked: Asked,
    *,
    candidates: Sequence[str] | None,
    top_k: int,
) -> Identification:
    """Finds the nearest speakers, and says whether it is the first of them.

    Args:
        candidates: IDs of the speakers who may be meant; None: everybody. With fewer of them a
            stranger is less likely taken for one, and the verdict knows that.
        top_k: how many of the nearest to name, at least 1.

    Raises:
        BadAudio, TooLarge: as `Ear.listen`.
        NotEnrolled, BadSpeakerId: one of the candidates is nobody.
        EmptyGallery: nobody is enrolled.
    """
    clock = Clock()
    voice, hearing = listen(ear, asked, clock)
    with clock.stage("search"):
        everybody = gallery.snapshot()
        among = everybody
        if candidates is not None:
            among = only(everybody, [check_speaker_id(each) for each in candidates])
        nearest = among.search(voice.embedding, max(top_k, N_WEIGHED))
        verdict = judge.verdict(voice, nearest[:N_WEIGHED], everybody, among)
    if verdict is None:
        raise EmptyGallery("Nobody is enrolled yet; register a speaker first.")
    return Identification(
        candidates=nearest[:top_k],
        verdict=verdict,
        quality=hearing.quality if hearing else None,
        has_two_voices=hearing.has_two_voices if hearing else None,
        timings_ms=clock.timings_ms(),
    )


def verify(ear: Ear, judge: Judge, gallery: Gallery, asked: Asked, speaker_id: str) -> Verification:
    """Says whether it is one speaker; of all others at most `max_fpir` are accepted.

    Raises:
        NotEnrolled, BadSpeakerId: the ID is nobody's.
        BadAudio, TooLarge: as `Ear.listen`.
    """
    clock = Clock()
    with clock.stage("gallery"):
        everybody = gallery.snapshot()
        alone = only(everybody, [check_speaker_id(speaker_id)])
    voice, hearing = listen(ear, asked, clock)
    with clock.stage("search"):
        (speaker,) = nearest = alone.search(voice.embedding, 1)
        verdict = judge.verdict(voice, nearest, everybody, alone)
    assert verdict is not None, "there is one to judge"
    return Verification(
        speaker_id=speaker.speaker_id,
        score=speaker.score,
        verdict=verdict,
        quality=hearing.quality if hearing else None,
        has_two_voices=hearing.has_two_voices if hearing else None,
        timings_ms=clock.timings_ms(),
    )


def compare(ear: Ear, judge: Judge, gallery: Gallery, first: Source, second: Source) -> Comparison:
    """Says whether two recordings are of one voice; nobody need be enrolled.

    Raises:
        BadAudio, TooLarge: as `Ear.listen`, of either.
    """
    clock = Clock()
    one, other = ear.listen(first, clock), ear.listen(second, clock)
    with clock.stage("search"):
        verdict = judge.same(one.voice, other.voice, gallery.snapshot())
        score = float(cosine_scores(one.voice.embedding, other.voice.embedding[None])[0])
    return Comparison(score, verdict, one, other, clock.timings_ms())


def segments(ear: Ear, judge: Judge, gallery: Gallery, source: Source) -> Conversation:
    """Says who spoke when; one in whom nobody speaks has no turns.

    Raises:
        BadAudio, TooLarge: it cannot be read, or is too long.
    """
    clock = Clock()
    with clock.stage("decode"):
        wave = ear.decode(source, ear.limits)
    with clock.stage("turns"):
        everybody = gallery.snapshot()
        turns = find_turns(
            wave,
            ear.engine,
            ear.detector,
            judge.calibration,
            everybody,
            level=judge.level(everybody),
            max_fpir=judge.max_fpir,
        )
    return Conversation(turns, wave.size / SAMPLE_RATE, clock.timings_ms())


def listen(ear: Ear, asked: Asked, clock: Clock) -> tuple[Voice, Hearing | None]:
    """The voice that is asked about, and what was heard if it came as a recording."""
    if isinstance(asked, Voice):
        return asked, None
    hearing = asked if isinstance(asked, Hearing) else ear.listen(asked, clock)
    return hearing.voice, hearing
