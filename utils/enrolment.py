"""Enrols a speaker with several recordings at once, and says what there is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.clock import Clock
from utils.errors import LikelyDuplicate, NotEnrolled, TooManyRecordings
from utils.gallery import Gallery, Mode, Profile, SpeakerRecord, Take
from utils.hearing import Ear, Hearing, Source, Voice, sound_of
from utils.judging import Judge, other_speaker
from utils.scoring import centroid
from utils.speaker_id import check_speaker_id

N_NEAREST = 5  # speakers that a voice is weighed against


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment came to."""

    speaker: SpeakerRecord
    heard: list[Hearing]
    """What was heard in each recording, in the order in which they were given."""
    duplicate_of: str | None
    """Another ID under which this voice is enrolled already."""
    matches_before: bool | None
    """Whether it is more likely the voice that was enrolled under this ID than another; None of
    a new one."""
    timings_ms: dict[str, float]


def enrol(
    ear: Ear,
    judge: Judge,
    gallery: Gallery,
    speaker_id: str,
    sources: Sequence[tuple[Source, str | None]],
    mode: Mode,
    *,
    most: int,
    refuse_duplicates: bool,
    profile: Profile | None = None,
) -> Enrolled:
    """Enrols recordings of one speaker: all of them or none. Durable when this returns.

    Args:
        sources: recordings, each with its number or None for the next one that is free.
        mode: "register" a new speaker, "add" to one that there is, "replace" all there is of one.
        most: recordings that a speaker may have.
        profile: what is known of the speaker from then on; None leaves it as it is.

    Raises:
        BadAudio, TooLarge: one of the recordings is not good enough to be enrolled.
        AlreadyEnrolled, NotEnrolled, TooManyRecordings, ConsentExpired: as `Gallery`'s methods.
        LikelyDuplicate: the voice is enrolled under another ID, and that is refused.
    """
    clock = Clock()
    speaker_id = check_speaker_id(speaker_id)
    with clock.stage("gallery"):
        if mode == "add" and speaker_id not in gallery:
            raise NotEnrolled(f"{speaker_id} is not enrolled; enrol a first recording.")
        if len(sources) > most:
            raise TooManyRecordings(most)
    heard = [ear.listen(source, clock, enrolling=True) for source, _ in sources]
    rows = np.concatenate([one.embeddings for one in heard])
    voice = Voice(centroid(rows), sum(one.quality.speech_s for one in heard))
    with clock.stage("search"):
        before = gallery.snapshot()
        nearest = before.search(voice.embedding, N_NEAREST)
        verdict = judge.verdict(voice, nearest, before)
        matches = judge.matches(voice, speaker_id, before)
        duplicate_of = other_speaker(nearest, verdict, speaker_id)
    if duplicate_of and refuse_duplicates:
        raise LikelyDuplicate
    takes = [
        Take(
            one.embeddings,
            one.quality.speech_s,
            number,
            sound_of(source) if gallery.keeps_recordings else None,
        )
        for one, (source, number) in zip(heard, sources, strict=True)
    ]
    with clock.stage("gallery"):
        gallery.enrol_several(speaker_id, takes, mode, most, profile=profile)
        speaker = gallery.speaker(speaker_id)
    return Enrolled(speaker, heard, duplicate_of, matches, clock.timings_ms())
