"""What the gallery's parts tell each other about recordings and changes. Knows no disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


class IndexReplaced(Exception):
    """The index was removed or exchanged while it was open."""


@dataclass(frozen=True)
class FileStat:
    """By what a file is taken for unchanged without reading it."""

    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True)
class Skipped:
    """A file in the gallery that takes no part, and why."""

    file_name: str
    reason: str


@dataclass(frozen=True)
class Recording:
    """What is known about one enrolment recording."""

    file_name: str  # under voice_gallery/
    number: str
    enrolled_at: str  # UTC, ISO 8601; of a file that was copied in, its time of modification
    speech_s: float | None  # None: not known, the file was copied in
    sha256: str  # of the .npy, hex
    model_id: str  # the network that made the embeddings
    calibration_id: str | None = None  # what scores meant when it was enrolled; None: not known


@dataclass(frozen=True)
class Entry:
    """A recording with what the index derives from its file."""

    recording: Recording
    stat: FileStat
    embeddings: np.ndarray  # float32 (segments, 64), rows of unit length


@dataclass(frozen=True)
class Waiting:
    """A file that is written and waits under a temporary name for its own."""

    temporary: str  # under voice_gallery/
    path: str  # under the gallery's folder, "/" between folders
    recording: Recording | None = None  # None: of a profile, or of a kept recording's sound


@dataclass(frozen=True)
class Plan:
    """A change of several steps that was begun: whoever finds it carries it out to its end."""

    speaker_id: str
    put: tuple[Waiting, ...] = ()
    keeps: bool = False
    """Whether what the speaker has besides stays; without it, and with nothing put, the speaker
    is deleted, profile and all."""
    rename_to: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        values = json.loads(text)
        put = tuple(
            Waiting(**{**one, "recording": one["recording"] and Recording(**one["recording"])})
            for one in values["put"]
        )
        return cls(**{**values, "put": put})

    @property
    def recordings(self) -> list[Recording]:
        return [one.recording for one in self.put if one.recording]


@dataclass(frozen=True)
class Changes:
    """What happened to one network's speakers since a change that the reader has seen."""

    change: int  # the last one
    everything: bool  # whether `speakers` is all there is, and not a difference
    emptied: list[int]  # slots whose speakers have left
    speakers: list[Any]  # slot and ID
    centroids: np.ndarray  # float32 (len(speakers), 64), rows of unit length
    enrolled_s: list[float | None]  # of speech in all recordings; None: not known of one of them
    consent_until: list[str | None]  # UTC, ISO 8601; None: without end


@dataclass(frozen=True)
class Network:
    """What new embeddings are made and judged by."""

    model_id: str
    calibration_id: str | None = None


@dataclass(frozen=True)
class Take:
    """One recording to be enrolled."""

    embeddings: np.ndarray  # (segments, 64) floats, segments at least 1, rows of unit length
    speech_s: float  # seconds of speech that the embeddings are of
    number: str | None = None  # digits; None: the next that is free
    media: bytes | None = None  # the recording itself, for a gallery that keeps recordings
