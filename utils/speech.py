"""Where in a recording somebody speaks: Silero VAD's network, and the rules that read it.

The network gives a probability for every 32 ms; `speech_mask` turns those into speech or none.
`training/speech_detector.py` writes the file, which holds Silero's weights (MIT licence).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.embedding import BEST_MODEL
from utils.errors import NotReady

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SAMPLE_RATE = 16_000
CHUNK = 512  # samples: what one probability is about
CHUNK_S = CHUNK / SAMPLE_RATE
CONTEXT = 64  # samples before a chunk that the network sees with it
STATE_SHAPE = (1, 1, 128)
BLOCK = 1024 * CHUNK  # samples a call, so that a long recording takes no more memory

DETECTOR = "speech_detector.onnx"
DETECTOR_LICENSE = "speech_detector.LICENSE.txt"
DETECTOR_SHA256 = "4d90a68f1498d8f5e798fdb90b8a3860246d05014f7259a3666e24239ae5ed1c"


@dataclass(frozen=True)
class SpeechSettings:
    """From probabilities to speech; all but `sure` are Silero's own numbers."""

    threshold: float = 0.5  # speech begins at this probability
    threshold_off: float = 0.35  # and may end below this one: a voice that fades is still one
    # a shorter gap, such as the stop of a `t`, is part of the speech: five chunks, to which the
    # 0.1 s of Silero's settings come in Silero's code
    min_silence_s: float = 0.15
    min_speech_s: float = 0.25  # a shorter sound is a click or a cough
    sure: float = 0.975  # mean over the surest `min_speech_s` of a stretch: a bird or a synthesiser
    # may stay over `threshold` for seconds, but only a voice comes near 1 within a word

    def __post_init__(self) -> None:
        if not 0 < self.threshold_off <= self.threshold <= self.sure < 1:
            raise ValueError(
                "need 0 < threshold_off <= threshold <= sure < 1, got "
                f"{self.threshold_off}, {self.threshold}, {self.sure}"
            )
        if not (self.min_silence_s > 0 and self.min_speech_s > 0):
            raise ValueError(
                "min_silence_s and min_speech_s must be more than 0, got "
                f"{self.min_silence_s}, {self.min_speech_s}"
            )


class SpeechDetector:
    """Silero VAD for whole recordings, on one thread; safe to share between threads."""

    def __init__(self, folder: Path = BEST_MODEL) -> None:
        """Loads the network.

        Raises:
            NotReady: the file is missing, or not the one that this version was tested with.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            _read(folder / DETECTOR), options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, wave: Array) -> Array:
        """How likely somebody speaks, for every 32 ms.

        Args:
            wave: (samples,) float32, 16 kHz, in [-1, 1]; zeros fill its last chunk.

        Returns:
            (chunks,) float32 in [0, 1], chunks = ceil(samples / 512).

        Raises:
            ValueError: the wave is not one-dimensional.
        """
        if wave.ndim != 1:
            raise ValueError(f"a wave of shape (samples,) is needed, got {wave.shape}")
        padded = np.pad(wave.astype(np.float32, copy=False), (CONTEXT, -wave.size % CHUNK))
        hidden = cell = np.zeros(STATE_SHAPE, np.float32)
        found = [np.zeros(0, np.float32)]
        for first in range(CONTEXT, padded.size, BLOCK):
            given = {
                "wave": padded[first : first + BLOCK],
                "past": padded[first - CONTEXT : first],
                "hidden": hidden,
                "cell": cell,
            }
            probability, hidden, cell = self._session.run(None, given)
            found.append(probability)
        return np.concatenate(found)


def speech_mask(probabilities: Array, settings: SpeechSettings = SpeechSettings()) -> Mask:
    """Which chunks are speech.

    Speech begins where the probability reaches `threshold` and ends where it falls below
    `threshold_off` and does not come back to `threshold` within `min_silence_s`. What is shorter
    than `min_speech_s`, or nowhere `sure` for so long, is none.

    Args:
        probabilities: (chunks,), as `SpeechDetector.probabilities` gives them.

    Returns:
        (chunks,) bool.

    Example:
        >>> likely = np.array([0.1, 0.4] + 9 * [0.99] + [0.4, 0.2, 0.9] + 5 * [0.1], np.float32)
        >>> "".join("x" if speech else "." for speech in speech_mask(likely))
        '..xxxxxxxxxxxx.....'
    """
    mask = np.zeros(probabilities.size, np.bool_)
    run = math.ceil(settings.min_speech_s / CHUNK_S)
    for first, last in _stretches(probabilities.tolist(), settings):
        if last - first >= run:
            means = np.convolve(probabilities[first:last], np.full(run, 1.0 / run), "valid")
            mask[first:last] = means.max() >= settings.sure
    return mask


def _stretches(probabilities: list[float], settings: SpeechSettings) -> Iterator[tuple[int, int]]:
    """First chunk and the one after the last of what is above the thresholds."""
    min_silence = math.ceil(settings.min_silence_s / CHUNK_S)
    start: int | None = None
    quiet_from: int | None = None
    for chunk, probability in enumerate(probabilities):
        if probability >= settings.threshold:
            start = chunk if start is None else start
            quiet_from = None
        elif start is not None and quiet_from is None and probability < settings.threshold_off:
            quiet_from = chunk
        if start is not None and quiet_from is not None and chunk + 1 - quiet_from >= min_silence:
            yield start, quiet_from
            start = quiet_from = None
    if start is not None:
        yield start, len(probabilities) if quiet_from is None else quiet_from


def speech_seconds(mask: Mask) -> float:
    """Net seconds of speech of a mask."""
    return float(np.count_nonzero(mask) * CHUNK_S)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotReady(f"{path} is missing; restore it from the repository.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != DETECTOR_SHA256:
        raise NotReady(
            f"{path} has SHA-256 {found[:12]}..., {DETECTOR_SHA256[:12]}... is asked for; "
            "restore it from the repository."
        )
    return content
