"""Who is heard when: so many recordings at once, a bounded queue behind them, first come first.

Hearing a recording keeps a core busy; more of them at once make each slower and none sooner. One
turn is one recording, so that a request with a hundred of them goes to the back of the queue a
hundred times, and whoever asks about one waits for few.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from utils.errors import Overloaded


class Admission:
    """A queue for one process; safe between threads."""

    def __init__(self, at_once: int, most_waiting: int, wait_s: float) -> None:
        """Lets so many in at once, has so many wait, and each for so long at most."""
        self._lock = threading.Lock()
        self._free = at_once
        self._queue: deque[threading.Event] = deque()
        self._most_waiting = most_waiting
        self._wait_s = wait_s

    @property
    def is_full(self) -> bool:
        """Whether `turn` would raise at once, for now."""
        return not self._free and len(self._queue) >= self._most_waiting

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn, and gives it back at the end.

        Raises:
            Overloaded: too many wait already, or it took too long.
        """
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._free:  # then nobody waits
                self._free -= 1
                return
            if len(self._queue) >= self._most_waiting:
                raise Overloaded
            ticket = threading.Event()
            self._queue.append(ticket)
        if ticket.wait(self._wait_s):
            return
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
                raise Overloaded
            # else the turn came at the last moment

    def _leave(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1


def no_queue() -> Admission:
    """Lets everybody in, where nobody asks over a network."""
    return Admission(at_once=1 << 30, most_waiting=0, wait_s=math.inf)
