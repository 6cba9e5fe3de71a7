"""Who spoke when in a recording of several voices: enrolled speakers by ID, others by number.

wave -> where is speech? -> a window every 0.13 s of it -> embeddings -> voices (`utils.turns`) ->
each voice against the gallery, with the same open-set decision as a whole recording -> turns

One voice at a time: where two speak at once, one of them gets the turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from utils import judging
from utils.calibration import Calibration
from utils.decision import Verdict
from utils.embedding import Engine
from utils.features import log_mel
from utils.gallery import Snapshot
from utils.hearing import Voice
from utils.quality import find_speech
from utils.scoring import centroid
from utils.speech import CHUNK, CHUNK_S, SAMPLE_RATE, Mask, SpeechDetector
from utils.turns import Index, SegmentSettings, Steps, label_steps, make_steps

__all__ = ["SegmentSettings", "Turn", "find_turns", "judge", "to_rttm"]

Array = npt.NDArray[np.float32]

BATCH = 16  # windows a call: more is no quicker, and ten minutes at once would take 240 MB
N_NEAREST = 5  # speakers that a voice is weighed against
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Turn:
    """Somebody speaks, without a longer pause."""

    start_s: float  # seconds from the recording's beginning
    end_s: float
    speaker: str
    """The enrolled speaker's ID, or `unknown-1`, `unknown-2` in order of appearance."""
    speaker_id: str | None
    """None of an unknown speaker."""
    verdict: Verdict | None
    """About the voice's nearest speaker, the same in all its turns; None of an empty gallery."""


def find_turns(
    wave: Array,
    engine: Engine,
    detector: SpeechDetector,
    calibration: Calibration,
    gallery: Snapshot,
    *,
    level: float,
    max_fpir: float,
    settings: SegmentSettings = SegmentSettings(),  # noqa: B008 (it is frozen)
) -> list[Turn]:
    """Says who spoke when.

    Args:
        wave: (samples,) float32 in [-1, 1], 16 kHz; it may be empty.
        level: `Calibration.level` of the gallery's centroids.
        max_fpir: of strangers, the share that may be taken for somebody; between 0 and 1.

    Returns:
        Turns in order of time, none over another; none where nobody speaks.

    Raises:
        ValueError: the wave is not one-dimensional.
    """
    mask = find_speech(wave, detector)
    steps = make_steps(mask, settings)
    if not steps.first.size:
        return []
    embeddings = _embed(wave, mask, steps, engine, settings)
    labels = label_steps(embeddings, steps, calibration, settings)
    voices = []
    for label in range(int(labels.max()) + 1):
        own = labels == label
        voice, speech_s = centroid(embeddings[own]), float(steps.seconds[own].sum())
        voices.append(judge(voice, speech_s, calibration, gallery, level=level, max_fpir=max_fpir))
    names = _named(voices, gallery)
    return list(_joined(steps, labels, names, wave.size / SAMPLE_RATE, settings.pause_s))


def to_rttm(turns: list[Turn], recording: str) -> str:
    """Writes turns as NIST's Rich Transcription Time Marked text, one line a turn.

    Fields are parted by spaces, so names are percent-encoded: all but ASCII letters, digits and
    "_.-~@" is "%" and two hex digits for each byte of UTF-8, which `urllib.parse.unquote` reads.

    Example:
        >>> print(to_rttm([Turn(0.5, 2.0, "Kim Min", "Kim Min", None)], "call 7"), end="")
        SPEAKER call%207 1 0.500 1.500 <NA> <NA> Kim%20Min <NA> <NA>
    """
    return "".join(
        f"SPEAKER {quote(recording, safe='@')} 1 {turn.start_s:.3f} "
        f"{turn.end_s - turn.start_s:.3f} <NA> <NA> {quote(turn.speaker, safe='@')} <NA> <NA>\n"
        for turn in turns
    )


