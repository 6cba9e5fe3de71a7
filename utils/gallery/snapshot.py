"""What searching threads see of the gallery: centroids in memory, kept up with the index."""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

import numpy as np

from utils.gallery.records import Changes, IndexReplaced
from utils.scoring import EMBEDDING_SIZE, Candidate, search
from utils.shortlist import encode


@dataclass(frozen=True)
class Snapshot:
    """Who is enrolled at one moment, in order of arrival; read without a lock.

    A later snapshot may share the five containers and use what lies beyond this one's `count`:
    so one more speaker costs one more row, and what this one shows stays as it is. Snapshots
    therefore follow each other in one line, each made of the newest.
    """

    rows: np.ndarray  # float32 (at least count, 64), each of unit length
    codes: np.ndarray  # uint8, of the same shape: their 8-bit copies
    ids: list[str]  # of each row
    seconds: list[float | None]  # of speech that each row is of; None: not known
    row_of: dict[str, int]
    count: int

    @classmethod
    def empty(cls) -> Snapshot:
        return cls.of([], np.empty((0, EMBEDDING_SIZE), np.float32), [])

    @classmethod
    def of(cls, ids: list[str], rows: np.ndarray, seconds: list[float | None]) -> Snapshot:
        """Everybody at once; takes the containers over."""
        row_of = {one: row for row, one in enumerate(ids)}
        return cls(rows, encode(rows), ids, seconds, row_of, len(ids))

    @property
    def centroids(self) -> np.ndarray:
        """float32 (count, 64)."""
        return self.rows[: self.count]

    def __contains__(self, speaker_id: str) -> bool:
        return self.row_of.get(speaker_id, self.count) < self.count

    def search(self, probe: np.ndarray, top: int) -> list[Candidate]:
        """The nearest speakers, exactly: see `Gallery.search`."""
        return [
            replace(each, enrolled_s=self.enrolled_s(each.speaker_id))
            for each in search(
                np.asarray(probe, np.float32),
                self.centroids,
                self.codes[: self.count],
                self.ids,
                top,
            )
        ]

    def enrolled_s(self, speaker_id: str) -> float | None:
        """Seconds of speech that somebody here is enrolled with; None where that is not known."""
        return self.seconds[self.row_of[speaker_id]]

    def changed(
        self,
        leaving: AbstractSet[str],
        put: Mapping[str, tuple[np.ndarray, float | None]],
    ) -> Snapshot:
        """The next snapshot: without some speakers, then with others added or replaced.

        Newcomers are written beside what is there, in room that grows by doubling; the rest
        takes a copy.

        Args:
            leaving: IDs; one that is not here is passed over.
            put: by ID, float32 (64,) of unit length and seconds of speech.
        """
        base = self
        gone = [self.row_of[one] for one in leaving if one in self]
        if gone or any(one in self for one in put):
            rows = np.delete(self.centroids, gone, axis=0)  # a copy, also of all
            codes = np.delete(self.codes[: self.count], gone, axis=0)
            staying = [row for row in range(self.count) if self.ids[row] not in leaving]
            ids = [self.ids[row] for row in staying]
            seconds = [self.seconds[row] for row in staying]
            row_of = {one: row for row, one in enumerate(ids)}
            base = Snapshot(rows, codes, ids, seconds, row_of, len(ids))
            for one in put.keys() & row_of.keys():
                row = row_of[one]
                rows[row], seconds[row] = put[one]
                codes[row : row + 1] = encode(rows[row : row + 1])
        return base._with_newcomers({one: new for one, new in put.items() if one not in base})

    def _with_newcomers(self, newcomers: Mapping[str, tuple[np.ndarray, float | None]]) -> Snapshot:
        if not newcomers:
            return self
        count = self.count + len(newcomers)
        rows, codes = self.rows, self.codes
        if count > len(rows):
            rows, codes = _room_for(count, rows), _room_for(count, codes)
        rows[self.count : count] = [row for row, _ in newcomers.values()]
        codes[self.count : count] = encode(rows[self.count : count])
        self.ids[self.count :] = newcomers
        self.seconds[self.count :] = [seconds for _, seconds in newcomers.values()]
        self.row_of.update(zip(newcomers, range(self.count, count), strict=True))
        return Snapshot(rows, codes, self.ids, self.seconds, self.row_of, count)


