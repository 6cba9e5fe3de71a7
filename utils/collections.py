"""Separate galleries of one server: "default" is the gallery's own folder, others lie in it.

    gallery/                        "default"
      voice_gallery/ index.sqlite
      collections/
        site-b/                     "site-b": a gallery like the first
          collection.json           says that there is one; goes first when it is deleted
          voice_gallery/ index.sqlite

Speakers of different collections are never compared.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from utils.errors import BadField, CollectionExists, NoSuchCollection, NotReady
from utils.gallery import Receipt
from utils.gallery.files import make_folder, sync_folder
from utils.identification import Identifier

DEFAULT = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MARK = "collection.json"


@dataclass(frozen=True)
class CollectionReceipt:
    """What the deletion of a collection took away."""

    name: str
    deleted_at: str  # UTC, ISO 8601
    speakers: list[Receipt]
    verified_gone: bool
    """The disk was asked again afterwards, and has nothing of it."""


class Collections:
    """The collections below one folder, opened as they are asked for; safe between threads.

    What another process makes or deletes is seen at the next question.
    """

    def __init__(self, folder: Path, open_one: Callable[[Path], Identifier]) -> None:
        """Opens the default collection; the others when they are first asked for.

        Args:
            open_one: makes what answers out of a gallery's folder.

        Raises:
            NotReady: the default gallery cannot be opened.
        """
        self._folder = folder
        self._open_one = open_one
        self._lock = threading.Lock()
        self._opened = {DEFAULT: open_one(folder)}

    def __getitem__(self, name: str) -> Identifier:
        """What answers for a collection.

        Raises:
            NoSuchCollection: there is none of this name.
            NotReady: it cannot be opened.
        """
        if name == DEFAULT:
            return self._opened[DEFAULT]
        if not self._exists(name):
            raise NoSuchCollection(f"There is no collection {name[:64]!r}; make it first.")
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open_one(self._place(name))
            return self._opened[name]

    def names(self) -> list[str]:
        """All there are, the default one first, the others in order.

        Raises:
            NotReady: the folder cannot be read.
        """
        try:
            found = [path.parent.name for path in (self._folder / "collections").glob(f"*/{_MARK}")]
        except OSError as error:
            raise NotReady(f"The collections cannot be listed: {error.strerror}.") from error
        return [DEFAULT, *sorted(name for name in found if _NAME.fullmatch(name))]

    def create(self, name: str) -> None:
        """Makes an empty collection; durable when this returns.

        Raises:
            BadField: the name is none.
            CollectionExists: there is one.
            NotReady: the disk does not take it.
        """
        if not _NAME.fullmatch(name):
            raise BadField(
                "A collection's name has 1 to 64 small letters, digits, '-' and '_', and begins "
                "with a letter or digit."
            )
        if name == DEFAULT:
            raise CollectionExists(f"{DEFAULT} is always there.")
        mark = self._place(name) / _MARK
        try:
            make_folder(mark.parent)
            with mark.open("x", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "created_at": _now()}))
            sync_folder(mark.parent)
        except FileExistsError as error:
            raise CollectionExists(f"There is a collection {name} already.") from error
        except OSError as error:
            raise NotReady(f"The collection cannot be made: {error.strerror}.") from error

    def delete(self, name: str) -> CollectionReceipt:
        """Removes a collection with all its speakers. From its first step on it answers nobody.

        Raises:
            BadField: it is the default one.
            NoSuchCollection: there is none of this name.
            NotReady: the disk does not let go of it; try again.
        """
        if name == DEFAULT:
            raise BadField(f"The collection {DEFAULT} stays; delete its speakers instead.")
        gallery = self[name].gallery
        receipts = []
        try:
            (self._place(name) / _MARK).unlink()
            sync_folder(self._place(name))
            while page := gallery.speakers(limit=1000)[0]:
                receipts += [gallery.delete(record.speaker_id) for record in page]
            with self._lock:
                self._opened.pop(name, None)
            gallery.close()
            shutil.rmtree(self._place(name))
            sync_folder(self._folder / "collections")
        except FileNotFoundError as error:
            raise NoSuchCollection(f"{name} was deleted meanwhile.") from error
        except OSError as error:
            raise NotReady(f"The collection cannot be removed: {error.strerror}.") from error
        return CollectionReceipt(name, _now(), receipts, not self._place(name).exists())

    def close(self) -> None:
        with self._lock:
            for identifier in self._opened.values():
                identifier.gallery.close()

    def _place(self, name: str) -> Path:
        return self._folder / "collections" / name

    def _exists(self, name: str) -> bool:
        """Asked each time; a name that is none never becomes a path."""
        if _NAME.fullmatch(name) and (self._place(name) / _MARK).exists():
            return True
        with self._lock:
            stale = self._opened.pop(name, None)
        if stale is not None:  # another process deleted it
            stale.gallery.close()
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
