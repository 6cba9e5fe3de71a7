"""How much of a recording is sound that could be a voice: a gate on energy alone.

It tells a voice from silence, not from noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from utils.errors import NoSpeech, TooShort

FRAME_S = 0.02
SILENCE_DBFS = -60.0  # a recording whose loudest frame is below holds no voice
ACTIVE_RANGE_DB = 35.0  # below the loudest frame: pauses of speech are further down


def active_seconds(wave: npt.NDArray[np.float32], sample_rate: int = 16_000) -> float:
    """Seconds in frames of 20 ms whose level is within 35 dB of the loudest.

    Args:
        wave: (samples,) in [-1, 1]; 0 dBFS is the power of a full-scale square wave.

    Returns:
        0.0 where no frame reaches -60 dBFS.
    """
    size = round(FRAME_S * sample_rate)
    frames = wave[: wave.size // size * size].reshape(-1, size)
    power = np.einsum("ij,ij->i", frames, frames) / size
    loudest = float(power.max(initial=0.0))
    if loudest < 10.0 ** (SILENCE_DBFS / 10.0):
        return 0.0
    return float(np.count_nonzero(power >= loudest * 10.0 ** (-ACTIVE_RANGE_DB / 10.0)) * FRAME_S)


def require_speech(wave: npt.NDArray[np.float32], needed_s: float) -> float:
    """Gives the wave's active seconds.

    Raises:
        NoSpeech: nothing is loud enough to be a voice.
        TooShort: fewer active seconds than needed.
    """
    seconds = active_seconds(wave)
    if seconds == 0.0:
        raise NoSpeech(
            f"{wave.size / 16_000:.1f} s of silence: no sound reaches {SILENCE_DBFS:.0f} dBFS; "
            "check the microphone and send a recording in which somebody speaks."
        )
    if seconds < needed_s:
        raise TooShort(seconds, needed_s)
    return seconds
