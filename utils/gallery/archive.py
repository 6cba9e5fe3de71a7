"""A gallery as one portable file: a ZIP whose manifest has a SHA-256 of everything in it.

    manifest.json         who is enrolled, with what, by which network; checksums of all the rest
    embeddings/0.npy ...  the recordings' files, as they are
    sound/0.media ...     the recordings themselves, where the gallery keeps them

Names in it are numbers: nothing of an archive is ever used as a path.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.errors import AlreadyEnrolled, AnotherNetwork, BadArchive, BadRequest
from utils.gallery.contract import Gallery
from utils.gallery.npy import MAX_FILE_BYTES, decode_embeddings
from utils.gallery.profile import Profile, moment, read_profile
from utils.gallery.records import Recording
from utils.gallery.rules import centroids_by_network
from utils.speaker_id import check_number, check_speaker_id, recording_file_name

FORMAT = "speaker-gallery"
VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_SOUND_BYTES = 256 * 2**20

OnConflict = Literal["refuse", "skip", "replace"]

log = logging.getLogger(__name__)


class _Part(BaseModel):
    """One file of the archive."""

    model_config = ConfigDict(strict=True, frozen=True)

    file: str
    sha256: str


class _Recording(_Part):
    number: str
    enrolled_at: str
    speech_s: float | None = Field(None, ge=0.0, allow_inf_nan=False)
    model_id: str = Field(min_length=1, max_length=64)
    calibration_id: str | None = Field(None, max_length=64)
    sound: _Part | None = None


class _Speaker(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    speaker_id: str
    profile: dict[str, Any] | None = None
    recordings: list[_Recording] = Field(min_length=1)


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    format: Literal["speaker-gallery"]
    version: Literal[1]
    speakers: list[_Speaker]


@dataclass(frozen=True)
class ImportReport:
    """What an archive brought."""

    speakers: int
    recordings: int
    skipped: list[str]  # IDs that were enrolled here already
    of_other_networks: int  # recordings that take no part until they are computed again


def export_gallery(gallery: Gallery, target: BinaryIO) -> int:
    """Writes everybody who is enrolled into an archive.

    Who is deleted meanwhile is left out; a file that cannot be read is left out and logged.

    Returns:
        How many speakers are in it.
    """
    speakers: list[dict[str, Any]] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        writer = _ArchiveWriter(gallery, archive)
        offset = 0
        while page := gallery.speakers(offset=offset, limit=1000)[0]:
            offset += len(page)
            for record in page:
                recordings = [
                    written for one in record.recordings if (written := writer.put(one)) is not None
                ]
                if recordings:
                    profile = None if record.profile.is_empty else asdict(record.profile)
                    speakers.append(
                        {
                            "speaker_id": record.speaker_id,
                            "profile": profile,
                            "recordings": recordings,
                        }
                    )
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_id": gallery.model_id,
            "calibration_id": gallery.calibration_id,
            "speakers": speakers,
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        archive.writestr(MANIFEST, text, zipfile.ZIP_DEFLATED)
    return len(speakers)


def import_gallery(
    gallery: Gallery, source: BinaryIO, *, on_conflict: OnConflict = "refuse"
) -> ImportReport:
    """Enrols everybody of an archive, with times, profiles and sound as they were.

    The whole archive is read and checked before anything is changed; then one speaker after the
    other is enrolled, each whole or not at all.

    Args:
        source: a file that can seek.
        on_conflict: what is done about IDs that are enrolled here already.

    Raises:
        BadArchive: it is none, is damaged, or says what it does not hold.
        AnotherNetwork: nothing in it could ever answer here.
        AlreadyEnrolled: `on_conflict` is "refuse", and somebody is.
        NotReady: the disk does not take it; speakers who were enrolled before it stay.
    """
    with _opened(source) as archive:
        reader = _ArchiveReader(archive)
        speakers = reader.speakers()
        for speaker in speakers:
            reader.parts(speaker)  # everything is looked at before anything is changed
        _require_network(gallery, speakers)
        taken = [one.speaker_id for one in speakers if gallery.recordings(one.speaker_id)]
        if taken and on_conflict == "refuse":
            raise AlreadyEnrolled(
                f"{len(taken)} of the {len(speakers)} speakers are enrolled here already; say "
                "whether to skip or to replace them."
            )
        skipped = set(taken) if on_conflict == "skip" else set()
        wanted = [one for one in speakers if one.speaker_id not in skipped]
        for speaker in wanted:
            gallery.restore(speaker.speaker_id, reader.parts(speaker), reader.profile(speaker))
    recordings = [one for speaker in wanted for one in speaker.recordings]
    return ImportReport(
        speakers=len(wanted),
        recordings=len(recordings),
        skipped=sorted(skipped),
        of_other_networks=sum(one.model_id != gallery.model_id for one in recordings),
    )


class _ArchiveWriter:
    """Puts recordings into an archive under running numbers."""

    def __init__(self, gallery: Gallery, archive: zipfile.ZipFile) -> None:
        self._gallery = gallery
        self._archive = archive
        self._count = 0

    def put(self, recording: Recording) -> dict[str, Any] | None:
        """Writes one recording; gives what the manifest is to say of it, None if it is gone."""
        try:
            data = self._gallery.file(recording)
            media = self._gallery.media(recording)
        except (OSError, ValueError) as error:
            log.warning("a recording is left out of the archive: %s", type(error).__name__)
            return None
        if hashlib.sha256(data).hexdigest() != recording.sha256:
            log.warning("a recording is left out of the archive: its file was changed")
            return None
        sound = None if media is None else self._put(f"sound/{self._count}.media", media)
        part = self._put(f"embeddings/{self._count}.npy", data)
        self._count += 1
        said = asdict(recording)
        del said["file_name"], said["sha256"]
        return {**said, **part, "sound": sound}

    def _put(self, name: str, data: bytes) -> dict[str, str]:
        self._archive.writestr(name, data)
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}


class _ArchiveReader:
    """Reads an archive that somebody else has made."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def speakers(self) -> list[_Speaker]:
        """The manifest's speakers, IDs in their one form.

        Raises:
            BadArchive: there is no manifest, or it is none.
        """
        data = self._read(MANIFEST, MAX_MANIFEST_BYTES)
        try:
            manifest = _Manifest.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BadArchive(f"The manifest is none of ours: {place}: {first['msg']}.") from error
        speakers = []
        for speaker in manifest.speakers:
            try:
                speaker_id = check_speaker_id(speaker.speaker_id)
                numbers = {check_number(one.number) for one in speaker.recordings}
            except BadRequest as error:
                raise BadArchive(f"The archive has a speaker that cannot be: {error}") from error
            if len(numbers) < len(speaker.recordings):
                raise BadArchive("The archive has two recordings of one number.")
            speakers.append(speaker.model_copy(update={"speaker_id": speaker_id}))
        if len({one.speaker_id for one in speakers}) < len(speakers):
            raise BadArchive("The archive has one speaker twice.")
        return speakers

    def parts(self, speaker: _Speaker) -> list[tuple[Recording, bytes, bytes | None]]:
        """Of each recording what is known, its .npy file, and its sound.

        Raises:
            BadArchive: a file is missing, is damaged, or holds no embeddings.
        """
        self.profile(speaker)
        parts = []
        for one in speaker.recordings:
            data = self._checked(one, MAX_FILE_BYTES)
            try:
                decode_embeddings(data)
                enrolled_at = moment(one.enrolled_at)
            except (ValueError, BadRequest) as error:
                raise BadArchive(f"{one.file}: {error}") from error
            media = None if one.sound is None else self._checked(one.sound, MAX_SOUND_BYTES)
            recording = Recording(
                file_name=recording_file_name(speaker.speaker_id, one.number),
                number=one.number,
                enrolled_at=enrolled_at,
                speech_s=one.speech_s,
                sha256=one.sha256,
                model_id=one.model_id,
                calibration_id=one.calibration_id,
            )
            parts.append((recording, data, media))
        try:
            centroids_by_network([(one, decode_embeddings(data)) for one, data, _ in parts])
        except ValueError as error:
            raise BadArchive(f"The recordings of one speaker make no voice: {error}") from error
        return parts

    def profile(self, speaker: _Speaker) -> Profile | None:
        try:
            return None if speaker.profile is None else read_profile(speaker.profile)
        except BadRequest as error:
            raise BadArchive(f"The archive has a profile that is none: {error}") from error

    def _checked(self, part: _Part, most: int) -> bytes:
        data = self._read(part.file, most)
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise BadArchive(f"{part.file} is damaged: its SHA-256 is another; export again.")
        return data

    def _read(self, name: str, most: int) -> bytes:
        try:
            with self._archive.open(name) as file:
                data = file.read(most + 1)
        except KeyError as error:
            raise BadArchive(f"The archive has no {name[:80]!r}; export it again.") from error
        except _UNREADABLE as error:
            raise BadArchive(f"{name[:80]!r} cannot be read; export the archive again.") from error
        if len(data) > most:
            raise BadArchive(f"{name[:80]!r} has more than {most} bytes, which none of ours has.")
        return data


# What zipfile lets through of a hostile file: others' compressions and passwords among them.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


@contextmanager
def _opened(source: BinaryIO) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(source)
    except _UNREADABLE as error:
        raise BadArchive("This is no ZIP archive; send one that an export wrote.") from error
    with archive:
        yield archive


def _require_network(gallery: Gallery, speakers: list[_Speaker]) -> None:
    recordings = [one for speaker in speakers for one in speaker.recordings]
    if recordings and not any(
        one.model_id == gallery.model_id or one.sound is not None for one in recordings
    ):
        raise AnotherNetwork(
            f"The archive is of the network {recordings[0].model_id}, and this gallery is of "
            f"{gallery.model_id}; import it on a server with that network, or enrol anew."
        )
