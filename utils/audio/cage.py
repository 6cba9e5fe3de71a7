"""Decodes recordings in processes of their own, which can be lost without harm.

A codec that a hostile file leads astray ends, hangs, or fills the memory of one small process that
can open no file and no connection (`utils.audio.caged` says what it may do). That request is
answered with an error, and the process replaced. Needs Linux and libseccomp.
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
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

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
TURN_OFF = "start the server with --decoders 0 to decode in its own process"
COPIED = 1 << 20  # bytes of an upload at once

ERRORS = {each.__name__: each for each in (NoAudioTrack, NotDecodable, TooLarge, TooLong, TooSlow)}


def lacking() -> str | None:
    """What this machine lacks for a cage; None where it seems to have everything."""
    if sys.platform != "linux":
        return "Linux"
    try:
        import pyseccomp  # noqa: F401 (looks for the library when it is imported)
    except (ImportError, OSError, RuntimeError):
        return "Python's pyseccomp and libseccomp (Debian: libseccomp2)"
    return None


class Cage:
    """So many decoding processes; safe to share between the threads of one process."""

    def __init__(self, processes: int, memory_mb: int = MEMORY_MB) -> None:
        """Starts them; they end with this process, however it ends.

        Raises:
            NotReady: this machine lacks what it takes.
        """
        if sys.platform != "linux":
            raise NotReady(f"Decoding in processes apart needs Linux; {TURN_OFF}.")
        workers = [_Worker(memory_mb) for _ in range(processes)]
        self._free: queue.LifoQueue[_Worker] = queue.LifoQueue()
        try:
            for worker in workers:
                worker.start()
            workers[0].wait_until_ready()
        except NotReady:
            for worker in workers:
                worker.end()
            raise
        for worker in workers:
            self._free.put(worker)

    def decode(
        self, source: Path | bytes | BinaryIO, limits: AudioLimits = DEFAULT_LIMITS
    ) -> np.ndarray:
        """As `utils.audio.decode`, in another process.

        Raises:
            NotReady: all processes have been busy for as long as one recording may take, or
                none can be started.
            RecordingNotFound, TooLarge, TooLong, TooSlow, NoAudioTrack, NotDecodable: as there.
        """
        with opened(source) as stream, _as_file(stream, limits.max_bytes) as fd:
            try:
                worker = self._free.get(timeout=limits.max_decode_s)
            except queue.Empty:
                raise NotReady("Too many recordings are being decoded; try again.") from None
            try:
                return _decode(worker, fd, limits)
            finally:
                self._free.put(worker)

    def close(self) -> None:
        """Ends the processes that are idle. The cage is not to be used after it."""
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()


def _decode(worker: _Worker, fd: int, limits: AudioLimits) -> np.ndarray:
    """Asks a process; it is replaced unless its answer was heard to the end."""
    try:
        is_wave, body = worker.ask(fd, limits)
        return _wave(body) if is_wave else _raised(body)
    except _Lost as lost:
        log.warning("a decoding process was lost and is replaced: %s", lost)
        _replace(worker)
        raise lost.answer(limits) from lost
    except SpeakerServerError:
        raise
    except BaseException:  # whatever it was, the rest of an answer must not be the next one's
        _replace(worker)
        raise


def _replace(worker: _Worker) -> None:
    worker.end()
    try:
        worker.start()
    except NotReady as error:
        log.error("%s", error)  # the next request tries again, and is told


class _Lost(Exception):
    """A process ended, hung, or answered nonsense while it had a recording."""

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
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def start(self) -> None:
        """Starts the process, and does not wait for it.

        Raises:
            NotReady: the system makes none.
        """
        try:
            ours, theirs = socket.socketpair()
            with theirs, ExitStack() as undo:
                undo.enter_context(ours)
                self._process = self._popen(theirs.fileno())
                undo.pop_all()
        except OSError as error:
            raise NotReady(f"No decoding process can be made: {error.strerror}.") from error
        self._socket, self._is_ready = ours, False

    def _popen(self, fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (nothing here is from outside)
            [sys.executable, "-m", "utils.audio.caged", str(fd), str(self._memory_mb)],
            cwd=ROOT,
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what a hostile file makes it say is no log
            start_new_session=True,  # a Ctrl-C is for the server, which may still answer
        )

    def wait_until_ready(self) -> None:
        """Has it running, and started again if it ended while it had nothing to do.

        Raises:
            NotReady: it does not start.
        """
        if self._is_ready and self._process and self._process.poll() is not None:
            self.end()
        if self._process is None:
            self.start()
        if self._is_ready:
            return
        try:
            is_ready = self._receive(len(READY), time.monotonic() + START_S) == READY
        except (_Lost, OSError):  # TimeoutError is one
            is_ready = False
        if not is_ready:
            self.end()
            raise NotReady(
                "A decoding process does not start: it needs Python's pyseccomp, libseccomp "
                f"(Debian: libseccomp2) and {self._memory_mb} MB of address space; {TURN_OFF}."
            )
        self._is_ready = True

    def ask(self, fd: int, limits: AudioLimits) -> tuple[bool, bytearray]:
        """Hands a recording over and waits.

        Returns:
            Whether it is a wave or an error, and its bytes.

        Raises:
            NotReady: the process does not start.
            _Lost: it is to be replaced.
        """
        self.wait_until_ready()
        until = time.monotonic() + limits.max_decode_s + GRACE_S
        try:
            self._socket.settimeout(until - time.monotonic())
            head = REQUEST.pack(limits.max_bytes, limits.max_seconds, limits.max_decode_s)
            socket.send_fds(self._socket, [head], [fd])
            is_wave, n_bytes = REPLY.unpack(self._receive(REPLY.size, until))
            most = 4 * round((limits.max_seconds + 1.0) * SAMPLE_RATE)  # a resampler adds a little
            if n_bytes > (most if is_wave else LONGEST_ERROR):
                raise _Lost(f"it wants to say {n_bytes} bytes")
            return is_wave, self._receive(n_bytes, until)
        except TimeoutError as error:
            raise _Lost("it hangs", is_late=True) from error
        except OSError as error:
            raise _Lost(f"{error.strerror}") from error

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.close()

    def _receive(self, n_bytes: int, until: float) -> bytearray:
        """So many bytes; however they dribble in, not after `until` of the monotonic clock."""
        body = bytearray(n_bytes)
        rest = memoryview(body)
        while rest:
            left_s = until - time.monotonic()
            if left_s <= 0.0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            received = self._socket.recv_into(rest)
            if not received:
                raise _Lost("it ended")
            rest = rest[received:]
        return body


def _wave(body: bytearray) -> np.ndarray:
    wave = np.frombuffer(body, np.float32) if len(body) % 4 == 0 else np.empty(0, np.float32)
    # what comes out of the cage is as little to be believed as what went in
    if not wave.size or not bool(np.abs(wave).max() <= 1.0):
        raise _Lost("it made no wave")
    return wave


def _raised(body: bytearray) -> NoReturn:
    title, _, message = body.decode("utf-8", "replace").partition("\n")
    if title not in ERRORS:
        raise _Lost("it made no error of ours")
    raise ERRORS[title](message)


@contextmanager
def _as_file(stream: BinaryIO, max_bytes: int) -> Iterator[int]:
    """A descriptor of the recording's file, or of a copy in memory where it has none."""
    if isinstance(stream, io.FileIO):
        yield stream.fileno()
        return
    check_size(stream, max_bytes)
    with ExitStack() as opened_here:
        try:
            fd = os.memfd_create("recording")
            copy = opened_here.enter_context(open(fd, "wb", buffering=0))  # noqa: PTH123
            while block := stream.read(COPIED):
                copy.write(block)
        except OSError as error:
            raise NotReady(f"The recording cannot be handed on: {error.strerror}.") from error
        yield copy.fileno()
