"""The gallery of one collection in a database: every change is one transaction."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from utils.errors import NoSuchCollection
from utils.gallery import rules
from utils.gallery.contract import Gallery, Mode
from utils.gallery.npy import encode_embeddings
from utils.gallery.profile import Profile, Receipt, SpeakerRecord
from utils.gallery.records import IndexReplaced, Network, Recording, Skipped, Take
from utils.gallery.snapshot import Snapshot, View
from utils.postgres.changes import ChangeSource
from utils.postgres.database import Database
from utils.postgres.following import Follower
from utils.postgres.rows import Part, Rows
from utils.sealing import NO_SEAL, Seal
from utils.speaker_id import check_speaker_id, parse_recording_file_name


class PostgresGallery(Gallery):
    """A collection's gallery. Searching is in memory, over all centroids, as in a folder's."""

    def __init__(
        self,
        database: Database,
        collection: str,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
        seal: Seal = NO_SEAL,
    ) -> None:
        """Reads who is enrolled.

        Args:
            collection: one that there is.
            model_id, calibration_id, keep_recordings: see `Gallery`.
            seal: of all voices in the database. An empty one is marked with it.

        Raises:
            NoSuchCollection: there is none.
            NotReady: the database does not answer, or is sealed otherwise.
        """
        super().__init__(Network(model_id, calibration_id), keep_recordings)
        self._database = database
        self._collection = collection
        self._seal = seal
        self._lock = threading.Lock()
        self._follower: Follower | None = None
        self._is_closed = False
        self._open()

    @property
    def skipped(self) -> list[Skipped]:
        return self._skipped

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._follower is not None:
                self._follower.close()
                self._follower = None

    def _enrol(
        self,
        speaker_id: str,
        takes: Sequence[Take],
        mode: Mode,
        most: int,
        profile: Profile | None,
    ) -> None:
        with self._writing() as rows:
            known = rows.recordings(speaker_id)
            ours = [one for one in known if one.model_id == self.model_id]
            numbers = {one.number for one in known}
            spoken_for = rows.profile(speaker_id) if profile is None else profile
            if mode == "add":
                rules.check_room(speaker_id, ours, takes, most, numbers.__contains__)
            rules.check_consent(speaker_id, spoken_for)
            if mode == "register" and ours:
                raise rules.already_enrolled(speaker_id)
            if mode != "add":
                rows.drop(speaker_id)
            free = rules.free_number(known, takes, numbers.__contains__)
            parts = []
            for take in takes:
                number = take.number
                if number is None:
                    number, free = str(free), free + 1
                parts.append(self._part(speaker_id, number, take))
            rows.put(speaker_id, parts)
            if profile is not None and not profile.is_empty:
                rows.put_profile(speaker_id, profile)
            rows.settle(speaker_id)

    def restore(
        self,
        speaker_id: str,
        parts: Sequence[tuple[Recording, bytes, bytes | None]],
        profile: Profile | None,
    ) -> None:
        speaker_id = check_speaker_id(speaker_id)
        with self._writing() as rows:
            rows.drop(speaker_id)
            rows.put(speaker_id, [Part(*one) for one in parts])
            if profile is not None and not profile.is_empty:
                rows.put_profile(speaker_id, profile)
            rows.settle(speaker_id)

    def _rewrite(self, speaker_id: str, takes: Mapping[Recording, Take]) -> None:
        with self._writing() as rows:
            now = rows.recordings(speaker_id)
            parts = []
            for old, take in takes.items():
                if old in now:
                    media = rows.media(speaker_id, old.number)
                    part = self._part(speaker_id, old.number, replace(take, media=media))
                    recording = replace(part.recording, enrolled_at=old.enrolled_at)
                    parts.append(replace(part, recording=recording))
            rows.put(speaker_id, parts)
            rows.settle(speaker_id)

    def _set_profile(self, speaker_id: str, profile: Profile) -> None:
        with self._writing() as rows:
            rules.require_known(speaker_id, rows.recordings(speaker_id))
            rows.put_profile(speaker_id, profile)
            rows.settle(speaker_id)

    def _rename(self, speaker_id: str, new_id: str) -> None:
        with self._writing() as rows:
            rules.require_known(speaker_id, rows.recordings(speaker_id))
            if rows.recordings(new_id):
                raise rules.name_taken(new_id)
            rows.put_profile(new_id, Profile())  # of nobody
            rows.move(speaker_id, new_id)
            rows.settle(speaker_id)
            rows.settle(new_id)

    def _remove_recording(self, speaker_id: str, number: str) -> Receipt:
        with self._writing() as rows:
            rules.all_but(speaker_id, rows.recordings(speaker_id), number)
            going = rows.describe(speaker_id, number)
            rows.drop(speaker_id, [number])
            rows.settle(speaker_id)
        with self._asking() as rows:
            return rows.receipt(speaker_id, going, number)

    def _delete(self, speaker_id: str) -> Receipt:
        with self._writing() as rows:
            going = rows.describe(speaker_id)
            if not going:
                raise rules.nothing_to_delete(speaker_id)
            rows.drop(speaker_id)
            rows.put_profile(speaker_id, Profile())
            rows.settle(speaker_id)
        with self._asking() as rows:
            return rows.receipt(speaker_id, going, None)

    def _purge(self, now: datetime) -> list[Receipt]:
        with self._asking() as rows:
            expired = rows.expired(now)
        return [self._delete(one) for one in expired]

    def snapshot(self) -> Snapshot:
        self._check_usable()
        try:
            return self._view.snapshot()
        except IndexReplaced:
            self._open()
            return self._view.snapshot()

    def speakers(
        self, query: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[SpeakerRecord], int]:
        with self._asking() as rows:
            page, total = rows.page(unicodedata.normalize("NFC", query), offset, limit)
            return [rows.record(one) for one in page], total

    def speaker(self, speaker_id: str) -> SpeakerRecord:
        with self._asking() as rows:
            return rows.record(check_speaker_id(speaker_id))

    def recordings(self, speaker_id: str) -> list[Recording]:
        with self._asking() as rows:
            return rows.recordings(check_speaker_id(speaker_id))

    def file(self, recording: Recording) -> bytes:
        with self._asking() as rows:
            data = rows.file(*_place(recording))
        if data is None:
            raise FileNotFoundError("the recording was deleted meanwhile")
        return data

    def media(self, recording: Recording) -> bytes | None:
        with self._asking() as rows:
            return rows.media(*_place(recording))

    def _part(self, speaker_id: str, number: str, take: Take) -> Part:
        data = encode_embeddings(take.embeddings)
        described = rules.describe_recording(speaker_id, number, data, take.speech_s, self._network)
        return Part(described, data, take.media)

    def _open(self) -> None:
        """Finds the collection, which another server may have made anew, and reads it all."""
        with self._database.connection() as connection:
            row = connection.execute(
                "SELECT collection_id FROM speaker_gallery.collection"
                " WHERE name = %s AND is_listed",
                (self._collection,),
            ).fetchone()
        if row is None:
            raise NoSuchCollection(f"There is no collection {self._collection!r}; make it first.")
        self._collection_id: int = row[0]
        with self._writing() as rows:
            rows.forget_emptied()
            self._skipped = [
                Skipped(name, f"made by another network, {model}")
                for name, model in rows.foreign(self.model_id)
            ]
        source = ChangeSource(self._database, self._collection_id, self._seal)
        self._view = View(source, self.model_id)
        self._view.snapshot()
        with self._lock:
            if self._follower is not None:
                self._follower.close()
            self._follower = Follower(self._database, self._collection_id, self._view.snapshot)

    @contextmanager
    def _writing(self) -> Iterator[Rows]:
        """Makes this thread the collection's only writer, of all servers, until it commits."""
        self._check_usable()
        with self._database.transaction() as connection:
            rows = Rows(connection, self._collection_id, self._seal)
            try:
                rows.begin()
            except IndexReplaced as error:
                raise NoSuchCollection(
                    f"The collection {self._collection!r} was deleted meanwhile."
                ) from error
            yield rows

    @contextmanager
    def _asking(self) -> Iterator[Rows]:
        self._check_usable()
        with self._database.connection() as connection:
            yield Rows(connection, self._collection_id, self._seal)

    def _check_usable(self) -> None:
        if self._is_closed:
            raise RuntimeError("the gallery is closed")


def _place(recording: Recording) -> tuple[str, str]:
    name = parse_recording_file_name(recording.file_name)
    assert name is not None, "a gallery's recordings are named as ours"
    return name.speaker_id, recording.number
