"""What searching threads learn from the database: all centroids at the start, then what changed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import psycopg

from utils.errors import NotReady
from utils.gallery.records import Changes, IndexReplaced
from utils.postgres.database import Database
from utils.scoring import EMBEDDING_SIZE, check_unit_rows

# A row of binary COPY: every column with its length before it, and all of them of fixed length
# (https://www.postgresql.org/docs/16/sql-copy.html, "Binary Format"). A vector is its size, two
# unused bytes and its numbers.
_ROW = np.dtype(
    [
        ("columns", ">i2"),
        ("slot_length", ">i4"),
        ("slot", ">i8"),
        ("speech_length", ">i4"),
        ("speech_s", ">f8"),
        ("until_length", ">i4"),
        ("until_s", ">f8"),
        ("centroid_length", ">i4"),
        ("size", ">i2"),
        ("unused", ">i2"),
        ("centroid", ">f4", EMBEDDING_SIZE),
    ]
)
_HEADER, _TRAILER = 19, 2  # bytes around the rows
_WHICH = (
    "FROM speaker_gallery.speaker WHERE collection_id = %s AND model_id = %s AND changed > %s"
    " AND speaker_id IS NOT NULL ORDER BY slot"
)
_COLUMNS = (
    "slot, coalesce(speech_s, 'NaN'),"
    " coalesce(extract(epoch FROM consent_until)::double precision, 'NaN'), centroid"
)
_NUMBERS = f"COPY (SELECT {_COLUMNS} {_WHICH}) TO STDOUT (FORMAT BINARY)"
_IDS = f"COPY (SELECT speaker_id {_WHICH}) TO STDOUT"


class ChangeSource:
    """Where a view of one collection learns what is new."""

    def __init__(self, database: Database, collection_id: int) -> None:
        self._database = database
        self._collection = collection_id

    def is_replaced(self) -> bool:
        return False  # `data_version` says so

    def data_version(self) -> int:
        """The number of the last change; one question to the database.

        Raises:
            IndexReplaced: the collection is gone.
        """
        with self._database.connection() as connection:
            return self._state(connection)[0]

    def changes(self, since: int, model_id: str) -> Changes:
        """What happened to the speakers of one network after the change `since`; -1 for all.

        Raises:
            IndexReplaced: the collection is gone.
            NotReady: the database does not answer, or a centroid is damaged.
        """
        with self._database.transaction() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            change, forgotten = self._state(connection)
            everything = since < forgotten or since > change
            asked = (self._collection, model_id, -1 if everything else since)
            emptied = connection.execute(
                "SELECT slot FROM speaker_gallery.speaker WHERE collection_id = %s"
                " AND model_id = %s AND changed > %s AND speaker_id IS NULL",
                asked,
            ).fetchall()
            numbers = _read_numbers(connection, asked)
            ids = _read_ids(connection, asked)
        return Changes(
            change=change,
            everything=everything,
            emptied=[row[0] for row in emptied],
            speakers=list(zip(numbers["slot"].tolist(), ids, strict=True)),
            centroids=_checked(numbers["centroid"].astype(np.float32)),
            enrolled_s=[None if one != one else one for one in numbers["speech_s"].tolist()],
            consent_until=[_moment(one) for one in numbers["until_s"].tolist()],
        )

    def close(self) -> None:
        return  # the connections are the database's

    def _state(self, connection: psycopg.Connection) -> tuple[int, int]:
        row = connection.execute(
            "SELECT change, forgotten FROM speaker_gallery.collection WHERE collection_id = %s",
            (self._collection,),
        ).fetchone()
        if row is None:
            raise IndexReplaced
        return row[0], row[1]


def _read_numbers(connection: psycopg.Connection, asked: tuple[int, str, int]) -> np.ndarray:
    """All numbers of the rows, without a Python object for any: `_ROW` of (n,)."""
    with connection.cursor() as cursor, cursor.copy(_NUMBERS, asked) as copy:
        data = b"".join(copy)
    body = memoryview(data)[_HEADER : len(data) - _TRAILER]
    return np.frombuffer(body, _ROW)


def _read_ids(connection: psycopg.Connection, asked: tuple[int, str, int]) -> list[str]:
    """The IDs, a line each: none holds a character that COPY would escape."""
    with connection.cursor() as cursor, cursor.copy(_IDS, asked) as copy:
        return b"".join(copy).decode().split("\n")[:-1]


def _checked(centroids: np.ndarray) -> np.ndarray:
    try:
        if len(centroids):
            check_unit_rows(centroids)
    except ValueError as error:
        raise NotReady(f"The database's centroids are damaged: {error}.") from error
    return centroids


def _moment(seconds: float) -> str | None:
    return None if seconds != seconds else datetime.fromtimestamp(seconds, UTC).isoformat()
