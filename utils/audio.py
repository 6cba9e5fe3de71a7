"""The way from a recording to a wave: any common audio or video file -> mono float32 at 16 kHz.

Recordings come from strangers, so everything here is bounded while it runs (bytes, seconds of
sound, wall time, memory), nothing but the recording itself can be opened, and whatever FFmpeg
says comes out as one of the project's own errors.
"""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from utils.errors import (
    BadAudio,
    NoAudioTrack,
    NotDecodable,
    RecordingNotFound,
    TooLarge,
    TooLong,
    TooSlow,
)

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  # Hz
TAKEN = "send an mp4, m4a, mov, webm, wav, mp3, ogg, flac or aac file"

# The decoders that an upload can reach: what phones, browsers, cameras and sound cards record.
# No video decoder is among them, so that FFmpeg does not decode pictures either while it looks for
# the streams (measured: an mp4 opens in 0.5 ms instead of 0.6 to 0.9).
DECODERS = (
    "aac,aac_latm,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,eac3,flac,"
    "mp1float,mp2,mp2float,mp3,mp3float,opus,pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,"
    "pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,"
    "pcm_u8,vorbis"
)
MAX_TRACKS = 32  # of any kind; a phone's video has up to ten
MAX_CHANNELS = 16
RATES_HZ = range(4_000, 192_001)
MAX_BROKEN_PACKETS = 100  # about 2 s of AAC; a recording with more holes is not one to enrol
MAX_FRAME_SAMPLES = 1 << 18  # in one decoded frame; FLAC's largest has 2^16
MAX_ALLOCATION = 16 << 20  # bytes in one piece; the index of 4 h of video fits
# Samples times channels that are resampled at once. Arrays under 128 KiB come from memory that the
# process holds already; larger ones cost a page fault every 4 KiB (measured: 8.4 ms against 4.8).
BLOCK_VALUES = 1 << 15

OPTIONS = {
    "format_whitelist": "mov,matroska,webm,wav,mp3,ogg,flac,aac,avi",
    "codec_whitelist": DECODERS,
    "protocol_whitelist": "none",  # the bytes come from us: no file, no network
    "max_streams": str(MAX_TRACKS),
    "fflags": "-genpts",  # time stamps are not used, and making them up holds packets back
}
DECODER_OPTIONS = {"max_samples": str(MAX_FRAME_SAMPLES)}
SAMPLE_FORMATS: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "s16": np.dtype("i2"),
    "s32": np.dtype("i4"),
    "flt": np.dtype("f4"),
    "dbl": np.dtype("f8"),
}
# Containers whose duration is written down or counted, not guessed from a bit rate.
TELL_DURATION = ("mov", "matroska", "flac", "ogg")

