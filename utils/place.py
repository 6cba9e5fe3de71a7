"""Where the galleries and keys of one server are: in a folder, or in a database.

gallery/                        "default"
  voice_gallery/ index.sqlite
  keys.json
  collections/
    site-b/                     "site-b": a gallery like the first
      collection.json           says that there is one; goes first when it is deleted
      voice_gallery/ index.sqlite
"""

from __future__ import annotations

import json
import re
import shutil
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from utils.errors import BadField, CollectionExists, NoSuchCollection, NotReady
from utils.gallery import FolderGallery, Gallery
from utils.gallery.files import make_folder, sync_folder
from utils.keys import KeyFile, KeyStore
from utils.sealing import NO_SEAL, Seal

DEFAULT = "default"  # the collection that is always there
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MARK = "collection.json"


def find_place(where: str | Path, seal: Seal = NO_SEAL) -> Place:
    """What `--gallery` means: a database's address, or a folder. Opens nothing.

    Args:
        seal: of the voices in it.

    Raises:
        NotReady: the address cannot be read.
    """
    if str(where).startswith(("postgresql://", "postgres://")):
        from utils.postgres.place import PostgresPlace  # its driver takes 50 ms to load

        return PostgresPlace(str(where), seal)
    return FolderPlace(Path(where), seal)


class Place(ABC):
    """Collections by name, and the keys. Every method may raise NotReady.

    Attributes:
        seal: how the voices are kept.
    """

    def __init__(self, seal: Seal) -> None:
        self.seal = seal

    @property
    @abstractmethod
    def shown(self) -> str:
        """How people may read it: without a password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is a gallery; commands that only look make none."""

    @abstractmethod
    def open_gallery(
        self,
        collection: str,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
    ) -> Gallery:
        """Opens a collection's gallery; the default one is made where there is none.

        Args:
            collection: one that there is.
            model_id, calibration_id, keep_recordings: see `Gallery`.
        """

    @abstractmethod
    def has(self, collection: str) -> bool:
        """Whether there is such a collection besides the default one, asked anew each time."""

    @abstractmethod
    def names(self) -> list[str]:
        """The collections besides the default one, in order."""

    def create(self, collection: str) -> None:
        """Makes an empty collection; durable when this returns.

        Raises:
            BadField: the name is none.
            CollectionExists: there is one.
        """
        if not is_collection_name(collection):
            raise BadField(
                "A collection's name has 1 to 64 small letters, digits, '-' and '_', and begins "
                "with a letter or digit."
            )
        if collection == DEFAULT:
            raise CollectionExists(f"{DEFAULT} is always there.")
        self._create(collection)

    @abstractmethod
    def _create(self, collection: str) -> None: ...

    @abstractmethod
    def unlist(self, collection: str) -> None:
        """Has a collection answer nobody from now on: the first step of its deletion.

        Raises:
            NoSuchCollection: there is none.
        """

    @abstractmethod
    def remove(self, collection: str) -> bool:
        """Removes what is left of a collection whose speakers are deleted; the last step.

        Returns:
            Whether nothing of it is left, which is asked afterwards.
        """

    @abstractmethod
    def keys(self) -> KeyStore:
        """The keys that let other machines in."""

    def close(self) -> None:
        """Lets go of what is open; galleries are closed before."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_collection_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


class FolderPlace(Place):
    """A folder of galleries."""

    def __init__(self, folder: Path, seal: Seal = NO_SEAL) -> None:
        super().__init__(seal)
        self._folder = folder

    @property
    def shown(self) -> str:
        return str(self._folder)

    def exists(self) -> bool:
        return (self._folder / "voice_gallery").is_dir()

    def open_gallery(
        self,
        collection: str,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
    ) -> Gallery:
        return FolderGallery(
            self._folder if collection == DEFAULT else self._place(collection),
            model_id,
            calibration_id=calibration_id,
            keep_recordings=keep_recordings,
            seal=self.seal,
        )

    def has(self, collection: str) -> bool:
        # a name that is none never becomes a path
        return is_collection_name(collection) and (self._place(collection) / _MARK).exists()

    def names(self) -> list[str]:
        try:
            found = [path.parent.name for path in (self._folder / "collections").glob(f"*/{_MARK}")]
        except OSError as error:
            raise NotReady(f"The collections cannot be listed: {error.strerror}.") from error
        return sorted(name for name in found if is_collection_name(name))

    def _create(self, collection: str) -> None:
        mark = self._place(collection) / _MARK
        try:
            make_folder(mark.parent)
            with mark.open("x", encoding="utf-8") as file:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                file.write(json.dumps({"name": collection, "created_at": now}))
            sync_folder(mark.parent)
        except FileExistsError as error:
            raise CollectionExists(f"There is a collection {collection} already.") from error
        except OSError as error:
            raise NotReady(f"The collection cannot be made: {error.strerror}.") from error

    def unlist(self, collection: str) -> None:
        try:
            (self._place(collection) / _MARK).unlink()
            sync_folder(self._place(collection))
        except FileNotFoundError as error:
            raise NoSuchCollection(f"There is no collection {collection[:64]!r}.") from error
        except OSError as error:
            raise _not_removed(error) from error

    def remove(self, collection: str) -> bool:
        try:
            shutil.rmtree(self._place(collection))
            sync_folder(self._folder / "collections")
        except OSError as error:
            raise _not_removed(error) from error
        return not self._place(collection).exists()

    def keys(self) -> KeyStore:
        return KeyFile(self._folder)

    def _place(self, collection: str) -> Path:
        return self._folder / "collections" / collection


def _not_removed(error: OSError) -> NotReady:
    return NotReady(f"The collection cannot be removed: {error.strerror}.")
