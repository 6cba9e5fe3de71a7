"""A recording's way, from its bytes to the answer: the one place that ties the others together.

decode -> where is speech? enough of it? -> windows -> embeddings -> search -> is it really
somebody? -> register, re-register or not -> answer
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from utils.audio import AudioLimits, decode
from utils.calibration import LEVEL_SPEAKERS, Calibration
from utils.decision import Verdict, compare, decide
from utils.embedding import Engine
from utils.errors import AlreadyEnrolled, EmptyGallery, LikelyDuplicate, TwoVoices
from utils.features import Array, log_mel_windows
from utils.gallery import Candidate, Gallery, Snapshot
from utils.quality import (
    Quality,
    QualityRules,
    find_speech,
    measure,
    require,
    two_voices,
    windows_with_speech,
)
from utils.scoring import centroid
from utils.speaker_id import RecordingName
from utils.speech import Mask, SpeechDetector

Decision = Literal["registered", "re_registered", "recording_added", "identified"]

N_CANDIDATES = 5


@dataclass(frozen=True)
class Policy:
    """What an operator decides about decisions."""

    max_fpir: float = 0.01  # of strangers, those who may be taken for somebody
    refuse_duplicates: bool = False  # a voice that is enrolled under another ID
    refuse_two_voices: bool = True  # an enrolment in which two people speak
    max_recordings: int = 5  # of a speaker, that answer together

    def __post_init__(self) -> None:
        if not 0.0 < self.max_fpir < 1.0:
            raise ValueError(f"max_fpir must be between 0 and 1, got {self.max_fpir}")
        if self.max_recordings < 1:
            raise ValueError(f"max_recordings must be 1 or more, got {self.max_recordings}")


@dataclass(frozen=True)
class Answer:
    """What is said of a recording."""

    speaker_id: str
    decision: Decision
    score: float
    """Cosine of the recording and the answered speaker's centroid, in [-1, 1]."""
    candidates: list[Candidate]
    """The nearest enrolled speakers, best first; at most five."""
    verdict: Verdict | None
    """Whether the nearest speaker is to be believed; None of a registration."""
    quality: Quality
    has_two_voices: bool
    duplicate_of: str | None
    """Of a registration: another ID under which this voice is enrolled already."""
    matches_before: bool | None
    """Of a re-registration or an added recording: whether this voice is more likely the one that
    was enrolled than another."""
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class Identifier:
    """Answers recordings with one engine and one gallery; safe to share between threads."""

    engine: Engine
    gallery: Gallery
    detector: SpeechDetector
    calibration: Calibration
    limits: AudioLimits = field(default_factory=AudioLimits)
    rules: QualityRules = field(default_factory=QualityRules)
    policy: Policy = field(default_factory=Policy)
    _levels: _Levels = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_levels", _Levels(self.calibration))

    def answer(
        self,
        source: Path | bytes | BinaryIO,
        recording: RecordingName,
        *,
        re_register: bool = False,
        register: bool = True,
        add: bool = False,
    ) -> Answer:
        """Enrols the recording's speaker, or finds the nearest one that is enrolled.

        An unknown ID is enrolled (unless `register` is false); with `re_register` this recording
        replaces all that is enrolled under the ID, with `add` it joins that; otherwise the whole
        gallery is searched.
        When this returns, what was enrolled is durable.

        Raises:
            BadAudio: no voice can be read out of the recording, or too little of it.
            TooLarge: it has more bytes than the limits allow.
            EmptyGallery: `register` is false and nobody is enrolled.
            LikelyDuplicate: the policy refuses a voice that is enrolled under another ID.
            NotEnrolled, AlreadyEnrolled, TooManyRecordings: the recording cannot be added.
        """
        clock = _Clock()
        speaker_id = recording.speaker_id
        with clock.stage("gallery"):
            enrols = register and (add or re_register or speaker_id not in self.gallery)
        embeddings, quality, of_two = self._hear(source, enrols, clock)
        probe = centroid(embeddings)
        with clock.stage("search"):
            before = self.gallery.snapshot()
            nearest = before.search(probe, N_CANDIDATES)
            verdict = self._judge(probe, quality, nearest, before)
            matches = self._matches(probe, quality, speaker_id, before) if enrols else None
        decision: Decision = "identified"
        duplicate_of = None
        with clock.stage("gallery"):
            if enrols:
                duplicate_of = _other_speaker(nearest, verdict, speaker_id)
                if duplicate_of and self.policy.refuse_duplicates:
                    raise LikelyDuplicate
                decision = self._enrol(recording, embeddings, quality.speech_s, re_register, add)
                nearest = self.gallery.search(probe, top=N_CANDIDATES)
        if not nearest:
            raise EmptyGallery("Nobody is enrolled yet; register a speaker first.")
        return Answer(
            speaker_id=nearest[0].speaker_id if decision == "identified" else speaker_id,
            decision=decision,
            score=nearest[0].score,
            candidates=nearest,
            verdict=verdict if decision == "identified" else None,
            quality=quality,
            has_two_voices=of_two,
            duplicate_of=duplicate_of if decision != "identified" else None,
            matches_before=matches if decision != "identified" else None,
            timings_ms=clock.timings_ms(),
        )

    def _hear(
        self, source: Path | bytes | BinaryIO, enrols: bool, clock: _Clock
    ) -> tuple[Array, Quality, bool]:
        """The recording's embeddings, (windows, 64), what it is good for, and if two speak."""
        with clock.stage("decode"):
            wave = decode(source, self.limits)
        with clock.stage("features"):
            mask = find_speech(wave, self.detector)
            quality = measure(wave, mask)
            require(quality, self.rules, enrolling=enrols)
            windows = speech_windows(wave, mask, self.engine)
        with clock.stage("embedding"):
            embeddings = self.engine.embed(windows)
        of_two = two_voices(embeddings)
        if of_two and enrols and self.policy.refuse_two_voices:
            raise TwoVoices
        return embeddings, quality, of_two

    def _judge(
        self, probe: Array, quality: Quality, nearest: list[Candidate], gallery: Snapshot
    ) -> Verdict | None:
        if not nearest:
            return None
        rows = [gallery.row_of[each.speaker_id] for each in nearest]
        return decide(
            self.calibration,
            probe,
            gallery.centroids[rows],
            probe_s=quality.speech_s,
            enrolled_s=[each.enrolled_s for each in nearest],
            speakers=gallery.count,
            level=self._levels.of(gallery),
            max_fpir=self.policy.max_fpir,
        )

    def _matches(
        self, probe: Array, quality: Quality, speaker_id: str, gallery: Snapshot
    ) -> bool | None:
        """Whether the voice is that of the ID as it is enrolled; None where it is not."""
        if speaker_id not in gallery:
            return None
        centroids = gallery.centroids[[gallery.row_of[speaker_id]]]
        enrolled_s = [gallery.enrolled_s(speaker_id)]
        _, ratios = compare(self.calibration, probe, centroids, quality.speech_s, enrolled_s)
        return bool(ratios[0] > 0.0)

    def _enrol(
        self,
        recording: RecordingName,
        embeddings: Array,
        speech_s: float,
        re_register: bool,
        add: bool,
    ) -> Decision:
        speaker_id, most = recording.speaker_id, self.policy.max_recordings
        if add:
            self.gallery.add(speaker_id, recording.number, embeddings, speech_s, most)
            return "recording_added"
        if re_register and speaker_id in self.gallery:
            self.gallery.replace(speaker_id, recording.number, embeddings, speech_s)
            return "re_registered"
        try:
            self.gallery.register(speaker_id, recording.number, embeddings, speech_s)
        except AlreadyEnrolled:  # another request was quicker: then this one asks
            return "identified"
        return "registered"


