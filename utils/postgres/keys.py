"""The keys in the database: the same for all servers over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import psycopg

from utils.keys import Key, KeyStore
from utils.postgres.database import Database

_COLUMNS = "key_id, sha256, role, collection, note, created_at, revoked_at"


class KeyTable(KeyStore):
    """The keys of one database; each question asks it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _read(self) -> dict[str, Key]:
        with self._database.connection() as connection:
            return _keys(connection)

    def _change(self, change: Callable[[dict[str, Key]], None]) -> None:
        with self._database.transaction() as connection:
            connection.execute("LOCK TABLE speaker_gallery.key IN EXCLUSIVE MODE")
            before = _keys(connection)
            after = dict(before)
            change(after)
            changed = [key for key_id, key in after.items() if key != before.get(key_id)]
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO speaker_gallery.key ({_COLUMNS})"  # noqa: S608
                    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
                    " ON CONFLICT (key_id) DO UPDATE SET revoked_at = excluded.revoked_at",
                    [astuple(key) for key in changed],
                )


def _keys(connection: psycopg.Connection) -> dict[str, Key]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM speaker_gallery.key ORDER BY ordinal"  # noqa: S608
    ).fetchall()
    return {row[0]: Key(*row) for row in rows}
