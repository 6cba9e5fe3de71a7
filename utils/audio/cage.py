"""Decodes recordings in processes of their own, which can be lost without harm.

A codec that a hostile file leads astray ends, hangs, or fills the memory of one small process that
can open no file and no connection (`utils.audio.caged` says what it may do). That request is
answered with an error, and the process replaced. Needs Linux.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.audio.decoding import AudioLimits
from utils.audio.source import check_size, opened, too_slow
from utils.audio.wave import SAMPLE_RATE
from utils.errors import (
    NoAudioTrack,
    NotDecodable,
    NotReady,
    SpeakerServerError,
    TooLarge,
    TooLong,
    TooSlow,
)

log = logging.getLogger(__name__)

REQUEST = struct.Struct("<Qdd")  # max_bytes, max_seconds, max_decode_s; an open file comes along
REPLY = struct.Struct("<?Q")  # whether a wave follows, or an error; how many bytes of it
READY = b"r"

ROOT = Path(__file__).parents[2]
MEMORY_MB = 1_024  # of address space; ten minutes of stereo take 363 MB, 152 MB of it in use
START_S = 30.0  # a machine under load may take so long to start a process
GRACE_S = 2.0  # in which a process says by itself that decoding took too long
LONGEST_ERROR = 2_000  # bytes
DEFAULT_LIMITS = AudioLimits()
COPIED = 1 << 20  # bytes of an upload at once

ERRORS = {each.__name__: each for each in (NoAudioTrack, NotDecodable, TooLarge, TooLong, TooSlow)}


class Cage:
    """So many decoding processes; safe to share between the threads of one process."""

    def __init__(self, processes: int, memory_mb: int = MEMORY_MB) -> None:
        """Starts them; they end with this process, however it ends."""
        self._memory_mb = memory_mb
        self._free: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(_Worker(memory_mb))

    def decode(
        self, source: Path | bytes | BinaryIO, limits: AudioLimits = DEFAULT_LIMITS
    ) -> np.ndarray:
        """As `utils.audio.decode`, in another process.

        Raises:
            NotReady: all processes have been busy for as long as one recording may take.
            RecordingNotFound, TooLarge, TooLong, TooSlow, NoAudioTrack, NotDecodable: as there.
        """
        with opened(source) as stream, _as_file(stream, limits.max_bytes) as fd:
            try:
                worker = self._free.get(timeout=limits.max_decode_s)
            except queue.Empty:
                raise NotReady("Too many recordings are being decoded; try again.") from None
            try:
                return worker.decode(fd, limits)
            except _Lost as lost:
                worker.end()
                worker = _Worker(self._memory_mb)
                log.warning("a decoding process was lost and replaced: %s", lost)
                raise lost.answer(limits) from lost
            finally:
                self._free.put(worker)

    def close(self) -> None:
        """Ends the processes that are idle. The cage is not to be used after it."""
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()


class _Lost(Exception):
    """A process ended, hung, or answered nonsense."""

    def __init__(self, what: str, is_late: bool = False) -> None:
        super().__init__(what)
        self._is_late = is_late

    def answer(self, limits: AudioLimits) -> NotDecodable | TooSlow:
        if self._is_late:
            return too_slow(limits.max_decode_s)
        return NotDecodable(
            "The recording cannot be read: decoding it failed badly. Record it again, or send it"
            " in another form."
        )


class _Worker:
    """One decoding process and our end of the sockets. One thread at a time may use it."""

    def __init__(self, memory_mb: int) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (nothing here is from outside)
                [sys.executable, "-m", "utils.audio.caged", str(theirs.fileno()), str(memory_mb)],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # what a hostile file makes it say is no log
                start_new_session=True,  # a Ctrl-C is for the server, which may still answer
            )
        self._is_ready = False

    def decode(self, fd: int, limits: AudioLimits) -> np.ndarray:
        """Asks for a wave and waits.

        Raises:
            _Lost: the process is to be replaced.
            TooLarge, TooLong, TooSlow, NoAudioTrack, NotDecodable: what it found.
        """
        try:
            if not self._is_ready:
                self._socket.settimeout(START_S)
                if self._receive(len(READY)) != READY:
                    raise _Lost("it does not start")
                self._is_ready = True
            self._socket.settimeout(limits.max_decode_s + GRACE_S)
            head = REQUEST.pack(limits.max_bytes, limits.max_seconds, limits.max_decode_s)
            socket.send_fds(self._socket, [head], [fd])
            is_wave, n_bytes = REPLY.unpack(self._receive(REPLY.size))
            most = 4 * round((limits.max_seconds + 1.0) * SAMPLE_RATE)  # a resampler adds a little
            if n_bytes > (most if is_wave else LONGEST_ERROR):
                raise _Lost(f"it wants to say {n_bytes} bytes")
            body = self._receive(n_bytes)
        except TimeoutError as error:
            raise _Lost("it hangs", is_late=self._is_ready) from error
        except OSError as error:
            raise _Lost(f"{error.strerror}") from error
        if not is_wave:
            raise _error(body)
        return _wave(body)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _receive(self, n_bytes: int) -> bytearray:
        body = bytearray(n_bytes)
        rest = memoryview(body)
        while rest:
            received = self._socket.recv_into(rest)
            if not received:
                self._process.kill()
                raise _Lost(f"it ended with status {self._process.wait()}")
            rest = rest[received:]
        return body


def _wave(body: bytearray) -> np.ndarray:
    wave = np.frombuffer(body, np.float32) if len(body) % 4 == 0 else np.empty(0, np.float32)
    # what comes out of the cage is as little to be believed as what went in
    if not wave.size or not bool(np.abs(wave).max() <= 1.0):
        raise _Lost("it made no wave")
    return wave


def _error(body: bytearray) -> SpeakerServerError:
    title, _, message = body.decode("utf-8", "replace").partition("\n")
    if title not in ERRORS:
        raise _Lost("it made no error of ours")
    return ERRORS[title](message)


@contextmanager
def _as_file(stream: BinaryIO, max_bytes: int) -> Iterator[int]:
    """A descriptor of the recording's file, or of a copy in memory where it has none."""
    if isinstance(stream, io.FileIO):
        yield stream.fileno()
        return
    check_size(stream, max_bytes)
    with open(os.memfd_create("recording"), "wb", buffering=0) as copy:  # noqa: PTH123
        while block := stream.read(COPIED):
            copy.write(block)
        yield copy.fileno()
