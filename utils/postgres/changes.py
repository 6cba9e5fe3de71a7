"""What searching threads learn from the database: all centroids at the start, then what changed."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import psycopg

from utils.errors import NotReady
from utils.gallery.records import Changes, IndexReplaced
from utils.postgres.database import Database
from utils.scoring import EMBEDDING_SIZE, check_unit_rows
from utils.sealing import Seal

# A speaker as the query below puts it together, in PostgreSQL's own binary forms; a vector is its
# size, two unused bytes and its numbers. What is sealed has one length.
_BEGINNING = [("slot", ">i8"), ("speech_s", ">f8"), ("until_s", ">f8")]
_ROW = np.dtype(
    [*_BEGINNING, ("size", ">i2"), ("unused", ">i2"), ("centroid", ">f4", EMBEDDING_SIZE)]
)
_CENTROID_BYTES = 4 * EMBEDDING_SIZE
_NONE = "'NaN'::double precision"
_WHICH = """
    FROM speaker_gallery.speaker
    WHERE collection_id = %s AND model_id = %s AND changed > %s AND speaker_id IS NOT NULL
"""
_COUNT = f"SELECT count(*) {_WHICH}"
# A thousand speakers a row, for no ID has a line's end in it: a row of its own for each takes the
# driver three times as long.
_SPEAKERS = f"""
    SELECT string_agg(speaker_id, E'\\n' ORDER BY slot),
           string_agg(int8send(slot) || float8send(coalesce(speech_s, {_NONE}))
               || float8send(coalesce(extract(epoch FROM consent_until)::double precision, {_NONE}))
               || {{}}, ''::bytea ORDER BY slot)
    {_WHICH}
    GROUP BY slot / 1000
"""  # noqa: S608


class ChangeSource:
    """Where a view of one collection learns what is new."""

    def __init__(self, database: Database, collection_id: int, seal: Seal) -> None:
        self._database = database
        self._collection = collection_id
        self._seal = seal
        self._row, self._query = _ROW, _SPEAKERS.format("vector_send(centroid)")
        if seal.key_id is not None:
            kept = f"V{_CENTROID_BYTES + seal.overhead}"
            self._row = np.dtype([*_BEGINNING, ("centroid", kept)])
            self._query = _SPEAKERS.format("sealed")

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
            [count] = connection.execute(_COUNT, asked).fetchone() or (0,)
            found = Changes(
                change=change,
                everything=everything,
                emptied=[row[0] for row in emptied],
                speakers=[],
                centroids=np.empty((count, EMBEDDING_SIZE), np.float32),
                enrolled_s=[],
                consent_until=[],
            )
            # block by block: all of them at once would stand in memory three times
            with connection.cursor() as cursor:
                for lines, data in cursor.stream(self._query, asked, binary=True):
                    self._take_in(found, lines.split("\n"), np.frombuffer(data, self._row))
        return found

    def close(self) -> None:
        return  # the connections are the database's

    def _take_in(self, found: Changes, ids: list[str], numbers: np.ndarray) -> None:
        begin = len(found.speakers)
        rows = self._centroids(ids, numbers["centroid"])
        found.centroids[begin : begin + len(rows)] = rows
        found.speakers.extend(zip(numbers["slot"].tolist(), ids, strict=True))
        found.enrolled_s.extend(None if one != one else one for one in numbers["speech_s"].tolist())
        found.consent_until.extend(_moment(one) for one in numbers["until_s"].tolist())

    def _centroids(self, ids: list[str], kept: np.ndarray) -> np.ndarray:
        """float32 (n, 64), of what the database has of each."""
        try:
            if len(ids) != len(kept):
                raise ValueError("some are missing")
            if self._seal.key_id is None:
                rows = kept.astype(np.float32)
            else:
                opened = b"".join(
                    self._seal.unseal(one.tobytes(), speaker_id)
                    for one, speaker_id in zip(kept, ids, strict=True)
                )
                rows = np.frombuffer(opened, "<f4").reshape(-1, EMBEDDING_SIZE)
            if len(rows):
                check_unit_rows(rows)
        except ValueError as error:
            raise NotReady(f"The database's centroids are damaged: {error}.") from error
        return rows

    def _state(self, connection: psycopg.Connection) -> tuple[int, int]:
        row = connection.execute(
            "SELECT change, forgotten FROM speaker_gallery.collection WHERE collection_id = %s",
            (self._collection,),
        ).fetchone()
        if row is None:
            raise IndexReplaced
        return row[0], row[1]


def _moment(seconds: float) -> str | None:
    return None if seconds != seconds else datetime.fromtimestamp(seconds, UTC).isoformat()
