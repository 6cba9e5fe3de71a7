"""What FFmpeg gets to read: one nameless stream of bytes, bounded, and no way to anything else."""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av

from utils.errors import NotDecodable, RecordingNotFound, TooLarge, TooSlow

logger = logging.getLogger(__name__)

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
MAX_ALLOCATION = 16 << 20  # bytes in one piece; the index of 4 h of video fits

OPTIONS = {
    "format_whitelist": "mov,matroska,webm,wav,mp3,ogg,flac,aac,avi",
    "codec_whitelist": DECODERS,
    "protocol_whitelist": "none",  # the bytes come from us: no file, no network
    "max_streams": str(MAX_TRACKS),
    "fflags": "-genpts",  # time stamps are not used, and making them up holds packets back
}


@contextmanager
def opened(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
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


def check_size(stream: BinaryIO, max_bytes: int) -> int:
    """Bytes of a seekable stream, which is left at its beginning.

    Raises:
        TooLarge: they are more than `max_bytes`.
    """
    n_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if n_bytes > max_bytes:
        raise TooLarge(f"{n_bytes:,} bytes is too large a recording; send at most {max_bytes:,}.")
    return n_bytes


def too_slow(max_decode_s: float) -> TooSlow:
    return TooSlow(
        f"Decoding took longer than {max_decode_s:g} s; send a shorter or a simpler recording."
    )


class Upload:
    """The file object that FFmpeg reads from. It has no name, and it ends when time is up.

    It never raises while FFmpeg calls it: PyAV keeps such errors for the thread's next call,
    which may belong to another recording. What went wrong is told by `check`.
    """

    def __init__(self, stream: BinaryIO, *, max_bytes: int, max_decode_s: float) -> None:
        self._stream = stream
        self._max_decode_s = max_decode_s
        self._deadline = time.monotonic() + max_decode_s
        self._error: Exception | None = None
        if check_size(stream, max_bytes) == 0:
            raise NotDecodable(f"The recording is empty (0 bytes); {TAKEN}.")

    def check(self) -> None:
        """Raises what stopped the reading, if anything did."""
        if time.monotonic() > self._deadline:
            raise too_slow(self._max_decode_s)
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
def cap_allocations() -> None:
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


def refuse_other_file(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise NotDecodable("The recording points to another file; send one that holds its own sound.")