def _room_for(count: int, rows: np.ndarray) -> np.ndarray:
    """A copy with room for so many rows, and for as many as there are again."""
    roomy = np.empty((max(count, 2 * len(rows)), EMBEDDING_SIZE), rows.dtype)
    roomy[: len(rows)] = rows
    return roomy


class Source(Protocol):
    """Where a view learns what has changed: the index of a folder, or a database."""

    def is_replaced(self) -> bool:
        """Whether it is another one by now, of which this one knows nothing."""

    def data_version(self) -> int:
        """A number that is another one after anybody has committed."""

    def changes(self, since: int, model_id: str) -> Changes:
        """What happened to the speakers of one network after the change `since`; -1 for all."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Source)


class View(Generic[S]):
    """The newest snapshot of one network's speakers; safe to share between threads."""

    def __init__(self, index: S, model_id: str) -> None:
        """Takes the index over: it is for this view alone, and `close` closes it."""
        self._index = index
        self._model_id = model_id
        self._lock = threading.Lock()
        self._is_closed = False
        self._data_version = -1
        self._change = -1
        self._id_of_slot: dict[int, str] = {}
        self._snapshot = Snapshot.empty()
        self._consents = _Consents()

    def snapshot(self) -> Snapshot:
        """Shows every change that any process has committed before the call.

        Whose consent has ended is not in it.

        Raises:
            IndexReplaced: the index's file is another one by now, or the view was closed for it.
            sqlite3.Error: the index cannot be read.
        """
        with self._asking():
            if self._consents.is_before_the_last_end():  # the clock was wrong, then or now
                self._change = self._data_version = -1
            data_version = self._index.data_version()
            if data_version != self._data_version:
                self._apply(self._index.changes(self._change, self._model_id))
                self._data_version = data_version
            ended = self._consents.ended()
            if ended:
                self._snapshot = self._snapshot.changed(ended, {})
            return self._snapshot

    @contextmanager
    def index(self) -> Iterator[S]:
        """The index, for questions of this thread alone; errors as `snapshot`."""
        with self._asking():
            yield self._index

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._index.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """The connection for this thread alone, if it still is one to the gallery's index."""
        with self._lock:
            if self._is_closed or self._index.is_replaced():
                raise IndexReplaced
            yield

    def _apply(self, changes: Changes) -> None:
        self._change = changes.change
        if changes.everything:
            self._id_of_slot = dict(changes.speakers)
            self._snapshot = Snapshot.of(
                [one for _, one in changes.speakers], changes.centroids, changes.enrolled_s
            )
            self._consents = _Consents()
            for (_, one), until in zip(changes.speakers, changes.consent_until, strict=True):
                if until is not None:
                    self._consents.put(one, until)
            return
        leaving = {
            self._id_of_slot.pop(slot) for slot in changes.emptied if slot in self._id_of_slot
        }
        self._id_of_slot.update(changes.speakers)
        put = {
            one: (row, seconds)
            for (_, one), row, seconds in zip(
                changes.speakers, changes.centroids, changes.enrolled_s, strict=True
            )
        }
        for (_, one), until in zip(changes.speakers, changes.consent_until, strict=True):
            self._consents.put(one, until)
        self._snapshot = self._snapshot.changed(leaving, put)


class _Consents:
    """Whose consent ends when."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # seconds of the epoch
        self._next: list[tuple[float, str]] = []  # a heap; what `_until` does not say is over
        self._last_end = -math.inf  # of those that have ended

    def put(self, speaker_id: str, until: str | None) -> None:
        if until is None:
            self._until.pop(speaker_id, None)
            return
        end = datetime.fromisoformat(until).timestamp()
        self._until[speaker_id] = end
        heapq.heappush(self._next, (end, speaker_id))

    def is_before_the_last_end(self) -> bool:
        """Whether somebody whose consent was seen to end would still answer."""
        return _now() < self._last_end

    def ended(self) -> set[str]:
        """Those whose consent has ended since this was asked last."""
        ended: set[str] = set()
        while self._next and self._next[0][0] <= _now():
            end, speaker_id = heapq.heappop(self._next)
            if self._until.get(speaker_id) == end:
                ended.add(speaker_id)
                self._last_end = max(self._last_end, end)
        return ended


def _now() -> float:
    return datetime.now(UTC).timestamp()
