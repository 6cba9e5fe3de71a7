"""Wave in, log-mel windows out: the one implementation that training and serving share.

A recording is cut into windows of 2 s, one starting every second (`window_starts` says how a
shorter recording and the last window are filled), and every window becomes a log-mel of 200
frames and 64 mel bins. A window's features depend on that window alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

Array = npt.NDArray[np.float32]

BLOCK_FRAMES = 50  # keeps every array under 128 KiB: see `_mel_power`


@dataclass(frozen=True)
class FeatureSettings:
    """The numbers behind a log-mel; saved beside the weights, read by training and serving."""

    sample_rate: int = 16_000  # Hz
    frame_s: float = 0.025  # one frame of the short-time analysis, Hann-weighted
    hop_s: float = 0.010
    n_fft: int = 512
    n_mels: int = 64
    window_s: float = 2.0  # what the network sees at once
    window_hop_s: float = 1.0
    min_new_s: float = 0.25  # a last window is made only if it brings this much not yet seen
    dynamic_range_db: float = 80.0  # below a window's loudest bin; the rest is raised to it

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.frame_s <= self.n_fft / self.sample_rate:
            raise ValueError(
                f"need 0 < hop_s <= frame_s <= n_fft / sample_rate, got {self.hop_s}, "
                f"{self.frame_s}, {self.n_fft} / {self.sample_rate}"
            )

    @property
    def window_samples(self) -> int:
        return round(self.window_s * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_s * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames in a window: the wave is padded so that there is one a hop."""
        return self.window_samples // self.hop_samples


def log_mel_windows(wave: Array, settings: FeatureSettings = FeatureSettings()) -> Array:
    """Turns a recording into what the network takes.

    Args:
        wave: (samples,) mono, at `settings.sample_rate`, in [-1, 1]; at least one sample.

    Returns:
        (windows, frames, n_mels) float32, mean 0 over each window's frames in every mel bin.

    Raises:
        ValueError: the wave is not one-dimensional or is empty.
    """
    return log_mel(windows(wave, settings), settings)


def window_starts(samples: int, settings: FeatureSettings = FeatureSettings()) -> list[int]:
    """Where the windows of a recording of so many samples start.

    One every `window_hop_s`, as long as a whole window fits; then one more that ends where the
    recording ends, if it brings `min_new_s` that no window has. Only a recording shorter than a
    window has to be filled: see `windows`.

    Example:
        >>> [start / 16_000 for start in window_starts(round(3.5 * 16_000))]
        [0.0, 1.0, 1.5]
    """
    size = settings.window_samples
    hop = round(settings.window_hop_s * settings.sample_rate)
    if samples <= size:
        return [0]
    starts = list(range(0, samples - size + 1, hop))
    if samples - (starts[-1] + size) >= round(settings.min_new_s * settings.sample_rate):
        starts.append(samples - size)
    return starts


def windows(wave: Array, settings: FeatureSettings = FeatureSettings()) -> Array:
    """Cuts a wave into windows; one shorter than a window is repeated until it fills it.

    Repeating keeps the share of speech to pauses as it was, which zeros would not.

    Returns:
        (windows, window_samples) float32.

    Raises:
        ValueError: the wave is not one-dimensional or is empty.
    """
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"a wave of shape (samples,) with samples > 0 is needed, got {wave.shape}")
    size = settings.window_samples
    if wave.size < size:
        return np.resize(wave, (1, size)).astype(np.float32, copy=False)
    starts = window_starts(wave.size, settings)
    return np.stack([wave[start : start + size] for start in starts]).astype(np.float32, copy=False)


def log_mel(batch: Array, settings: FeatureSettings = FeatureSettings()) -> Array:
    """Log-mel of windows, without their mean over time.

    Frames are centred on the middle of their hop, with zeros around the window. Mel bins are
    Slaney's (Slaney 1998, as in librosa's default), of power. Whatever lies more than
    `dynamic_range_db` under the window's loudest bin is raised to that floor, so that digital
    silence is no feature; taking each bin's mean off then makes the result independent of gain
    and of a fixed filter on the way (cepstral mean normalisation, Atal 1974).

    Args:
        batch: (windows, window_samples).

    Returns:
        (windows, frames, n_mels) float32.
    """
    mel = np.stack([_mel_power(window, settings) for window in batch])
    floor = mel.max(axis=(1, 2), keepdims=True) * 10.0 ** (-settings.dynamic_range_db / 10.0)
    logs = np.log(np.maximum(mel, np.maximum(floor, np.finfo(np.float32).tiny)))
    normalised: Array = logs - logs.mean(axis=1, keepdims=True)
    return normalised


def _mel_power(window: Array, settings: FeatureSettings) -> Array:
    """(window_samples,) -> (frames, n_mels) power.

    In blocks: arrays under 128 KiB come from memory that the process already holds, larger ones
    cost page faults (3 s of sound: 1.5 ms in blocks of 100 frames, 0.84 ms in blocks of 50).
    SciPy's transform of float32 is five times as fast as NumPy's here.
    """
    margin = (settings.n_fft - settings.hop_samples) // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(window, margin), settings.n_fft)
    frames = frames[:: settings.hop_samples]
    mel = np.empty((settings.frames, settings.n_mels), np.float32)
    for first in range(0, settings.frames, BLOCK_FRAMES):
        block = slice(first, first + BLOCK_FRAMES)
        spectra = scipy.fft.rfft(frames[block] * frame_weights(settings))
        power = np.square(spectra.real) + np.square(spectra.imag)
        mel[block] = power @ mel_filters(settings).T
    return mel


@lru_cache
def frame_weights(settings: FeatureSettings) -> Array:
    """(n_fft,) periodic Hann window of `frame_s`, zeros around it."""
    size = round(settings.frame_s * settings.sample_rate)
    before = (settings.n_fft - size) // 2
    weights = np.zeros(settings.n_fft, np.float32)
    weights[before : before + size] = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)
    return weights


@lru_cache
def mel_filters(settings: FeatureSettings = FeatureSettings()) -> Array:
    """Triangles of equal area on Slaney's mel scale, from 0 Hz to half the sample rate.

    The scale is linear to 1 kHz (200/3 Hz a mel) and logarithmic above (27 mels for a factor
    of 6.4): Slaney, Auditory Toolbox (1998).

    Returns:
        (n_mels, n_fft // 2 + 1) float32.
    """
    linear, knee_mel, step = 200.0 / 3.0, 15.0, np.log(6.4) / 27.0
    nyquist = settings.sample_rate / 2.0
    top = knee_mel + np.log(nyquist / 1000.0) / step
    mels = np.linspace(0.0, top, settings.n_mels + 2)
    above = 1000.0 * np.exp(step * (mels - knee_mel))
    edges = np.where(mels < knee_mel, linear * mels, above)[:, None]  # Hz
    bins = np.linspace(0.0, nyquist, settings.n_fft // 2 + 1)[None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Array = (triangles * 2.0 / (edges[2:] - edges[:-2])).astype(np.float32)
    return filters
