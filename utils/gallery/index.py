"""The gallery's index in SQLite: what is known about the files, and each speaker's centroid.

It can be made again from the files, so a broken one is thrown away and not repaired. Whoever
changes something here holds the gallery's writer lock; reading needs no lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from utils.gallery.records import Changes, Entry, FileStat, Plan, Recording
from utils.gallery.rules import centroids_by_network
from utils.scoring import EMBEDDING_SIZE, check_unit_rows
from utils.sealing import Seal

SCHEMA_VERSION = 3
_APPLICATION_ID = 0x53504B31  # "SPK1": tells our files from any other SQLite database
BUSY_TIMEOUT_S = 30.0  # writers take turns by the writer lock; this is for SQLite's own moments

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
    calibration_id TEXT,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL
);
CREATE INDEX recording_speaker ON recording (speaker_id);
CREATE TABLE speaker (
    slot INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker_id TEXT,
    model_id TEXT NOT NULL,
    centroid BLOB,
    changed INTEGER NOT NULL,
    UNIQUE (speaker_id, model_id)
);
CREATE INDEX speaker_changed ON speaker (changed);
CREATE TABLE profile (
    speaker_id TEXT PRIMARY KEY,
    document BLOB NOT NULL,
    consent_until TEXT,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL
);
CREATE TABLE intent (speaker_id TEXT PRIMARY KEY, plan TEXT NOT NULL);
CREATE TABLE state (change INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
"""
RECORDING_COLUMNS = "file_name, number, enrolled_at, speech_s, sha256, model_id, calibration_id"
_MARK = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"


class BrokenIndex(sqlite3.DatabaseError):
    """Not an index of ours, of another version, or damaged."""


