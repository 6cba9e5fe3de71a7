"""What a training window is cut from: a recording, a place, a speed, another voice over it."""

from __future__ import annotations

import numpy as np

from training.corpus import Recordings
from training.degrade import change_speed, mix, part, random_part

WINDOW = np.dtype(
    [
        ("recording", np.int32),
        ("start", np.int32),  # its first sample there; ANYWHERE is drawn anew every time
        ("speed", np.float32),  # so many times as fast is it played
        ("other", np.int32),  # the recording of a voice that talks over it, or NOBODY
        ("other_start", np.int32),
        ("other_db", np.float32),  # how far that voice is below the first
    ]
)
ANYWHERE = NOBODY = -1

# of windows that the teacher hears by themselves
SPEEDS = (0.8, 0.85, 0.9, 1.1, 1.15, 1.2)
SPEED_CHANCE = 0.5
OTHER_CHANCE = 0.25
OTHER_DB = (0.0, 8.0)


def windows_anywhere(recordings: int, speed: float) -> np.ndarray:
    """(recordings,) of WINDOW: one of each recording, at this speed, from any place."""
    found = np.zeros(recordings, WINDOW)
    found["recording"] = np.arange(recordings)
    found["start"], found["speed"], found["other"] = ANYWHERE, speed, NOBODY
    return found


def draw_windows(speech: Recordings, samples: int, seed: int) -> np.ndarray:
    """Draws as many windows as the speech would fill end to end, each from a place of its own.

    Half are at another speed; a quarter have a second voice in them, which no corpus has.

    Args:
        samples: in a window.

    Returns:
        (windows,) of WINDOW, in random order.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(speech.starts)
    recording = np.repeat(np.arange(len(lengths)), np.ceil(lengths / samples).astype(int))
    count = len(recording)
    found = np.zeros(count, WINDOW)
    found["recording"] = recording
    changed = rng.random(count) < SPEED_CHANCE
    found["speed"] = np.where(changed, rng.choice(SPEEDS, count), 1.0)
    found["start"] = _places(lengths[recording], np.round(samples * found["speed"]), rng)
    other = rng.integers(len(lengths), size=count)
    found["other"] = np.where(rng.random(count) < OTHER_CHANCE, other, NOBODY)
    found["other_start"] = _places(lengths[other], samples, rng)
    found["other_db"] = rng.uniform(*OTHER_DB, count)
    return rng.permutation(found)


def _places(lengths: np.ndarray, samples: np.ndarray | int, rng: np.random.Generator) -> np.ndarray:
    spare = np.maximum(lengths - samples, 0).astype(int)
    return rng.integers(spare + 1)


def cut(
    speech: Recordings, window: np.void, samples: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """(samples,) float32 of what the window asks for; a recording that is shorter is repeated.

    Args:
        rng: for a window from anywhere.
    """
    speed = float(window["speed"])
    recording, wanted = int(window["recording"]), round(samples * speed)
    if window["start"] == ANYWHERE:
        assert rng is not None
        wave = random_part(speech, recording, wanted, rng)
    else:
        wave = part(speech, recording, int(window["start"]), wanted)
    wave = np.resize(change_speed(wave, speed), samples)
    if window["other"] != NOBODY:
        other = part(speech, int(window["other"]), int(window["other_start"]), samples)
        wave = mix(wave, other, float(window["other_db"]))
    return wave
