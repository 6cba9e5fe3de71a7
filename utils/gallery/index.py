"""The gallery's index in SQLite: what is known about the files, and each speaker's centroid.

It can be made again from the files, so a broken one is thrown away and not repaired. Whoever
changes something here holds the gallery's writer lock; reading needs no lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.gallery.files import FileStat
from utils.scoring import EMBEDDING_SIZE, centroid, check_unit_rows

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x53504B31  # "SPK1": tells our files from any other SQLite database
_BUSY_TIMEOUT_S = 30.0  # writers take turns by the writer lock; this is for SQLite's own moments

# A speaker that leaves keeps its row, without ID and centroid, so that other processes can drop it
# by its slot: nothing of a deleted person is left. `forgotten` is the last change whose emptied
# rows are gone: who has not seen it reads everything anew.
_SCHEMA = """
CREATE TABLE recording (
    file_name TEXT PRIMARY KEY,
    speaker_id TEXT NOT NULL,
    number TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    speech_s REAL,
    sha256 TEXT NOT NULL,
    model_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL
);
CREATE INDEX recording_speaker ON recording (speaker_id);
CREATE TABLE speaker (
    slot INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker_id TEXT,
    model_id TEXT NOT NULL,
    centroid BLOB CHECK (length(centroid) = 256),
    changed INTEGER NOT NULL,
    UNIQUE (speaker_id, model_id)
);
CREATE INDEX speaker_changed ON speaker (changed);
CREATE TABLE intent (
    speaker_id TEXT PRIMARY KEY,
    file_name TEXT,
    number TEXT,
    enrolled_at TEXT,
    speech_s REAL,
    sha256 TEXT,
    model_id TEXT,
    temporary TEXT
);
CREATE TABLE state (change INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
"""
_MARK = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"


class BrokenIndex(sqlite3.DatabaseError):
    """Not an index of ours, of another version, or damaged."""


class IndexReplaced(Exception):
    """The index's file was removed or exchanged while it was open."""


@dataclass(frozen=True)
class Recording:
    """What is known about one enrolment recording."""

    file_name: str  # under voice_gallery/
    number: str
    enrolled_at: str  # UTC, ISO 8601; of a file that was copied in, its time of modification
    speech_s: float | None  # None: not known, the file was copied in
    sha256: str  # of the file, hex
    model_id: str  # the network that made the embeddings


@dataclass(frozen=True)
class Entry:
    """A recording with what the index derives from its file."""

    recording: Recording
    stat: FileStat
    embeddings: np.ndarray  # float32 (segments, 64), rows of unit length


@dataclass(frozen=True)
class Intent:
    """A change of several steps that was begun: whoever finds it carries it out."""

    speaker_id: str
    recording: Recording | None = None  # all that the speaker is to have; None for a deletion
    temporary: str | None = None  # the name under which the recording's file waits


@dataclass(frozen=True)
class Changes:
    """What happened to one network's speakers since a change that the reader has seen."""

    change: int  # the last one
    everything: bool  # whether `speakers` is all there is, and not a difference
    emptied: list[int]  # slots whose speakers have left
    speakers: list[Any]  # slot and ID
    centroids: np.ndarray  # float32 (len(speakers), 64), rows of unit length
    enrolled_s: list[float | None]  # of speech in all recordings; None: not known of one of them


class Index:
    """One connection to the index. One thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        """Opens the index, and makes an empty one where there is none.

        Raises:
            BrokenIndex: another file stands there.
            sqlite3.Error: it cannot be opened; `is_broken` says whether it is damaged.
        """
        self._path = path
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._execute("PRAGMA synchronous = FULL")
            self._execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
            if not self._rows("SELECT 1 FROM sqlite_master LIMIT 1"):
                self._execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_MARK} COMMIT")
            [(application_id,)] = self._rows("PRAGMA application_id")
            [(version,)] = self._rows("PRAGMA user_version")
            if (application_id, version) != (_APPLICATION_ID, SCHEMA_VERSION):
                raise BrokenIndex(f"version {version} of application {application_id:#x}")
            self._identity = _identity(path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def is_replaced(self) -> bool:
        """Whether the path leads to another file by now, or to none."""
        try:
            return _identity(self._path) != self._identity
        except FileNotFoundError:
            return True

    def data_version(self) -> int:
        """A number that is another one after another connection has committed; costs 10 us."""
        [(version,)] = self._rows("PRAGMA data_version")
        return int(version)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all or nothing; when it is left, the change is on the disk."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def is_enrolled(self, speaker_id: str, model_id: str) -> bool:
        query = "SELECT 1 FROM speaker WHERE speaker_id = ? AND model_id = ?"
        return bool(self._rows(query, (speaker_id, model_id)))

    def recordings(self, speaker_id: str) -> list[Recording]:
        """All recordings of one speaker, whichever network made them, by file name."""
        query = (
            "SELECT file_name, number, enrolled_at, speech_s, sha256, model_id FROM recording"
            " WHERE speaker_id = ? ORDER BY file_name"
        )
        return [Recording(*row) for row in self._rows(query, (speaker_id,))]

    def files(self) -> dict[str, tuple[str, FileStat]]:
        """Every known file, with its speaker and the stat at which it was read."""
        rows = self._rows("SELECT file_name, speaker_id, size, mtime_ns FROM recording")
        return {name: (speaker_id, FileStat(*stat)) for name, speaker_id, *stat in rows}

    def foreign_files(self, model_id: str) -> list[Any]:
        """The files that other networks than this one made: name and network."""
        query = "SELECT file_name, model_id FROM recording WHERE model_id <> ? ORDER BY file_name"
        return self._rows(query, (model_id,))

    def put_speaker(self, speaker_id: str, entries: Sequence[Entry]) -> None:
        """Makes these recordings all that a speaker has; with none, the speaker leaves.

        Belongs into a `transaction`.

        Raises:
            ValueError: the recordings cancel each other out; nothing is changed then.
        """
        embeddings: dict[str, list[np.ndarray]] = {}
        for entry in entries:
            embeddings.setdefault(entry.recording.model_id, []).append(entry.embeddings)
        centroids = {model: centroid(np.concatenate(rows)) for model, rows in embeddings.items()}
        self._execute("UPDATE state SET change = change + 1")
        [(change,)] = self._rows("SELECT change FROM state")
        self._execute("DELETE FROM recording WHERE speaker_id = ?", (speaker_id,))
        self._connection.executemany(
            "INSERT INTO recording (file_name, number, enrolled_at, speech_s, sha256, model_id,"
            " size, mtime_ns, speaker_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*astuple(entry.recording), *astuple(entry.stat), speaker_id) for entry in entries],
        )
        query = "SELECT slot, model_id FROM speaker WHERE speaker_id = ?"
        for slot, model_id in self._rows(query, (speaker_id,)):
            if model_id not in centroids:
                self._execute(
                    "UPDATE speaker SET speaker_id = NULL, centroid = NULL, changed = ?"
                    " WHERE slot = ?",
                    (change, slot),
                )
        self._connection.executemany(
            "INSERT INTO speaker (speaker_id, model_id, centroid, changed) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (speaker_id, model_id)"
            " DO UPDATE SET centroid = excluded.centroid, changed = excluded.changed",
            [
                (speaker_id, model_id, row.astype("<f4").tobytes(), change)
                for model_id, row in centroids.items()
            ],
        )

    def changes(self, since: int, model_id: str) -> Changes:
        """What happened to the speakers of one network after the change `since`; -1 for all.

        Raises:
            BrokenIndex: a centroid is not of unit length.
        """
        self._execute("BEGIN")
        try:
            [(change, forgotten)] = self._rows("SELECT change, forgotten FROM state")
            everything = since < forgotten or since > change
            rows = self._rows(
                "SELECT slot, speaker_id, centroid, (SELECT CASE WHEN COUNT(*) = COUNT(speech_s)"
                " THEN SUM(speech_s) END FROM recording WHERE recording.speaker_id ="
                " speaker.speaker_id AND recording.model_id = speaker.model_id)"
                " FROM speaker WHERE changed > ? AND model_id = ?",
                (-1 if everything else since, model_id),
            )
        finally:
            self._execute("COMMIT")
        here = [row for row in rows if row[1] is not None]
        return Changes(
            change=change,
            everything=everything,
            emptied=[slot for slot, speaker_id, _, _ in rows if speaker_id is None],
            speakers=[(slot, speaker_id) for slot, speaker_id, _, _ in here],
            centroids=_centroids(blob for _, _, blob, _ in here),
            enrolled_s=[seconds for *_, seconds in here],
        )

    def forget_emptied(self) -> None:
        """Removes the rows of speakers that have left."""
        if self._rows("SELECT 1 FROM speaker WHERE speaker_id IS NULL LIMIT 1"):
            with self.transaction():
                self._execute("DELETE FROM speaker WHERE speaker_id IS NULL")
                self._execute("UPDATE state SET forgotten = change")

    def put_intent(self, intent: Intent) -> None:
        """Commits to a change before its first file is touched."""
        recording = astuple(intent.recording) if intent.recording else (None,) * 6
        with self.transaction():
            self._execute(
                "INSERT INTO intent (speaker_id, temporary, file_name, number, enrolled_at,"
                " speech_s, sha256, model_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (intent.speaker_id, intent.temporary, *recording),
            )

    def intents(self) -> list[Intent]:
        """The changes that were begun and not finished."""
        rows = self._rows(
            "SELECT speaker_id, temporary, file_name, number, enrolled_at, speech_s, sha256,"
            " model_id FROM intent"
        )
        return [
            Intent(speaker_id, None if recording[0] is None else Recording(*recording), temporary)
            for speaker_id, temporary, *recording in rows
        ]

    def clear_intent(self, speaker_id: str) -> None:
        self._execute("DELETE FROM intent WHERE speaker_id = ?", (speaker_id,))

    def empty_log(self) -> None:
        """Takes what was deleted out of the write-ahead log too, unless somebody reads just now."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def _execute(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values).close()

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        # Always to the end: a cursor left half-way holds its read transaction open.
        return self._connection.execute(query, values).fetchall()


def is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether an index must be made again, as against a full disk, a lock, a missing right."""
    # Without a code it is Python that could not read a value: text that is not UTF-8.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    missing_table = sqlite3.SQLITE_ERROR
    return code in {missing_table, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def salvage(path: Path) -> dict[str, Recording]:
    """Reads out of a broken index, or one of another version, what the files do not say.

    Returns:
        By file name what could be read; to be believed where the file has that SHA-256.
    """
    query = "SELECT file_name, number, enrolled_at, speech_s, sha256, model_id FROM recording"
    found: dict[str, Recording] = {}
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
            for name, number, enrolled_at, speech_s, *rest in connection.execute(query):
                if all(isinstance(text, str) for text in (name, number, enrolled_at, *rest)):
                    seconds = speech_s if isinstance(speech_s, float) else None
                    found[name] = Recording(name, number, enrolled_at, seconds, *rest)
    except sqlite3.DatabaseError:
        pass  # what was read before the damage is kept
    return found


def remove_index(path: Path) -> None:
    """Removes the index and SQLite's files beside it.

    An index without its -wal and -shm, or they without it, would be taken for another state.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _centroids(blobs: Iterable[bytes]) -> np.ndarray:
    """Puts centroids under each other: float32 (n, 64)."""
    try:
        rows = np.frombuffer(b"".join(blobs), "<f4").reshape(-1, EMBEDDING_SIZE)
        if len(rows):
            check_unit_rows(rows)  # a damaged page is not always one that SQLite notices
    except (TypeError, ValueError) as error:
        raise BrokenIndex(f"the centroids are damaged: {error}") from error
    return rows
