"""Who may read and write an open gallery, and when: locks, recovery, forks, errors in words."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from utils.errors import NotReady
from utils.gallery import files
from utils.gallery.index import Index
from utils.gallery.mark import mark_folder
from utils.gallery.names import VOICES
from utils.gallery.records import IndexReplaced, Network, Recording, Skipped
from utils.gallery.salvage import is_broken, remove_index, salvage
from utils.gallery.snapshot import View
from utils.gallery.writer import Writer
from utils.sealing import Seal

# A change takes some 10 ms; a recovery of 10,000 files without an index takes seconds.
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.002

log = logging.getLogger(__name__)
T = TypeVar("T")


class Store:
    """An open gallery's folder, index and locks. `FolderGallery` says what can be done with it.

    Each process opens its own, after the fork. `skipped` names the files that take no part:
    torn or foreign ones, and those that another network made.
    """

    def __init__(self, folder: Path, network: Network, seal: Seal) -> None:
        """Opens a gallery, and makes an empty one where there is none; see `FolderGallery`."""
        self.skipped: list[Skipped] = []
        self._folder = folder
        self._network = network
        self._seal = seal
        self._process = os.getpid()
        self._is_closed = False
        # Both: the lock of the file system is the process's, whichever thread took it.
        self._thread_lock = threading.Lock()
        self._file_lock = FileLock(folder / ".lock", thread_local=False)
        with _errors_translated("opened"):
            files.make_folder(folder / VOICES)
            with self._locked():
                mark_folder(folder, seal)
                self._open()

    def close(self) -> None:
        """Lets the index go. The gallery is not to be used after it."""
        with self._thread_lock:
            if not self._is_closed:
                self._is_closed = True
                self._view.close()
                self._index.close()

    def read(self, ask: Callable[[View[Index]], T]) -> T:
        """Asks the view, which shows all that any process has committed."""
        self._check_usable()
        with _errors_translated("read"):
            try:
                return ask(self._view)
            except IndexReplaced:
                with self.writing():  # opens the index again
                    pass
                return ask(self._view)

    def ask(self, ask: Callable[[Index], T]) -> T:
        """Asks the index itself, which is for one thread at a time."""

        def of_view(view: View[Index]) -> T:
            with view.index() as index:
                return ask(index)

        return self.read(of_view)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Makes this thread the only writer of all, with nothing left to finish from others."""
        self._check_usable()
        with _errors_translated("written"), self._locked():
            mark_folder(self._folder, self._seal)  # another process may have, meanwhile
            if self._index.is_replaced():
                self._view.close()
                self._index.close()
                self._open()
            elif self._writer.is_interrupted():
                self.skipped = self._writer.recover({})
            yield self._writer

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (
            self._thread_lock,
            self._file_lock.acquire(timeout=_LOCK_TIMEOUT_S, poll_interval=_LOCK_POLL_S),
        ):
            yield

    def _open(self) -> None:
        """Opens the index, or a new one in the place of one that is broken."""
        path = self._folder / "index.sqlite"
        if not path.exists():
            remove_index(path)  # what may lie beside it belongs to another one
        try:
            self._connect(path, {})
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            log.warning("the index is made again from the files; it was not readable: %s", error)
            remembered = salvage(path)
            remove_index(path)
            self._connect(path, remembered)

    def _connect(self, path: Path, remembered: Mapping[str, Recording]) -> None:
        started = time.perf_counter()
        with ExitStack() as undo:
            index = undo.enter_context(closing(Index(path, self._seal)))
            index.check()
            files.sync_folder(self._folder)
            writer = Writer(self._folder, index, self._network, self._seal)
            skipped = writer.recover(remembered)
            view = undo.enter_context(
                closing(View(Index(path, self._seal), self._network.model_id))
            )
            n_speakers = view.snapshot().count
            undo.pop_all()
        self._index, self._writer, self._view, self.skipped = index, writer, view, skipped
        milliseconds = 1e3 * (time.perf_counter() - started)
        log.info(
            "gallery open: %d speakers, %d files skipped, %.0f ms",
            n_speakers,
            len(skipped),
            milliseconds,
        )

    def _check_usable(self) -> None:
        """A connection to SQLite must not be carried through a fork."""
        if self._is_closed or os.getpid() != self._process:
            raise RuntimeError("the gallery is closed, or was opened before this process's fork")


@contextmanager
def _errors_translated(doing: str) -> Iterator[None]:
    """Says what the disk did in one sentence, without the paths, which hold speaker IDs."""
    try:
        yield
    except Timeout as error:
        raise NotReady(
            f"Another process has been writing to the gallery for {_LOCK_TIMEOUT_S:.0f} s; "
            "try again."
        ) from error
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotReady(
            f"The gallery cannot be {doing}: {reason}. Check that its folder can be written and "
            "that the disk is not full."
        ) from error
