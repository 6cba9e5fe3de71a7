"""What a server's processes take while it is tried: who lives, and how much memory they hold."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY_S = 0.5
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Looks at a process and all below it, twice a second, until it is left."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.first = self.last = self.peak = _memory(pid)
        """MB in all processes of a kind: "server" and "decoder"."""
        self.largest_decoder = 0.0  # MB

    @property
    def workers(self) -> set[int]:
        """The server processes that answer."""
        return {pid for pid in _children(self._pid) if not _is_decoder(pid)}

    @property
    def decoders(self) -> list[int]:
        """The decoding processes."""
        return [pid for pid in _below(self._pid) if _is_decoder(pid)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    def _look(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._note()

    def _note(self) -> None:
        self.last = _memory(self._pid)
        self.peak = {kind: max(self.peak[kind], mb) for kind, mb in self.last.items()}
        self.largest_decoder = max([self.largest_decoder, *map(_resident, self.decoders)])


def _memory(pid: int) -> dict[str, float]:
    held = {"server": 0.0, "decoder": 0.0}
    for one in [pid, *_below(pid)]:
        held["decoder" if _is_decoder(one) else "server"] += _resident(one)
    return held


def _below(pid: int) -> list[int]:
    found = _children(pid)
    for child in list(found):
        found += _below(child)
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text() for task in tasks]
    except OSError:  # it has ended
        return []
    return [int(one) for text in texts for one in text.split()]


def _is_decoder(pid: int) -> bool:
    try:
        return b"utils.audio.caged" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError):
        return 0.0
