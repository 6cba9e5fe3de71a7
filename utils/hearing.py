"""From a recording to what is compared: decode, find the speech, embed its windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.audio import AudioLimits, decode
from utils.clock import Clock
from utils.embedding import Engine, load_engine
from utils.errors import BadField, TwoVoices
from utils.features import Array, log_mel_windows
from utils.quality import (
    Quality,
    QualityRules,
    find_speech,
    measure,
    require,
    two_voices,
    windows_with_speech,
)
from utils.scoring import EMBEDDING_SIZE, centroid
from utils.speech import Mask, SpeechDetector

Source = Path | bytes | BinaryIO
"""A recording: its file, its bytes, or an open seekable stream."""
Decode = Callable[[Source, AudioLimits], Array]
"""`utils.audio.decode`, or what does the same elsewhere."""

SHORTEST_EMBEDDING = 1e-6  # before it is made one long: shorter, its direction is the rounding's


@dataclass(frozen=True)
class Voice:
    """What of a recording is compared."""

    embedding: Array
    """(64,) float32 of length 1."""
    speech_s: float | None
    """Seconds of speech that it is of; None: not known."""


@dataclass(frozen=True)
class Hearing:
    """What was heard in a recording."""

    embeddings: Array
    """(windows, 64) float32, rows of length 1, of the windows with speech."""
    quality: Quality
    has_two_voices: bool

    @property
    def voice(self) -> Voice:
        return Voice(centroid(self.embeddings), self.quality.speech_s)

    @property
    def embedding(self) -> list[float]:
        """The voice's, for those who are to know no arrays."""
        return [round(each, 7) for each in self.voice.embedding.tolist()]


@dataclass(frozen=True)
class Ear:
    """Hears recordings with one engine; safe to share between threads."""

    engine: Engine
    detector: SpeechDetector
    limits: AudioLimits
    rules: QualityRules
    refuses_two_voices: bool
    """Of recordings that are enrolled."""
    decode: Decode

    def listen(self, source: Source, clock: Clock, *, enrolling: bool = False) -> Hearing:
        """Hears a recording that is good enough to ask about, or to enrol.

        Raises:
            BadAudio: no voice can be read out of it, or too little; or two where one is enrolled.
            TooLarge: it has more bytes than the limits allow.
        """
        with clock.stage("decode"):
            wave = self.decode(source, self.limits)
        return self.hear(wave, clock, enrolling=enrolling)

    def embeddings(self, source: Source) -> tuple[Array, float]:
        """(windows, 64) of a recording, and its seconds of speech; errors as `listen`."""
        hearing = self.listen(source, Clock())
        return hearing.embeddings, hearing.quality.speech_s

    def hear(self, wave: Array, clock: Clock, *, enrolling: bool = False) -> Hearing:
        """Hears a wave, (samples,) float32 in [-1, 1] at 16 kHz; errors as `listen`."""
        with clock.stage("features"):
            mask = find_speech(wave, self.detector)
            quality = measure(wave, mask)
            require(quality, self.rules, enrolling=enrolling)
            windows = speech_windows(wave, mask, self.engine)
        with clock.stage("embedding"):
            embeddings = self.engine.embed(windows)
        of_two = two_voices(embeddings)
        if of_two and enrolling and self.refuses_two_voices:
            raise TwoVoices
        return Hearing(embeddings, quality, of_two)


def open_ear() -> Ear:
    """An ear for recordings that were accepted once: it hears them whatever their quality.

    Raises:
        NotReady: the network's files are missing or altered.
    """
    anything = QualityRules(0.0, 0.0, 1.0)
    return Ear(load_engine("auto"), SpeechDetector(), AudioLimits(), anything, False, decode)


def sound_of(source: Source) -> bytes:
    """The recording itself, to be kept; one that was listened to is within the limits."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path):
        return source.read_bytes()
    source.seek(0)
    return source.read()


def speech_windows(wave: Array, mask: Mask, engine: Engine) -> Array:
    """The log-mel windows that vote: (windows, frames, mels), those with enough speech in them."""
    windows = log_mel_windows(wave, engine.features)
    voting: Array = windows[windows_with_speech(mask, wave.size, engine.features)]
    return voting


def voice_of(embedding: Sequence[float], speech_s: float | None) -> Voice:
    """Takes an embedding that a client kept, and makes it one long.

    Raises:
        BadField: it has not 64 finite numbers, or all of them are 0.
    """
    if len(embedding) != EMBEDDING_SIZE:
        raise BadField(
            f"The embedding has {len(embedding)} numbers; send the {EMBEDDING_SIZE} that "
            "/v1/embed gave."
        )
    length = math.hypot(*embedding)
    if not SHORTEST_EMBEDDING < length < math.inf:
        raise BadField("The embedding has no direction; send the numbers that /v1/embed gave.")
    return Voice((np.asarray(embedding, np.float64) / length).astype(np.float32), speech_s)
