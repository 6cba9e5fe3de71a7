"""One collection's rows, read and written inside somebody's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import tuple_row

from utils.errors import NotReady
from utils.gallery.names import VOICES, media_path, sealed_name
from utils.gallery.npy import decode_embeddings
from utils.gallery.profile import (
    DeletedFile,
    Profile,
    Receipt,
    SpeakerRecord,
    decode_profile,
    describe_speaker,
    encode_profile,
)
from utils.gallery.records import IndexReplaced, Recording
from utils.gallery.rules import centroids_by_network
from utils.sealing import Seal, check_key
from utils.speaker_id import profile_file_name, recording_file_name

CHANNEL = "speaker_gallery"  # NOTIFY: a collection's number, after each of its changes
_COLUMNS = "number, enrolled_at, speech_s, sha256, model_id, calibration_id"


@dataclass(frozen=True)
class Part:
    """A recording as it is stored."""

    recording: Recording
    file: bytes  # .npy
    media: bytes | None = None


class Rows:
    """The rows of one collection."""

    def __init__(self, connection: psycopg.Connection, collection_id: int, seal: Seal) -> None:
        self._connection = connection
        self._collection = collection_id
        self._seal = seal
        self._change = 0

    def begin(self) -> None:
        """Makes this transaction the collection's only writer, until it ends.

        Raises:
            IndexReplaced: the collection is gone.
            NotReady: the database's voices are sealed otherwise.
        """
        rows = self._rows(
            "UPDATE speaker_gallery.collection SET change = change + 1 WHERE collection_id = %s"
            " RETURNING change",
            self._collection,
        )
        if not rows:
            raise IndexReplaced
        self._change = rows[0][0]
        self._mark()
        self._rows("SELECT pg_notify(%s, %s)", CHANNEL, str(self._collection))

    def recordings(self, speaker_id: str) -> list[Recording]:
        """All recordings of one speaker, whichever network made them, by file name."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM speaker_gallery.recording"  # noqa: S608
            " WHERE collection_id = %s AND speaker_id = %s",
            self._collection,
            speaker_id,
        )
        found = [Recording(recording_file_name(speaker_id, row[0]), *row) for row in rows]
        return sorted(found, key=lambda one: one.file_name)

    def profile(self, speaker_id: str) -> Profile:
        """What is known of a speaker; an empty one of a speaker of whom nothing is."""
        rows = self._rows(
            "SELECT document FROM speaker_gallery.profile"
            " WHERE collection_id = %s AND speaker_id = %s",
            self._collection,
            speaker_id,
        )
        if not rows:
            return Profile()
        return decode_profile(self._unsealed(rows[0][0], profile_file_name(speaker_id)))

    def record(self, speaker_id: str) -> SpeakerRecord:
        """All that is said of a speaker; raises NotEnrolled if there is no recording."""
        return describe_speaker(speaker_id, self.recordings(speaker_id), self.profile(speaker_id))

    def file(self, speaker_id: str, number: str) -> bytes | None:
        """The .npy file of a recording; None of one that is not there.

        Raises:
            ValueError: it is not what was sealed.
        """
        kept = self._kept(speaker_id, number, "file")
        name = recording_file_name(speaker_id, number)
        return kept if kept is None else self._seal.unseal(kept, name)

    def media(self, speaker_id: str, number: str) -> bytes | None:
        """The sound of a recording; None where it is not kept.

        Raises:
            ValueError: it is not what was sealed.
        """
        kept = self._kept(speaker_id, number, "media")
        name = sealed_name(media_path(recording_file_name(speaker_id, number)))
        return kept if kept is None else self._seal.unseal(kept, name)

    def _kept(self, speaker_id: str, number: str, column: str) -> bytes | None:
        rows = self._rows(
            f"SELECT {column} FROM speaker_gallery.recording"  # noqa: S608
            " WHERE collection_id = %s AND speaker_id = %s AND number = %s",
            self._collection,
            speaker_id,
            number,
        )
        return rows[0][0] if rows else None

    def is_known(self, speaker_id: str, model_id: str) -> bool:
        """Whether one network knows a speaker."""
        return any(one.model_id == model_id for one in self.recordings(speaker_id))

    def page(self, text: str, offset: int, limit: int) -> tuple[list[str], int]:
        """A page of the IDs, in order, that a text occurs in whatever its case; and how many do."""
        which = (
            "FROM (SELECT DISTINCT speaker_id FROM speaker_gallery.recording"
            " WHERE collection_id = %s AND strpos(folded, %s) > 0) AS found"
        )
        asked = (self._collection, text.casefold())
        [(total,)] = self._rows(f"SELECT count(*) {which}", *asked)
        rows = self._rows(
            f"SELECT speaker_id {which} ORDER BY speaker_id LIMIT %s OFFSET %s",
            *asked,
            limit,
            offset,
        )
        return [row[0] for row in rows], total

    def expired(self, now: datetime) -> list[str]:
        """The speakers whose consent had ended by a time."""
        rows = self._rows(
            "SELECT speaker_id FROM speaker_gallery.profile"
            " WHERE collection_id = %s AND consent_until <= %s ORDER BY speaker_id",
            self._collection,
            now,
        )
        return [row[0] for row in rows]

    def foreign(self, model_id: str) -> list[tuple[str, str]]:
        """The recordings that other networks made: file name and network."""
        rows = self._rows(
            "SELECT speaker_id, number, model_id FROM speaker_gallery.recording"
            " WHERE collection_id = %s AND model_id <> %s ORDER BY speaker_id, number",
            self._collection,
            model_id,
        )
        return [(recording_file_name(one, number), model) for one, number, model in rows]

    def put(self, speaker_id: str, parts: Sequence[Part]) -> None:
        """Writes recordings over those of their numbers; `settle` is to follow."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO speaker_gallery.recording"  # noqa: S608
                f" (collection_id, speaker_id, folded, {_COLUMNS}, file, media)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (collection_id, speaker_id, number) DO UPDATE SET"
                " enrolled_at = excluded.enrolled_at, speech_s = excluded.speech_s,"
                " sha256 = excluded.sha256, model_id = excluded.model_id,"
                " calibration_id = excluded.calibration_id, file = excluded.file,"
                " media = excluded.media",
                [
                    (
                        self._collection,
                        speaker_id,
                        speaker_id.casefold(),
                        *astuple(part.recording)[1:],
                        *self._sealed(part),
                    )
                    for part in parts
                ],
            )

    def drop(self, speaker_id: str, numbers: Sequence[str] | None = None) -> None:
        """Removes recordings, all unless told which; `settle` is to follow."""
        self._rows(
            "DELETE FROM speaker_gallery.recording WHERE collection_id = %s AND speaker_id = %s"
            " AND (%s::text[] IS NULL OR number = ANY (%s::text[]))",
            self._collection,
            speaker_id,
            numbers,
            numbers,
        )

    def put_profile(self, speaker_id: str, profile: Profile) -> None:
        """Makes this all that is known of a speaker, as of now; `settle` is to follow."""
        self._write_profile(speaker_id, profile.at(datetime.now(UTC)))

    def _write_profile(self, speaker_id: str, profile: Profile) -> None:
        self._rows(
            "DELETE FROM speaker_gallery.profile WHERE collection_id = %s AND speaker_id = %s",
            self._collection,
            speaker_id,
        )
        if not profile.is_empty:
            document = encode_profile(profile)
            self._rows(
                "INSERT INTO speaker_gallery.profile VALUES (%s, %s, %s, %s)",
                self._collection,
                speaker_id,
                self._seal.seal(document, profile_file_name(speaker_id)),
                profile.consent.until if profile.consent else None,
            )

    def move(self, speaker_id: str, new_id: str) -> None:
        """Gives recordings and profile to another ID; `settle` of both is to follow."""
        parts = []
        for old in self.recordings(speaker_id):
            try:
                file, media = (ask(speaker_id, old.number) for ask in (self.file, self.media))
            except ValueError as error:
                raise NotReady(f"A recording cannot be renamed: {error}.") from error
            assert file is not None, "it was listed in this transaction"
            new = replace(old, file_name=recording_file_name(new_id, old.number))
            parts.append(Part(new, file, media))
        profile = self.profile(speaker_id)
        self.drop(speaker_id)
        self._write_profile(speaker_id, Profile())
        self.put(new_id, parts)
        self._write_profile(new_id, profile)

    def settle(self, speaker_id: str) -> None:
        """Makes what searching threads see of a speaker follow from the recordings and profile.

        Raises:
            ValueError: the recordings cancel each other out.
        """
        rows = self._rows(
            f"SELECT {_COLUMNS}, file FROM speaker_gallery.recording"  # noqa: S608
            " WHERE collection_id = %s AND speaker_id = %s ORDER BY number",
            self._collection,
            speaker_id,
        )
        known = [
            (Recording(recording_file_name(speaker_id, row[0]), *row[:-1]), row[-1]) for row in rows
        ]
        centroids = centroids_by_network(
            [(one, decode_embeddings(self._unsealed(file, one.file_name))) for one, file in known]
        )
        consent = self.profile(speaker_id).consent
        until = consent.until if consent else None
        self._rows(
            "UPDATE speaker_gallery.speaker SET speaker_id = NULL, centroid = NULL,"
            " sealed = NULL, speech_s = NULL, consent_until = NULL, changed = %s"
            " WHERE collection_id = %s AND speaker_id = %s AND NOT model_id = ANY (%s)",
            self._change,
            self._collection,
            speaker_id,
            list(centroids),
        )
        for model_id, centroid in centroids.items():
            of_model = [one.speech_s for one, _ in known if one.model_id == model_id]
            self._put_centroid(speaker_id, model_id, centroid, _total(of_model), until)

    def _put_centroid(
        self,
        speaker_id: str,
        model_id: str,
        centroid: np.ndarray,
        speech_s: float | None,
        until: str | None,
    ) -> None:
        sealed = None
        if self._seal.key_id is not None:
            sealed = self._seal.seal(centroid.astype("<f4").tobytes(), speaker_id)
        self._rows(
            "INSERT INTO speaker_gallery.speaker (collection_id, speaker_id, model_id, centroid,"
            " sealed, speech_s, consent_until, changed)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (collection_id, speaker_id, model_id) DO UPDATE SET"
            " centroid = excluded.centroid, sealed = excluded.sealed, speech_s = excluded.speech_s,"
            " consent_until = excluded.consent_until, changed = excluded.changed",
            self._collection,
            speaker_id,
            model_id,
            centroid if sealed is None else None,
            sealed,
            speech_s,
            until,
            self._change,
        )

    def describe(self, speaker_id: str, number: str | None = None) -> list[DeletedFile]:
        """What a deletion is to take away, named as the files of a folder are."""
        rows = self._rows(
            "SELECT number, sha256(file), length(file), sha256(media), length(media)"
            " FROM speaker_gallery.recording"
            " WHERE collection_id = %s AND speaker_id = %s AND (%s::text IS NULL OR number = %s)"
            " ORDER BY number",
            self._collection,
            speaker_id,
            number,
            number,
        )
        files = []
        for one, digest, size, media_digest, media_size in rows:
            name = recording_file_name(speaker_id, one)
            files.append(DeletedFile(f"{VOICES}/{name}", digest.hex(), size))
            if media_digest is not None:
                files.append(DeletedFile(media_path(name), media_digest.hex(), media_size))
        profile = [] if number else self._profile_document(speaker_id)
        for document in profile:
            name = f"{VOICES}/{profile_file_name(speaker_id)}"
            files.append(DeletedFile(name, hashlib.sha256(document).hexdigest(), len(document)))
        return files

    def receipt(self, speaker_id: str, files: Sequence[DeletedFile], number: str | None) -> Receipt:
        """Asks the database whether it is gone, after the commit, and says so."""
        return Receipt(
            speaker_id=speaker_id,
            deleted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            files=list(files),
            verified_gone=not self.describe(speaker_id, number),
        )

    def forget_emptied(self) -> None:
        """Removes the rows of speakers that have left. Belongs behind `begin`."""
        gone = self._rows(
            "DELETE FROM speaker_gallery.speaker WHERE collection_id = %s AND speaker_id IS NULL"
            " RETURNING slot",
            self._collection,
        )
        if gone:
            self._rows(
                "UPDATE speaker_gallery.collection SET forgotten = change WHERE collection_id = %s",
                self._collection,
            )

    def _profile_document(self, speaker_id: str) -> list[bytes]:
        rows = self._rows(
            "SELECT document FROM speaker_gallery.profile"
            " WHERE collection_id = %s AND speaker_id = %s",
            self._collection,
            speaker_id,
        )
        return [row[0] for row in rows]

    def _mark(self) -> None:
        """Looks whether the seal is this database's, and marks an empty one with it."""
        rows = self._rows("SELECT key_id FROM speaker_gallery.encryption")

        def is_empty() -> bool:
            return not self._rows("SELECT 1 FROM speaker_gallery.recording LIMIT 1")

        if check_key(rows[0][0] if rows else None, self._seal, is_empty):
            self._rows("INSERT INTO speaker_gallery.encryption VALUES (%s)", self._seal.key_id)

    def _sealed(self, part: Part) -> tuple[bytes, bytes | None]:
        name = part.recording.file_name
        media = part.media
        if media is not None:
            media = self._seal.seal(media, sealed_name(media_path(name)))
        return self._seal.seal(part.file, name), media

    def _unsealed(self, kept: bytes, name: str) -> bytes:
        try:
            return self._seal.unseal(kept, name)
        except ValueError as error:
            raise NotReady(f"The database has something that is not ours: {error}.") from error

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None