class Index:
    """One connection to the index. One thread at a time may use it."""

    def __init__(self, path: Path, seal: Seal) -> None:
        """Opens the index, and makes an empty one where there is none.

        Args:
            seal: of the centroids and profiles; IDs, times and numbers are never sealed.

        Raises:
            BrokenIndex: another file stands there.
            sqlite3.Error: it cannot be opened; `is_broken` says whether it is damaged.
        """
        self._path = path
        self._seal = seal
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
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

    def check(self) -> None:
        """Looks at every page: damage is met at the start, and not in the midst of a change.

        Raises:
            BrokenIndex: there is some.
        """
        found = self._rows("PRAGMA quick_check(1)")
        if found != [("ok",)]:
            raise BrokenIndex(str(found[0][0]))

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
        query = f"SELECT {RECORDING_COLUMNS} FROM recording WHERE speaker_id = ? ORDER BY file_name"  # noqa: S608
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
        centroids = centroids_by_network([(one.recording, one.embeddings) for one in entries])
        change = self._next_change()
        self._execute("DELETE FROM recording WHERE speaker_id = ?", (speaker_id,))
        self._connection.executemany(
            f"INSERT INTO recording ({RECORDING_COLUMNS}, size, mtime_ns, speaker_id)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                (
                    speaker_id,
                    model_id,
                    self._seal.seal(row.astype("<f4").tobytes(), speaker_id),
                    change,
                )
                for model_id, row in centroids.items()
            ],
        )

    def put_profile(
        self, speaker_id: str, profile: tuple[str, str | None, FileStat] | None
    ) -> None:
        """Makes this a speaker's profile: document, end of the consent, stat of its file.

        Belongs into a `transaction`.
        """
        self._execute("DELETE FROM profile WHERE speaker_id = ?", (speaker_id,))
        if profile:
            document, until, stat = profile
            kept = self._seal.seal(document.encode(), speaker_id)
            values = (speaker_id, kept, until, *astuple(stat))
            self._execute("INSERT INTO profile VALUES (?, ?, ?, ?, ?)", values)
        change = self._next_change()
        self._execute("UPDATE speaker SET changed = ? WHERE speaker_id = ?", (change, speaker_id))

    def profile(self, speaker_id: str) -> str | None:
        """The document of a speaker's profile.

        Raises:
            BrokenIndex: it is not as it was put.
        """
        rows = self._rows("SELECT document FROM profile WHERE speaker_id = ?", (speaker_id,))
        try:
            return self._seal.unseal(rows[0][0], speaker_id).decode() if rows else None
        except ValueError as error:
            raise BrokenIndex(f"a profile is damaged: {error}") from error

    def profile_files(self) -> dict[str, FileStat]:
        """By speaker, the stat at which the profile's file was read."""
        rows = self._rows("SELECT speaker_id, size, mtime_ns FROM profile")
        return {speaker_id: FileStat(*stat) for speaker_id, *stat in rows}

    def expired(self, now: str) -> list[str]:
        """The speakers whose consent had ended by a time, UTC in ISO 8601."""
        query = "SELECT speaker_id FROM profile WHERE consent_until <= ? ORDER BY speaker_id"
        return [speaker_id for (speaker_id,) in self._rows(query, (now,))]

    def speakers(self, query: str, offset: int, limit: int) -> tuple[list[str], int]:
        """A page of the IDs, in order, that a text occurs in whatever its case; and how many do."""
        self._connection.create_function("casefold", 1, str.casefold, deterministic=True)
        where = "FROM recording WHERE ? = '' OR instr(casefold(speaker_id), ?)"
        text = query.casefold()
        [(total,)] = self._rows(f"SELECT COUNT(DISTINCT speaker_id) {where}", (text, text))
        page = self._rows(
            f"SELECT DISTINCT speaker_id {where} ORDER BY speaker_id LIMIT ? OFFSET ?",
            (text, text, limit, offset),
        )
        return [speaker_id for (speaker_id,) in page], total

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
                " speaker.speaker_id AND recording.model_id = speaker.model_id),"
                " (SELECT consent_until FROM profile"
                " WHERE profile.speaker_id = speaker.speaker_id)"
                " FROM speaker WHERE changed > ? AND model_id = ?",
                (-1 if everything else since, model_id),
            )
        finally:
            self._execute("COMMIT")
        here = [row for row in rows if row[1] is not None]
        return Changes(
            change=change,
            everything=everything,
            emptied=[row[0] for row in rows if row[1] is None],
            speakers=[row[:2] for row in here],
            centroids=self._centroids(here),
            enrolled_s=[row[3] for row in here],
            consent_until=[row[4] for row in here],
        )

    def forget_emptied(self) -> None:
        """Removes the rows of speakers that have left."""
        if self._rows("SELECT 1 FROM speaker WHERE speaker_id IS NULL LIMIT 1"):
            with self.transaction():
                self._execute("DELETE FROM speaker WHERE speaker_id IS NULL")
                self._execute("UPDATE state SET forgotten = change")

    def put_intent(self, plan: Plan) -> None:
        """Commits to a change before its first file is touched."""
        with self.transaction():
            values = (plan.speaker_id, plan.to_json())
            self._execute("INSERT INTO intent (speaker_id, plan) VALUES (?, ?)", values)

    def intents(self) -> list[Plan]:
        """The changes that were begun and not finished."""
        return [Plan.from_json(text) for (text,) in self._rows("SELECT plan FROM intent")]

    def clear_intent(self, speaker_id: str) -> None:
        self._execute("DELETE FROM intent WHERE speaker_id = ?", (speaker_id,))

    def empty_log(self) -> None:
        """Takes what was deleted out of the write-ahead log too, unless somebody reads just now."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def _centroids(self, speakers: Iterable[Sequence[Any]]) -> np.ndarray:
        """Puts centroids under each other, of slots, IDs and blobs: float32 (n, 64)."""
        try:
            blobs = [self._seal.unseal(blob, speaker_id) for _, speaker_id, blob, *_ in speakers]
            rows = np.frombuffer(b"".join(blobs), "<f4").reshape(-1, EMBEDDING_SIZE)
            if len(rows):
                check_unit_rows(rows)  # a damaged page is not always one that SQLite notices
        except (AttributeError, TypeError, ValueError) as error:
            raise BrokenIndex(f"the centroids are damaged: {error}") from error
        return rows

    def _next_change(self) -> int:
        self._execute("UPDATE state SET change = change + 1")
        [(change,)] = self._rows("SELECT change FROM state")
        return int(change)

    def _execute(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values).close()

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        # Always to the end: a cursor left half-way holds its read transaction open.
        return self._connection.execute(query, values).fetchall()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
