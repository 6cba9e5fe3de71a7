"""A recording's way, from its bytes to the answer: the one place that ties the others together.

decode -> enough sound? -> windows -> embeddings -> register, re-register or search -> answer
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from utils.audio import AudioLimits, decode
from utils.embedding import Engine
from utils.errors import AlreadyEnrolled, EmptyGallery
from utils.features import Array, log_mel_windows
from utils.gallery import Candidate, Gallery
from utils.quality import require_speech
from utils.scoring import centroid
from utils.speaker_id import RecordingName

Decision = Literal["registered", "re_registered", "identified"]

N_CANDIDATES = 5


@dataclass(frozen=True)
class Answer:
    """What is said of a recording."""

    speaker_id: str
    decision: Decision
    score: float
    """Cosine of the recording and the answered speaker's centroid, in [-1, 1]."""
    candidates: list[Candidate]
    """The nearest enrolled speakers, best first; at most five."""
    seconds: float
    """Of sound loud enough to be speech."""
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class Identifier:
    """Answers recordings with one engine and one gallery; safe to share between threads."""

    engine: Engine
    gallery: Gallery
    limits: AudioLimits = field(default_factory=AudioLimits)
    min_speech_s: float = 1.0

    def answer(
        self,
        source: Path | bytes | BinaryIO,
        recording: RecordingName,
        *,
        re_register: bool = False,
        register: bool = True,
    ) -> Answer:
        """Enrols the recording's speaker, or finds the nearest one that is enrolled.

        An unknown ID is enrolled (unless `register` is false); with `re_register` this recording
        replaces all that is enrolled under the ID; otherwise the whole gallery is searched.
        When this returns, what was enrolled is durable.

        Raises:
            BadAudio: no voice can be read out of the recording.
            TooLarge: it has more bytes than the limits allow.
            EmptyGallery: `register` is false and nobody is enrolled.
        """
        clock = _Clock()
        embeddings, seconds = self._embed(source, clock)
        decision: Decision = "identified"
        with clock.stage("gallery"):
            if register and re_register and recording.speaker_id in self.gallery:
                self.gallery.replace(recording.speaker_id, recording.number, embeddings, seconds)
                decision = "re_registered"
            elif register and recording.speaker_id not in self.gallery:
                decision = self._register(recording, embeddings, seconds)
        with clock.stage("search"):
            candidates = self.gallery.search(centroid(embeddings), top=N_CANDIDATES)
        if not candidates:
            raise EmptyGallery("Nobody is enrolled yet; register a speaker first.")
        speaker_id = candidates[0].speaker_id if decision == "identified" else recording.speaker_id
        return Answer(
            speaker_id, decision, candidates[0].score, candidates, seconds, clock.timings_ms()
        )

    def _embed(self, source: Path | bytes | BinaryIO, clock: _Clock) -> tuple[Array, float]:
        """The recording's embeddings, (windows, 64), and its seconds of speech."""
        with clock.stage("decode"):
            wave = decode(source, self.limits)
        with clock.stage("features"):
            seconds = require_speech(wave, self.min_speech_s)
            windows = log_mel_windows(wave, self.engine.features)
        with clock.stage("embedding"):
            return self.engine.embed(windows), seconds

    def _register(self, recording: RecordingName, embeddings: Array, seconds: float) -> Decision:
        try:
            self.gallery.register(recording.speaker_id, recording.number, embeddings, seconds)
        except AlreadyEnrolled:  # another request was quicker: then this one asks
            return "identified"
        return "registered"


class _Clock:
    """Times the stages of one request."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._stages[name] = time.perf_counter() - started

    def timings_ms(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {name: round(1e3 * s, 2) for name, s in {**self._stages, "total": total}.items()}
