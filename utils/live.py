"""Who is it, asked again and again while somebody speaks: an answer that firms up.

The sound so far is heard as if it were the whole recording, so that the last answer is that of
`Identifier.identify`; only windows that were not heard before go through the network.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from utils.clock import Clock
from utils.embedding import Engine
from utils.errors import BadAudio, BadField, NoSpeech, TooLarge, TooShort
from utils.features import Array, FeatureSettings
from utils.identification import Identifier
from utils.questions import Identification

Format = Literal["pcm_s16le", "opus"]

EVERY_S = 0.5  # between two answers
MAX_SECONDS = 60.0  # of one session's sound
MAX_BYTES = 8 * 2**20  # a minute of PCM at 48 kHz has 5.8 million
RATES_HZ = range(8_000, 48_001)


@dataclass(frozen=True)
class Waiting:
    """Not enough was heard yet."""

    speech_s: float
    needed_s: float
    reason: str


class Live:
    """One person who speaks; not to be shared between threads."""

    def __init__(
        self,
        identifier: Identifier,
        sound_format: Format,
        sample_rate: int = 16_000,
        *,
        candidates: Sequence[str] | None = None,
        top_k: int = 5,
    ) -> None:
        """Begins without sound.

        Args:
            sound_format: "pcm_s16le": mono samples of 16 bits. "opus": a webm or ogg stream, as
                a browser's recorder writes it.
            sample_rate: of PCM, Hz.
            candidates, top_k: as `Identifier.identify`.

        Raises:
            BadField: another sample rate than 8,000 to 48,000 Hz.
        """
        if sample_rate not in RATES_HZ:
            raise BadField(f"sample_rate must be 8000 to 48000, got {sample_rate}.")
        self._identifier = identifier
        self._engine = _Remembering(identifier.engine)
        limits = replace(identifier.limits, max_seconds=MAX_SECONDS)
        self._ear = replace(identifier.ear, engine=self._engine, limits=limits)
        self._format = sound_format
        self._sample_rate = sample_rate
        self._candidates = candidates
        self._top_k = top_k
        self._data = bytearray()
        self.seconds = 0.0
        """Of sound in what was answered last."""

    def add(self, data: bytes) -> None:
        """Takes the next piece of sound.

        Raises:
            TooLarge: more than a session may have.
        """
        if len(self._data) + len(data) > MAX_BYTES:
            raise TooLarge(f"A live session has at most {MAX_SECONDS:.0f} s of sound; begin anew.")
        self._data += data

    @property
    def held_s(self) -> float | None:
        """Seconds of sound so far; None where that is known only once it is decoded."""
        if self._format == "opus":
            return None
        return len(self._data) / 2 / self._sample_rate

    def answer(self, *, is_last: bool = False) -> Identification | Waiting:
        """Says who it is, as far as was heard.

        Args:
            is_last: whether that was all; then nothing is waited for.

        Raises:
            BadAudio: it is the last answer, and no voice can be read out of the sound.
            EmptyGallery, NotEnrolled, BadSpeakerId, Overloaded: as `Identifier.identify`.
        """
        clock = Clock()
        try:
            with self._identifier.admission.turn():
                with clock.stage("decode"):
                    wave = self._ear.decode(self._recording(), self._ear.limits)
                self.seconds = wave.size / 16_000
                hearing = self._ear.hear(wave, clock)
        except (TooShort, NoSpeech) as error:
            if is_last:
                raise
            seconds = error.seconds if isinstance(error, TooShort) else 0.0
            return Waiting(seconds, self._ear.rules.min_identify_s, error.title)
        except BadAudio as error:
            if is_last or self.seconds:
                raise
            return Waiting(
                0.0, self._ear.rules.min_identify_s, error.title
            )  # a header alone, so far
        return self._identifier.identify(hearing, candidates=self._candidates, top_k=self._top_k)

    def _recording(self) -> bytes:
        """What was held so far, as a file: PCM gets the header of one (RIFF WAVE)."""
        if self._format == "opus":
            return bytes(self._data)
        data = bytes(self._data[: len(self._data) // 2 * 2])
        rate = self._sample_rate
        head = struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
            b"data", len(data),
        )  # fmt: skip
        return head + data


class _Remembering:
    """An engine that embeds each window once."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.model_id = engine.name, engine.model_id
        self.features: FeatureSettings = engine.features
        self._engine = engine
        self._known: dict[bytes, Array] = {}

    def embed(self, windows: Array) -> Array:
        keys = [hashlib.blake2b(window.tobytes(), digest_size=16).digest() for window in windows]
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            embedded = self._engine.embed(np.ascontiguousarray(windows[list(new.values())]))
            self._known.update(zip(new, embedded, strict=True))
        return np.stack([self._known[key] for key in keys])
