"""Separate galleries of one server, opened when they are asked for; voices are never compared."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from utils.errors import BadField, NoSuchCollection
from utils.gallery import Receipt
from utils.identification import Identifier
from utils.place import DEFAULT, Place

__all__ = ["DEFAULT", "CollectionReceipt", "Collections"]


@dataclass(frozen=True)
class CollectionReceipt:
    """What the deletion of a collection took away."""

    name: str
    deleted_at: str  # UTC, ISO 8601
    speakers: list[Receipt]
    verified_gone: bool
    """The disk was asked again afterwards, and has nothing of it."""


class Collections:
    """The collections of one place; safe between threads.

    What another process makes or deletes is seen at the next question.
    """

    def __init__(self, place: Place, open_one: Callable[[str], Identifier]) -> None:
        """Opens the default collection; the others when they are first asked for.

        Args:
            open_one: makes what answers for a collection.

        Raises:
            NotReady: the default gallery cannot be opened.
        """
        self._place = place
        self._open_one = open_one
        self._lock = threading.Lock()
        self._opened = {DEFAULT: open_one(DEFAULT)}

    def __getitem__(self, name: str) -> Identifier:
        """What answers for a collection.

        Raises:
            NoSuchCollection: there is none of this name.
            NotReady: it cannot be opened.
        """
        if name == DEFAULT:
            return self._opened[DEFAULT]
        if not self._place.has(name):
            with self._lock:
                stale = self._opened.pop(name, None)
            if stale is not None:  # another process deleted it
                stale.gallery.close()
            raise NoSuchCollection(f"There is no collection {name[:64]!r}; make it first.")
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open_one(name)
            return self._opened[name]

    def names(self) -> list[str]:
        """All there are, the default one first, the others in order.

        Raises:
            NotReady: they cannot be listed.
        """
        return [DEFAULT, *self._place.names()]

    def create(self, name: str) -> None:
        """Makes an empty collection; errors as `Place.create`."""
        self._place.create(name)

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
        self._place.unlist(name)
        receipts = []
        while page := gallery.speakers(limit=1000)[0]:
            receipts += [gallery.delete(record.speaker_id) for record in page]
        with self._lock:
            self._opened.pop(name, None)
        gallery.close()
        is_gone = self._place.remove(name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return CollectionReceipt(name, now, receipts, is_gone)

    def close(self) -> None:
        with self._lock:
            for identifier in self._opened.values():
                identifier.gallery.close()
        self._place.close()
