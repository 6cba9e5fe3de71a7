"""Has a view learn of changes when they are made, so that the next request need not.

Nothing depends on it: every snapshot asks for the number of the last change, so that a lost
notification costs the next request the reading and nothing else.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from select import select

import psycopg

from utils.errors import NotReady
from utils.gallery.records import IndexReplaced
from utils.postgres.database import Database
from utils.postgres.rows import CHANNEL

AGAIN_S = 5.0  # after the connection was lost

log = logging.getLogger(__name__)


class Follower:
    """A thread that listens, on a connection of its own."""

    def __init__(self, database: Database, collection_id: int, learn: Callable[[], object]) -> None:
        """Starts to listen.

        Args:
            learn: called after every change of the collection, and whenever listening begins.
        """
        self._database = database
        self._payload = str(collection_id)
        self._learn = learn
        self._stopped = threading.Event()
        self._alarm, self._bed = socket.socketpair()  # wakes the thread for its end
        self._thread = threading.Thread(target=self._follow, name="gallery-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._alarm.send(b"!")
        self._thread.join()
        self._alarm.close()
        self._bed.close()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except IndexReplaced:
                return  # whoever asks next finds the collection again, or that it is gone
            except (psycopg.Error, NotReady):
                log.info("not told of changes for a while; requests ask for them")
                self._stopped.wait(AGAIN_S)

    def _listen(self) -> None:
        with closing(self._database.connect()) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._learn()  # of what happened before anybody listened
            while not self._stopped.is_set():
                select([connection.fileno(), self._bed.fileno()], [], [])
                told = [one.payload for one in connection.notifies(timeout=0)]
                if self._payload in told:
                    self._learn()
