"""The way from a recording to a wave: any common audio or video file -> mono float32 at 16 kHz.

Recordings come from strangers, so everything here is bounded while it runs (bytes, seconds of
sound, wall time, memory), nothing but the recording itself can be opened, and whatever FFmpeg
says comes out as one of the project's own errors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from utils.audio.source import (
    DECODERS,
    OPTIONS,
    TAKEN,
    Upload,
    cap_allocations,
    opened,
    refuse_other_file,
)
from utils.audio.wave import Wave
from utils.errors import BadAudio, NoAudioTrack, NotDecodable, TooLong

logger = logging.getLogger(__name__)

MAX_BROKEN_PACKETS = 100  # about 2 s of AAC; a recording with more holes is not one to enrol
MAX_FRAME_SAMPLES = 1 << 18  # in one decoded frame; FLAC's largest has 2^16
DECODER_OPTIONS = {"max_samples": str(MAX_FRAME_SAMPLES)}
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
    with opened(source) as stream:
        upload = Upload(stream, max_bytes=limits.max_bytes, max_decode_s=limits.max_decode_s)
        cap_allocations()
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


def _read_sound(upload: Upload, limits: AudioLimits) -> np.ndarray:
    with av.open(
        upload, mode="r", options=OPTIONS, metadata_errors="ignore", io_open=refuse_other_file
    ) as container:
        track = _audio_track(container)
        declared_s = _declared_seconds(container, track)
        if declared_s > limits.max_seconds:
            raise TooLong(
                f"{declared_s:,.1f} s is too long a recording; send at most"
                f" {limits.max_seconds:g} s."
            )
        wave = Wave(limits.max_seconds)
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
