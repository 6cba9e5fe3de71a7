"""Has gunicorn give up on clients that take too long to send a request.

Each keeps a thread busy as long as it sends: one that vanished in the midst of an upload would
keep it for ever.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class TooSlowToSend(ConnectionResetError):
    """The request did not arrive in time. Gunicorn takes it for a client that has left."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the request did not arrive in time")


class ImpatientSocket:
    """A client's socket, of which reading may have an end in time."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._until: float | None = None

    def expect(self, seconds: float | None) -> None:
        """Has all that is read from now on arrive within so many seconds; None: whenever."""
        self._until = None if seconds is None else time.monotonic() + seconds

    def recv(self, size: int) -> bytes:
        """Reads as a socket does.

        Raises:
            TooSlowToSend: it took too long.
        """
        if self._until is None:
            return self._inner.recv(size)
        self._inner.settimeout(max(self._until - time.monotonic(), 0.001))
        try:
            return self._inner.recv(size)
        except TimeoutError:
            raise TooSlowToSend from None
        finally:
            self._inner.settimeout(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def impatient_worker(seconds: float) -> type[Any]:
    """Makes a worker of threads in which a whole request arrives within so many seconds."""

    class ImpatientWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
        def handle(self, conn: Any) -> object:
            if not isinstance(conn.sock, ImpatientSocket):
                conn.sock = ImpatientSocket(conn.sock)
            conn.sock.expect(seconds)
            return super().handle(conn)

        def handle_request(self, req: Any, conn: Any) -> object:
            if any(name == "UPGRADE" for name, _ in req.headers):
                conn.sock.expect(None)  # who speaks live takes as long as that takes
            return super().handle_request(req, conn)

    return ImpatientWorker
