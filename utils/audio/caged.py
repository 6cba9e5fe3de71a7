"""The inside of the cage: a process that decodes recordings and may do nothing else.

`python -m utils.audio.caged FD MEMORY_MB` is started by `utils.audio.cage`; FD is its end of a
pair of sockets. It loads what decoding takes, gives up every right but those to read what it is
handed and to compute, and then turns recordings, which come as open files, into waves.
"""

from __future__ import annotations

import io
import resource
import socket
import sys
import wave

import pyseccomp

from utils.audio.cage import READY, REPLY, REQUEST
from utils.audio.decoding import AudioLimits, decode
from utils.errors import SpeakerServerError

# What decoding in one thread takes: reading, memory, time, and the socket that is open. Any other
# call of the system fails with EPERM: no file can be opened, no connection or process made.
ALLOWED_CALLS = (
    "brk", "clock_gettime", "clock_nanosleep", "close", "exit", "exit_group", "fstat", "futex",
    "getpid", "getrandom", "getrusage", "gettid", "gettimeofday", "lseek", "madvise", "mmap",
    "mprotect", "mremap", "munmap", "nanosleep", "newfstatat", "poll", "pread64", "prlimit64",
    "read", "readv", "recvfrom", "recvmsg", "restart_syscall", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sched_yield", "sendmsg", "sendto", "setrlimit", "sigaltstack", "tgkill",
    "write",
)  # fmt: skip
OPEN_FILES = 16
CPU_GRACE_S = 2  # beyond what a recording may take, before the system ends the process


def main() -> None:
    fd, memory_mb = (int(each) for each in sys.argv[1:])
    with socket.socket(fileno=fd) as server:
        _warm_up()
        _give_up_rights(memory_mb << 20)
        server.sendall(READY)
        while _answer(server):
            pass


def _answer(server: socket.socket) -> bool:
    """Decodes one recording; False when the server has closed its end."""
    head, fds, _, _ = socket.recv_fds(server, REQUEST.size, 1)
    if not head:
        return False
    max_bytes, max_seconds, max_decode_s = REQUEST.unpack(head)
    _allow_cpu(max_decode_s)
    with io.FileIO(fds[0], "rb") as recording:
        try:
            samples = decode(recording, AudioLimits(max_bytes, max_seconds, max_decode_s))
        except SpeakerServerError as error:
            is_wave, body = False, f"{error.title}\n{error}".encode()
        else:
            is_wave, body = True, samples.tobytes()
    server.sendall(REPLY.pack(is_wave, len(body)))
    server.sendall(body)
    return True


def _warm_up() -> None:
    """Has Python and FFmpeg load what they load late, while files can still be opened."""
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(4 * 4_410))
    decode(recording)
    for broken in (b"RIFF", bytes(64)):
        try:
            decode(broken)
        except SpeakerServerError as error:
            str(error).encode()


def _give_up_rights(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a voice
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))  # EPERM
    for name in ALLOWED_CALLS:
        calls.add_rule(pyseccomp.ALLOW, name)
    calls.load()


def _allow_cpu(seconds: float) -> None:
    """Lets the system end this process when one recording takes much longer than it may."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + CPU_GRACE_S
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, most))


if __name__ == "__main__":
    main()
