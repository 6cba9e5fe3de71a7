"""Under what conditions trials are run: how much of a recording, and what befell the probe.

What befalls a recording depends on the seed and its name alone, so that every system hears the
same.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio
from evaluation.codecs import round_trip
from utils.audio import SAMPLE_RATE

Wave = npt.NDArray[np.float32]

SEED = 2026
BABBLE_VOICES = 4


@dataclass(frozen=True)
class Condition:
    """How trials are heard. Both sides are cropped; only the probe is degraded.

    Raises:
        ValueError: a number is none, or the crop is shorter than a sample.
    """

    crop_s: float | None = None  # None: whole recordings
    noise_db: float | None = None  # signal-to-noise ratio
    codec: str | None = None
    crop_seed: int | None = None  # None: the middle

    def __post_init__(self) -> None:
        if self.crop_s is not None and not 1.0 / SAMPLE_RATE <= self.crop_s < math.inf:
            raise ValueError(f"a crop must have more than 0 seconds, got {self.crop_s:g}")
        if self.crop_seed is not None and self.crop_seed < 0:
            raise ValueError(f"a seed must be 0 or more, got {self.crop_seed}")
        if self.noise_db is not None and not math.isfinite(self.noise_db):
            raise ValueError(f"a noise ratio must be a number, got {self.noise_db:g}")

    @property
    def name(self) -> str:
        """Such as `whole`, `2s`, `2s_5db`, `3s_gsm`."""
        parts = ["whole" if self.crop_s is None else f"{self.crop_s:g}s"]
        parts += [] if self.noise_db is None else [f"{self.noise_db:g}db"]
        parts += [self.codec] if self.codec else []
        parts += [] if self.crop_seed is None else [f"seed{self.crop_seed}"]
        return "_".join(parts)


CONDITIONS = (
    Condition(),
    Condition(crop_s=2.0),
    Condition(crop_s=2.0, noise_db=5.0),
    Condition(crop_s=3.0, codec="gsm"),
)
REPORTED = ("whole", "2s", "2s_5db")
"""Those of a report that is not told otherwise."""


def hear(name: str, audio: Audio, condition: Condition, *, as_probe: bool) -> Wave:
    """(samples,) of a recording as this condition has it."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    waveform = crop(audio.read(name), condition.crop_s, condition.crop_seed, name)
    if as_probe and condition.noise_db is not None:
        noise = babble(name, waveform.size, audio, rng) + pink_noise(waveform.size, rng)
        waveform = add_noise(waveform, noise, condition.noise_db)
    if as_probe and condition.codec:
        waveform = round_trip(waveform, condition.codec)
    return waveform


def crop(waveform: Wave, seconds: float | None, seed: int | None, name: str) -> Wave:
    """The middle seconds, or with a seed those from a random place; all of what is shorter."""
    if seconds is None:
        return waveform
    spare = max(0, waveform.size - round(seconds * SAMPLE_RATE))
    start = spare // 2
    if seed is not None:
        start = int(np.random.default_rng([seed, zlib.crc32(name.encode())]).integers(spare + 1))
    return waveform[start : start + round(seconds * SAMPLE_RATE)]


def babble(name: str, samples: int, audio: Audio, rng: np.random.Generator) -> Wave:
    """Four recordings of other speakers at once, each at level 1, their sum at level 1.

    They come from the same collection; among hundreds of speakers one of the four is now and then
    the enrolled one of an impostor trial. Where one flat folder holds all recordings, nobody is
    known to be another speaker: then it may be the probe's own voice in another recording.

    Raises:
        SystemExit: the collection has no other recording.
    """
    others = audio.of_others(name)
    if not others:
        raise SystemExit("babble needs other recordings in the audio root")
    picked = rng.integers(len(others), size=BABBLE_VOICES)
    voices = [_level_1(np.resize(audio.read(others[index]), samples)) for index in picked]
    return _level_1(np.sum(voices, axis=0))


def pink_noise(samples: int, rng: np.random.Generator) -> Wave:
    """Noise whose power falls by 3 dB an octave, at level 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= np.arange(1, spectrum.size + 1) ** -0.5
    return _level_1(np.fft.irfft(spectrum, samples).astype(np.float32))


def add_noise(waveform: Wave, noise: Wave, snr_db: float) -> Wave:
    """Adds noise so that the waveform's power over its own is this ratio."""
    gain = _level(waveform) / max(_level(noise), 1e-9) * 10.0 ** (-snr_db / 20.0)
    noisy: Wave = (waveform + gain * noise).astype(np.float32)
    return noisy


def _level(waveform: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(waveform))))


def _level_1(waveform: Wave) -> Wave:
    scaled: Wave = (waveform / max(_level(waveform), 1e-9)).astype(np.float32)
    return scaled
