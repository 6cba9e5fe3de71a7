"""Enrolled voices: .npy files that are the truth, an index over them, exact search in memory.

    gallery/
      voice_gallery/    one .npy a recording, named as `speaker_id.recording_file_name` has it
      index.sqlite      what is known about the files; made again from them when it is missing
      .lock             whose holder alone writes; the kernel frees it when the holder dies
      .writing          there while files are written; left by a writer that did not finish

How a change stays whole: a new recording is written under a temporary name, seen to the disk,
renamed, and only then committed to the index. A change of several files (a re-registration, a
deletion) is first committed as an intent; whoever takes the lock after its writer died carries it
out before anything else. All of it holds for several threads and processes over one folder.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout

from utils.errors import NotReady
from utils.gallery import files
from utils.gallery.files import Skipped
from utils.gallery.index import (
    Index,
    IndexReplaced,
    Recording,
    is_broken,
    remove_index,
    salvage,
)
from utils.gallery.snapshot import Snapshot, View
from utils.gallery.writer import Writer
from utils.scoring import Candidate
from utils.speaker_id import check_speaker_id

__all__ = ["Candidate", "Gallery", "Recording", "Skipped", "Snapshot"]

# A change takes some 10 ms; a recovery of 10,000 files without an index takes seconds.
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.002

log = logging.getLogger(__name__)
T = TypeVar("T")


class Gallery:
    """The open gallery of one network; safe to share between the threads of one process.

    Each process opens its own, after the fork. `skipped` names the files that take no part:
    torn or foreign ones, and those that another network made.
    """

    def __init__(self, folder: Path, model_id: str) -> None:
        """Opens a gallery, and makes an empty one where there is none.

        Finishes what a killed writer left, takes in files that were copied into the folder (as
        made by this network: a file does not say by which), drops what is known of files that
        are gone. With an intact index no file is opened for it.

        Args:
            folder: holds voice_gallery/ and index.sqlite.
            model_id: the network whose embeddings are searched; those of others stay where
                they are and take no part.

        Raises:
            NotReady: the folder cannot be written, the disk is full, or another process has
                been writing for a minute.
        """
        self.skipped: list[Skipped] = []
        self._folder = folder
        self._model_id = model_id
        self._process = os.getpid()
        self._is_closed = False
        # Both: the lock of the file system is the process's, whichever thread took it.
        self._thread_lock = threading.Lock()
        self._file_lock = FileLock(folder / ".lock", thread_local=False)
        with _errors_translated("opened"):
            files.make_folder(folder / "voice_gallery")
            with self._locked():
                self._open()

    def register(
        self, speaker_id: str, number: str, embeddings: np.ndarray, speech_s: float
    ) -> None:
        """Enrols a new speaker with one recording; durable when this returns.

        A speaker of whom there are only another network's recordings is new to this one: the
        recording replaces those.

        Args:
            speaker_id: as `check_speaker_id` takes it.
            number: of the recording, digits.
            embeddings: (segments, 64) floats, segments at least 1, rows of unit length.
            speech_s: seconds of speech that the embeddings are of.

        Raises:
            AlreadyEnrolled: the ID is known.
            BadSpeakerId, BadField: the ID or the number is none.
            NotReady: the disk does not take it; nothing is changed then.
            ValueError: the embeddings are none.
        """
        speaker_id = check_speaker_id(speaker_id)
        data = files.encode_embeddings(embeddings)
        with self._writing() as writer:
            writer.enrol(speaker_id, number, data, speech_s)

    def replace(
        self, speaker_id: str, number: str, embeddings: np.ndarray, speech_s: float
    ) -> None:
        """Makes one recording all that is enrolled of a speaker, known or not.

        Args and errors as `register`, without AlreadyEnrolled. After NotReady the old
        recordings are enrolled; or, where the disk failed at the very end, the new one will be
        as soon as the disk takes it.
        """
        speaker_id = check_speaker_id(speaker_id)
        data = files.encode_embeddings(embeddings)
        with self._writing() as writer:
            writer.replace(speaker_id, number, data, speech_s)

    def add(
        self, speaker_id: str, number: str, embeddings: np.ndarray, speech_s: float, most: int
    ) -> None:
        """Lets a recording answer together with those that are enrolled of a speaker.

        The speaker's centroid is of the segments of all, each of unit length.

        Args:
            most: recordings that a speaker may have.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            AlreadyEnrolled: there is a recording of this number.
            TooManyRecordings: there are `most` already.
            BadSpeakerId, BadField, NotReady, ValueError: as `register`.
        """
        speaker_id = check_speaker_id(speaker_id)
        data = files.encode_embeddings(embeddings)
        with self._writing() as writer:
            writer.add(speaker_id, number, data, speech_s, most)

    def delete(self, speaker_id: str) -> None:
        """Removes all recordings of a speaker, those of other networks and broken ones too.

        Raises:
            NotEnrolled: there is no recording.
            BadSpeakerId: not an ID.
            NotReady: as `replace`.
        """
        speaker_id = check_speaker_id(speaker_id)
        with self._writing() as writer:
            writer.delete(speaker_id)

    def search(self, probe: np.ndarray, top: int = 5) -> list[Candidate]:
        """Finds the speakers nearest to a probe, exactly.

        Args:
            probe: (64,) floats, of unit length.
            top: at least 1, how many are wanted.

        Returns:
            At most `top`, best first, equal scores in the order of their IDs; none when nobody
            is enrolled.

        Raises:
            NotReady: the index cannot be read.
            ValueError: the probe is none, or `top` is below 1.
        """
        return self.snapshot().search(probe, top)

    def snapshot(self) -> Snapshot:
        """All that any process has committed, for several questions about one moment.

        Raises:
            NotReady: the index cannot be read.
        """
        return self._read(View.snapshot)

    def __contains__(self, speaker_id: str) -> bool:
        return check_speaker_id(speaker_id) in self.snapshot()

    def __len__(self) -> int:
        return self.snapshot().count

    def speaker_ids(self) -> list[str]:
        """All that can be found, in order."""
        now = self.snapshot()
        return sorted(now.ids[: now.count])

    def recordings(self, speaker_id: str) -> list[Recording]:
        """What is known of a speaker's recordings, by file name; none of an unknown one."""
        speaker_id = check_speaker_id(speaker_id)
        return self._read(lambda view: view.recordings(speaker_id))

    def embeddings(self, speaker_id: str) -> dict[str, np.ndarray]:
        """What is in the files of a speaker, by file name: float32 (segments, 64) each.

        Files of other networks, and those that cannot be read, are left out.
        """
        found = {}
        for recording in self.recordings(speaker_id):
            if recording.model_id == self._model_id:
                with suppress(OSError, ValueError):
                    stored = files.read_recording(
                        self._folder / "voice_gallery", recording.file_name
                    )
                    found[recording.file_name] = stored.embeddings
        return found

    def close(self) -> None:
        """Lets the index go. The gallery is not to be used after it."""
        with self._thread_lock:
            if not self._is_closed:
                self._is_closed = True
                self._view.close()
                self._index.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, ask: Callable[[View], T]) -> T:
        """Asks the view, which shows all that any process has committed."""
        self._check_usable()
        with _errors_translated("read"):
            try:
                return ask(self._view)
            except IndexReplaced:
                with self._writing():  # opens the index again
                    pass
                return ask(self._view)

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """Makes this thread the only writer of all, with nothing left to finish from others."""
        self._check_usable()
        with _errors_translated("written"), self._locked():
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
            index = undo.enter_context(closing(Index(path)))
            files.sync_folder(self._folder)
            writer = Writer(self._folder, index, self._model_id)
            skipped = writer.recover(remembered)
            view = undo.enter_context(closing(View(Index(path), self._model_id)))
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
