"""Collections and keys of a database."""

from __future__ import annotations

from utils.errors import CollectionExists, NoSuchCollection
from utils.gallery import Gallery
from utils.keys import KeyStore
from utils.place import DEFAULT, Place
from utils.postgres.database import Database
from utils.postgres.gallery import PostgresGallery
from utils.postgres.keys import KeyTable
from utils.sealing import NO_SEAL, Seal


class PostgresPlace(Place):
    """A database, which several servers may share."""

    def __init__(self, address: str, seal: Seal = NO_SEAL) -> None:
        """Connects to nothing yet.

        Args:
            address: postgresql://...
            seal: of the voices in it.

        Raises:
            NotReady: the address cannot be read.
        """
        super().__init__(seal)
        self._database = Database(address)

    @property
    def shown(self) -> str:
        return self._database.shown

    def exists(self) -> bool:
        return self._database.is_prepared()

    def open_gallery(
        self,
        collection: str,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
    ) -> Gallery:
        return PostgresGallery(
            self._database,
            collection,
            model_id,
            calibration_id=calibration_id,
            keep_recordings=keep_recordings,
            seal=self.seal,
        )

    def has(self, collection: str) -> bool:
        return collection in self.names()

    def names(self) -> list[str]:
        with self._database.connection() as connection:
            rows = connection.execute(
                "SELECT name FROM speaker_gallery.collection WHERE is_listed AND name <> %s"
                ' ORDER BY name COLLATE "C"',
                (DEFAULT,),
            ).fetchall()
        return [row[0] for row in rows]

    def _create(self, collection: str) -> None:
        with self._database.transaction() as connection:
            # what a deletion that was cut off left comes back to nobody
            connection.execute(
                "DELETE FROM speaker_gallery.collection WHERE name = %s AND NOT is_listed",
                (collection,),
            )
            made = connection.execute(
                "INSERT INTO speaker_gallery.collection (name) VALUES (%s)"
                " ON CONFLICT (name) DO NOTHING RETURNING 1",
                (collection,),
            ).fetchone()
        if not made:
            raise CollectionExists(f"There is a collection {collection} already.")

    def unlist(self, collection: str) -> None:
        with self._database.transaction() as connection:
            found = connection.execute(
                "UPDATE speaker_gallery.collection SET is_listed = false"
                " WHERE name = %s AND is_listed RETURNING 1",
                (collection,),
            ).fetchone()
        if not found:
            raise NoSuchCollection(f"There is no collection {collection[:64]!r}.")

    def remove(self, collection: str) -> bool:
        with self._database.connection() as connection:
            connection.execute(
                "DELETE FROM speaker_gallery.collection WHERE name = %s AND NOT is_listed",
                (collection,),
            )
            left = connection.execute(
                "SELECT 1 FROM speaker_gallery.collection WHERE name = %s AND NOT is_listed",
                (collection,),
            ).fetchone()
        return left is None

    def keys(self) -> KeyStore:
        return KeyTable(self._database)

    def close(self) -> None:
        self._database.close()
