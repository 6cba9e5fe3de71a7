"""What searching threads learn from the database: all centroids at the start, then what changed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import psycopg

from utils.errors import NotReady
from utils.gallery.records import Changes, IndexReplaced
from utils.postgres.database import Database
from utils.scoring import EMBEDDING_SIZE, check_unit_rows

# A speaker as the query below puts it together, in PostgreSQL's own binary forms; a vector is its
# size, two unused bytes and its numbers.
_ROW = np.dtype(
    [
        ("slot", ">i8"),
        ("speech_s", ">f8"),
        ("until_s", ">f8"),
        ("size", ">i2"),
        ("unused", ">i2"),
        ("centroid", ">f4", EMBEDDING_SIZE),
    ]
)
_NONE = "'NaN'::double precision"
# A thousand speakers a row: a row of its own for each takes the driver three times as long.
_SPEAKERS = f"""
    SELECT string_agg(speaker_id, E'\\n' ORDER BY slot),
           string_agg(int8send(slot) || float8send(coalesce(speech_s, {_NONE}))
               || float8send(coalesce(extract(epoch FROM consent_until)::double precision, {_NONE}))
               || vector_send(centroid), ''::bytea ORDER BY slot)
    FROM speaker_gallery.speaker
    WHERE collection_id = %s AND model_id = %s AND changed > %s AND speaker_id IS NOT NULL
    GROUP BY slot / 1000
"""  # noqa: S608


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
            with connection.cursor(binary=True) as cursor:
                blocks = cursor.execute(_SPEAKERS, asked).fetchall()
        ids = [one for lines, _ in blocks for one in lines.split("\n")]  # no ID has one in it
        numbers = np.frombuffer(b"".join(data for _, data in blocks), _ROW)
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


def _checked(centroids: np.ndarray) -> np.ndarray:
    try:
        if len(centroids):
            check_unit_rows(centroids)
    except ValueError as error:
        raise NotReady(f"The database's centroids are damaged: {error}.") from error
    return centroids


def _moment(seconds: float) -> str | None:
    return None if seconds != seconds else datetime.fromtimestamp(seconds, UTC).isoformat()
