"""What is done with an index that cannot be read: what it knew is saved, and it is thrown away."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from utils.gallery.index import BUSY_TIMEOUT_S, RECORDING_COLUMNS
from utils.gallery.records import Recording


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
    found: dict[str, Recording] = {}
    for columns in (
        RECORDING_COLUMNS,
        RECORDING_COLUMNS.removesuffix(", calibration_id"),
    ):  # version 1 had none
        query = f"SELECT {columns} FROM recording"  # noqa: S608
        with (
            suppress(sqlite3.DatabaseError),  # what was read before the damage is kept
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection,
        ):
            for name, number, enrolled_at, speech_s, *rest in connection.execute(query):
                if all(isinstance(text, str) for text in (name, number, enrolled_at, *rest[:2])):
                    seconds = speech_s if isinstance(speech_s, float) else None
                    found.setdefault(name, Recording(name, number, enrolled_at, seconds, *rest))
    return found


def remove_index(path: Path) -> None:
    """Removes the index and SQLite's files beside it.

    An index without its -wal and -shm, or they without it, would be taken for another state.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
