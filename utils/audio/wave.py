"""Decoded frames in, one mono wave out: channels averaged, resampled, joined."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from utils.errors import NotDecodable, TooLong

SAMPLE_RATE = 16_000  # Hz
MAX_CHANNELS = 16
RATES_HZ = range(4_000, 192_001)
# Samples times channels that are resampled at once. Arrays under 128 KiB come from memory that the
# process holds already; larger ones cost a page fault every 4 KiB (measured: 8.4 ms against 4.8).
BLOCK_VALUES = 1 << 15

SAMPLE_FORMATS: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "s16": np.dtype("i2"),
    "s32": np.dtype("i4"),
    "flt": np.dtype("f4"),
    "dbl": np.dtype("f8"),
}


class Wave:
    """Joins decoded frames, averages their channels and resamples them, in large blocks.

    A call of the resampler costs 15 microseconds whatever its length, so one per AAC frame would
    take four times as long as the resampling itself.
    """

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._seconds = 0.0
        self._blocks: list[np.ndarray] = []  # (n,) float32 each, at SAMPLE_RATE
        self._kind = (0, 0, "")  # sample rate, channels, sample format
        self._fifo = av.AudioFifo()
        self._resampler: av.AudioResampler | None = None

    def add(self, frame: av.AudioFrame) -> None:
        kind = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        if kind != self._kind:  # the first frame, or a stream that changes on its way
            self._flush()
            self._start(kind)
        self._seconds += frame.samples / frame.sample_rate
        if self._seconds > self._max_seconds:
            raise TooLong(
                f"The recording has more than {self._max_seconds:g} s of sound; send at most that."
            )
        frame.pts = None  # the fifo would insist on time stamps without gaps
        self._fifo.write(frame)
        if self._fifo.samples * kind[1] >= BLOCK_VALUES:
            self._resample()

    def joined(self) -> np.ndarray:
        """Returns all that was added: float32 (n_samples,) in [-1, 1]."""
        self._flush()
        wave = np.concatenate(self._blocks) if self._blocks else np.empty(0, np.float32)
        if not len(wave):
            raise NotDecodable("The audio track holds no sound; send a recording with sound.")
        if not np.isfinite(wave).all():
            raise NotDecodable("The audio track holds samples that are not numbers; record again.")
        return np.clip(wave, -1.0, 1.0, out=wave)

    def _start(self, kind: tuple[int, int, str]) -> None:
        rate_hz, n_channels, _ = kind
        if rate_hz not in RATES_HZ:
            raise NotDecodable(
                f"The sound is sampled at {rate_hz} Hz; send {RATES_HZ[0]} to {RATES_HZ[-1]} Hz."
            )
        if not 0 < n_channels <= MAX_CHANNELS:
            raise NotDecodable(f"The sound has {n_channels} channels; send mono or stereo.")
        self._kind = kind
        self._fifo = av.AudioFifo()
        self._resampler = (
            None
            if rate_hz == SAMPLE_RATE
            else av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        )

    def _resample(self) -> None:
        frame = self._fifo.read()
        if frame is None:
            return
        mono = mono_of(frame, self._kind[1])
        if self._resampler is None:
            self._blocks.append(mono)
            return
        # Mono in, mono out: asked to mix floats itself, FFmpeg's resampler makes the sum of a
        # stereo pair 1.414 times the mean.
        block = av.AudioFrame.from_ndarray(mono[None, :], format="fltp", layout="mono")
        block.sample_rate = self._kind[0]
        self._collect(self._resampler.resample(block))

    def _flush(self) -> None:
        self._resample()
        if self._resampler is not None:
            self._collect(self._resampler.resample(None))

    def _collect(self, frames: list[av.AudioFrame]) -> None:
        self._blocks.extend(
            np.frombuffer(memoryview(frame.planes[0]), np.float32, count=frame.samples)
            for frame in frames
        )


def mono_of(frame: av.AudioFrame, n_channels: int) -> np.ndarray:
    """Averages a frame's channels: float32 (n_samples,), full scale 1.0."""
    # By hand what `to_ndarray` does, which stacks the channels first: half of the time here.
    dtype = SAMPLE_FORMATS[frame.format.name.removesuffix("p")]
    if frame.format.is_planar:
        channels = [
            np.frombuffer(memoryview(plane), dtype, count=frame.samples) for plane in frame.planes
        ]
    else:
        interleaved = np.frombuffer(
            memoryview(frame.planes[0]), dtype, count=frame.samples * n_channels
        )
        channels = list(interleaved.reshape(-1, n_channels).T)
    with np.errstate(invalid="ignore", over="ignore"):  # `joined` looks for what is not finite
        mono: np.ndarray = channels[0].astype(np.float32)
        for channel in channels[1:]:
            mono += channel
        full_scale = 2.0 ** (8 * dtype.itemsize - 1) if dtype.kind in "iu" else 1.0
        mono *= np.float32(1.0 / (full_scale * n_channels))
        if dtype.kind == "u":
            mono -= np.float32(1.0)
    return mono