def _other_speaker(
    nearest: list[Candidate], verdict: Verdict | None, speaker_id: str
) -> str | None:
    """Whose voice it is, where that is another ID's beyond doubt."""
    if verdict is None or verdict.outcome != "accepted" or nearest[0].speaker_id == speaker_id:
        return None
    return nearest[0].speaker_id


def speech_windows(wave: Array, mask: Mask, engine: Engine) -> Array:
    """The log-mel windows that vote: (windows, frames, mels), those with enough speech in them."""
    windows = log_mel_windows(wave, engine.features)
    voting: Array = windows[windows_with_speech(mask, wave.size, engine.features)]
    return voting


class _Levels:
    """`Calibration.level` of the newest gallery, from as many speakers as that takes."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._newest: tuple[Snapshot | None, float] = (None, 0.0)

    def of(self, gallery: Snapshot) -> float:
        known, level = self._newest  # one read, so that threads see a pair that belongs together
        if known is not gallery:
            step = -(-gallery.count // LEVEL_SPEAKERS)
            level = self._calibration.level(np.ascontiguousarray(gallery.centroids[::step]))
            self._newest = (gallery, level)
        return level


class _Clock:
    """Times the stages of one request."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    def timings_ms(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {name: round(1e3 * s, 2) for name, s in {**self._stages, "total": total}.items()}