def _embed(
    wave: Array, mask: Mask, steps: Steps, engine: Engine, settings: SegmentSettings
) -> Array:
    """(steps, 64): of the speech around each step's middle, pauses left out.

    No window reaches into another passage. It is repeated to the length that the network takes,
    as a short recording is.
    """
    padded = np.pad(wave, (0, -wave.size % CHUNK)).astype(np.float32, copy=False)
    speech = padded.reshape(-1, CHUNK)[mask].ravel()
    starts, ends = _windows(steps, round(settings.window_s * SAMPLE_RATE))
    embedded = []
    for first in range(0, len(starts), BATCH):
        batch = slice(first, first + BATCH)
        windows = [
            np.resize(speech[start:end], engine.features.window_samples)
            for start, end in zip(starts[batch], ends[batch], strict=True)
        ]
        embedded.append(engine.embed(log_mel(np.stack(windows), engine.features)))
    return np.concatenate(embedded)


def _windows(steps: Steps, size: int) -> tuple[Index, Index]:
    """First sample and the one after the last of each step's window, in speech without pauses.

    Around the step's middle, moved so far that it lies in its passage; all of a short one.
    """
    step_ends = np.cumsum(steps.last - steps.first) * CHUNK
    step_starts = step_ends - (steps.last - steps.first) * CHUNK
    passage_starts = step_starts[np.searchsorted(steps.passage, steps.passage)]
    passage_ends = step_ends[np.searchsorted(steps.passage, steps.passage, "right") - 1]
    starts = (step_starts + step_ends - size) // 2
    starts = np.maximum(np.minimum(starts, passage_ends - size), passage_starts)
    return starts, np.minimum(starts + size, passage_ends)


def judge(
    voice: Array,
    speech_s: float,
    calibration: Calibration,
    gallery: Snapshot,
    *,
    level: float,
    max_fpir: float,
) -> tuple[str | None, Verdict | None]:
    """The enrolled speaker that a voice is accepted as, and why it is or is not.

    Args:
        voice: (64,) of length 1.
        speech_s: seconds of speech that it is of.
        level, max_fpir: as for `find_turns`.

    Returns:
        ID, None of an unknown speaker; and verdict, None of an empty gallery.
    """
    nearest = gallery.search(voice, N_NEAREST)
    verdict = judging.judge(
        calibration, Voice(voice, speech_s), nearest, gallery, level=level, max_fpir=max_fpir
    )
    is_known = verdict is not None and verdict.outcome == "accepted"
    return nearest[0].speaker_id if is_known else None, verdict


def _named(
    voices: list[tuple[str | None, Verdict | None]], gallery: Snapshot
) -> list[tuple[str, str | None, Verdict | None]]:
    """Speaker, ID and verdict of each voice; voices accepted as one ID have the surest verdict."""
    surest: dict[str, Verdict] = {}
    for speaker_id, verdict in voices:
        if speaker_id is not None and verdict is not None:
            known = surest.get(speaker_id, verdict)
            surest[speaker_id] = max(known, verdict, key=lambda each: each.llr)
    numbers = _free_names(gallery)
    return [
        (next(numbers), None, verdict)
        if speaker_id is None
        else (speaker_id, speaker_id, surest[speaker_id])
        for speaker_id, verdict in voices
    ]


def _free_names(gallery: Snapshot) -> Iterator[str]:
    """`unknown-1` and so on, but for what somebody is enrolled as."""
    number = 0
    while True:
        number += 1
        if f"{UNKNOWN}-{number}" not in gallery:
            yield f"{UNKNOWN}-{number}"


def _joined(
    steps: Steps,
    labels: Index,
    names: list[tuple[str, str | None, Verdict | None]],
    total_s: float,
    pause_s: float,
) -> Iterator[Turn]:
    """Turns out of steps: one speaker's with no longer pause between them are one turn."""
    turn: Turn | None = None
    for first, last, label in zip(steps.first, steps.last, labels, strict=True):
        start_s, end_s = float(first) * CHUNK_S, min(float(last) * CHUNK_S, total_s)
        speaker, speaker_id, verdict = names[label]
        if turn and turn.speaker == speaker and start_s - turn.end_s < pause_s:
            turn = replace(turn, end_s=end_s)
            continue
        if turn:
            yield turn
        turn = Turn(start_s, end_s, speaker, speaker_id, verdict)
    if turn:
        yield turn