# What PyAV raises on hostile files: FFmpeg's errors, and Python's out of its own checks.
FOREIGN_ERRORS = (
    av.error.FFmpegError,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class AudioLimits:
    """What one recording may cost."""

    max_bytes: int = 50 * 1024 * 1024
    max_seconds: float = 600.0  # of sound
    max_decode_s: float = 20.0  # wall time


def decode(source: Path | bytes | BinaryIO, limits: AudioLimits = AudioLimits()) -> np.ndarray:
    """Reads the sound of a recording: its first audio track that can be decoded.

    Channels are averaged with equal weight, so that a voice on both sides keeps its level.
    What overshoots full scale is clipped. Broken packets and a missing end are left out, as long
    as most of the recording is there.

    Args:
        source: a file, its bytes, or an open seekable stream, read from its beginning to its end
            and left open.
        limits: checked while decoding; nothing is decoded far beyond them.

    Returns:
        float32 (n_samples,), mono, at `SAMPLE_RATE`, finite, in [-1, 1]; at least one sample.

    Raises:
        RecordingNotFound: the path does not lead to a file.
        TooLarge: more bytes than `limits.max_bytes`.
        TooLong: more seconds of sound than `limits.max_seconds`.
        TooSlow: decoding took longer than `limits.max_decode_s`.
        NoAudioTrack: a video without sound.
        NotDecodable: anything else that cannot be read.
    """
    with _opened(source) as stream:
        upload = _Upload(stream, limits)
        _cap_allocations()
        try:
            wave = _read_sound(upload, limits)
        except BadAudio:
            upload.check()  # a stop on our side looks to FFmpeg like the end of the file
            raise
        except FOREIGN_ERRORS as error:
            upload.check()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NotDecodable(
                f"The recording cannot be read ({reason}): it is broken, cut off, or of a kind"
                f" that is not taken; {TAKEN}."
            ) from error
        upload.check()
        return wave


@contextmanager
def _opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Opens a path ourselves: FFmpeg never sees a file name, which could name a protocol."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        if not source.is_file():  # also turns away folders, pipes and devices
            raise RecordingNotFound("There is no such recording; check its folder and name.")
        try:
            stream = source.open("rb", buffering=0)
        except OSError as error:
            raise NotDecodable(
                f"The recording cannot be opened ({error.strerror}); check its permissions."
            ) from error
        with stream:
            yield stream
    else:
        yield source


class _Upload:
    """The file object that FFmpeg reads from. It has no name, and it ends when time is up.

    It never raises while FFmpeg calls it: PyAV keeps such errors for the thread's next call,
    which may belong to another recording. What went wrong is told by `check`.
    """

    def __init__(self, stream: BinaryIO, limits: AudioLimits) -> None:
        self._stream = stream
        self._max_decode_s = limits.max_decode_s
        self._deadline = time.monotonic() + limits.max_decode_s
        self._error: Exception | None = None
        n_bytes = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if n_bytes > limits.max_bytes:
            raise TooLarge(
                f"{n_bytes:,} bytes is too large a recording; send at most {limits.max_bytes:,}."
            )
        if n_bytes == 0:
            raise NotDecodable(f"The recording is empty (0 bytes); {TAKEN}.")

    def check(self) -> None:
        """Raises what stopped the reading, if anything did."""
        if time.monotonic() > self._deadline:
            raise TooSlow(
                f"Decoding took longer than {self._max_decode_s:g} s; send a shorter or a"
                " simpler recording."
            )
        if self._error is not None:
            raise NotDecodable("The recording could not be read; send it again.") from self._error

    def read(self, n_bytes: int) -> bytes:
        if self._error is not None or time.monotonic() > self._deadline:
            return b""
        try:
            return self._stream.read(n_bytes) or b""
        except (OSError, ValueError) as error:
            self._error = error
            return b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._stream.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return -1  # FFmpeg's way to hear that there is no such place

    def tell(self) -> int:
        return self._stream.tell()


@functools.cache
def _cap_allocations() -> None:
    """Tells FFmpeg once in this process to refuse single allocations above `MAX_ALLOCATION`.

    An mp4 of 600 bytes can declare an index of 90 million samples, which FFmpeg's default bound
    of 2 GiB a piece lets it build: https://ffmpeg.org/doxygen/trunk/group__lavu__mem.html
    PyAV does not offer the setting, but carries the library.
    """
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        for library in sorted(folder.glob("*avutil*")):
            set_bound = ctypes.CDLL(str(library)).av_max_alloc
            set_bound.argtypes = [ctypes.c_size_t]
            set_bound.restype = None
            set_bound(MAX_ALLOCATION)
            return
    logger.warning("FFmpeg's allocations are not bounded: PyAV's own libavutil was not found.")


def _read_sound(upload: _Upload, limits: AudioLimits) -> np.ndarray:
    with av.open(
        upload, mode="r", options=OPTIONS, metadata_errors="ignore", io_open=_refuse_other_file
    ) as container:
        track = _audio_track(container)
        declared_s = _declared_seconds(container, track)
        if declared_s > limits.max_seconds:
            raise TooLong(
                f"{declared_s:,.1f} s is too long a recording; send at most"
                f" {limits.max_seconds:g} s."
            )
        wave = _Wave(limits.max_seconds)
        n_broken = 0
        for packet in _packets(container, track):
            upload.check()
            try:
                frames = track.codec_context.decode(packet)
            except av.error.FFmpegError as error:
                n_broken += 1
                if n_broken > MAX_BROKEN_PACKETS:
                    raise NotDecodable(
                        f"More than {MAX_BROKEN_PACKETS} pieces of the audio track are broken;"
                        " record or send it again."
                    ) from error
                continue
            for frame in frames:
                wave.add(frame)
        return wave.joined()


def _refuse_other_file(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise NotDecodable("The recording points to another file; send one that holds its own sound.")


def _audio_track(container: InputContainer) -> AudioStream:
    """Finds the first audio track with a decoder of ours and sets both up."""
    tracks = container.streams.audio
    if not tracks:
        raise NoAudioTrack("The recording has no audio track; send one with sound.")
    track = next(
        (t for t in tracks if t.codec_context and t.codec_context.name in DECODERS.split(",")), None
    )
    if track is None:
        name = tracks[0].codec_context.name if tracks[0].codec_context else "unknown"
        raise NotDecodable(
            f"The sound is coded in a way that is not taken ({name}); send AAC, Opus, MP3, FLAC"
            " or PCM."
        )
    for stream in container.streams:
        if stream.index != track.index:
            stream.discard = Discard.all  # not even read where the container can skip it
    decoder = track.codec_context
    decoder.options = DECODER_OPTIONS
    # PyAV 18.1 copies layouts without the channel map that a mov may bring and frees the map
    # with every copy; the second time ends the process. A plain count has no map to free.
    n_channels = decoder.layout.nb_channels
    if n_channels:
        decoder.layout = f"{n_channels} channels"
    return track


def _declared_seconds(container: InputContainer, track: AudioStream) -> float:
    """The track's duration, 0.0 where the container does not tell."""
    if not container.format.name.startswith(TELL_DURATION):
        return 0.0
    if track.duration is not None and track.time_base is not None:
        return float(track.duration * track.time_base)
    return (container.duration or 0) / av.time_base


def _packets(container: InputContainer, track: AudioStream) -> Iterator[av.Packet[Any]]:
    """Yields the track's packets, then an empty one that flushes the decoder."""
    try:
        yield from container.demux(track)
    except av.error.FFmpegError as error:  # what was read until here may be enough
        logger.debug("The container ends early: %s", error.strerror)
        yield av.Packet()


class _Wave:
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
        mono = _mono(frame, self._kind[1])
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


def _mono(frame: av.AudioFrame, n_channels: int) -> np.ndarray:
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
