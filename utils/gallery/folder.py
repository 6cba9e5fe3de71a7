"""Enrolled voices: .npy files that are the truth, an index over them, exact search in memory.

    gallery/
      voice_gallery/    one .npy a recording, named as `speaker_id.recording_file_name` has it;
                        a speaker's profile beside it as .json
      recordings/       the sound itself, where a gallery keeps it
      index.sqlite      what is known about the files; made again from them when it is missing
      encryption.json   of which key they are, where they are encrypted
      .lock             whose holder alone writes; the kernel frees it when the holder dies
      .writing          there while files are written; left by a writer that did not finish

How a change stays whole: a new recording is written under a temporary name, seen to the disk,
renamed, and only then committed to the index. A change of several files (a re-registration, a
deletion) is first committed as an intent; whoever takes the lock after its writer died carries it
out before anything else. All of it holds for several threads and processes over one folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from utils.gallery import files
from utils.gallery.contract import Gallery, Mode
from utils.gallery.index import Index
from utils.gallery.names import VOICES, media_path, sealed_name
from utils.gallery.npy import MAX_FILE_BYTES
from utils.gallery.profile import (
    Profile,
    Receipt,
    SpeakerRecord,
    decode_profile,
    describe_speaker,
)
from utils.gallery.records import Network, Recording, Skipped, Take
from utils.gallery.snapshot import Snapshot, View
from utils.gallery.store import Store
from utils.sealing import NO_SEAL, Seal
from utils.speaker_id import check_speaker_id


class FolderGallery(Gallery):
    """The gallery of a folder."""

    def __init__(
        self,
        folder: Path,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
        seal: Seal = NO_SEAL,
    ) -> None:
        """Opens a gallery, and makes an empty one where there is none.

        Finishes what a killed writer left, takes in files that were copied into the folder (as
        made by this network: a file does not say by which), drops what is known of files that
        are gone. With an intact index no file is opened for it.

        Args:
            folder: holds voice_gallery/ and index.sqlite.
            model_id, calibration_id, keep_recordings: see `Gallery`.
            seal: of what is in the files and of what the index derives from them. An empty
                gallery is marked with it.

        Raises:
            NotReady: the folder cannot be written, the disk is full, another process has been
                writing for a minute, or the gallery is sealed otherwise.
        """
        network = Network(model_id, calibration_id)
        super().__init__(network, keep_recordings)
        self._folder = folder
        self._seal = seal
        self._store = Store(folder, network, seal)

    @property
    def skipped(self) -> list[Skipped]:
        return self._store.skipped

    def close(self) -> None:
        self._store.close()

    def _enrol(
        self,
        speaker_id: str,
        takes: Sequence[Take],
        mode: Mode,
        most: int,
        profile: Profile | None,
    ) -> None:
        with self._store.writing() as writer:
            if mode == "register":
                writer.register(speaker_id, takes, profile)
            elif mode == "add":
                writer.add(speaker_id, takes, most)
            else:
                writer.replace(speaker_id, takes, profile)

    def restore(
        self,
        speaker_id: str,
        parts: Sequence[tuple[Recording, bytes, bytes | None]],
        profile: Profile | None,
    ) -> None:
        with self._store.writing() as writer:
            writer.restore(check_speaker_id(speaker_id), parts, profile)

    def _rewrite(self, speaker_id: str, takes: Mapping[Recording, Take]) -> None:
        with self._store.writing() as writer:
            now = writer.recordings(speaker_id)
            still = {old: take for old, take in takes.items() if old in now}
            if still:
                writer.rewrite(speaker_id, still)

    def _set_profile(self, speaker_id: str, profile: Profile) -> None:
        with self._store.writing() as writer:
            writer.set_profile(speaker_id, profile)

    def _rename(self, speaker_id: str, new_id: str) -> None:
        with self._store.writing() as writer:
            writer.rename(speaker_id, new_id)

    def _remove_recording(self, speaker_id: str, number: str) -> Receipt:
        with self._store.writing() as writer:
            return writer.remove_recording(speaker_id, number)

    def _delete(self, speaker_id: str) -> Receipt:
        with self._store.writing() as writer:
            return writer.delete(speaker_id)

    def _purge(self, now: datetime) -> list[Receipt]:
        with self._store.writing() as writer:
            expired = writer.expired(now.isoformat(timespec="milliseconds"))
            return [writer.delete(one) for one in expired]

    def snapshot(self) -> Snapshot:
        return self._store.read(View.snapshot)

    def speakers(
        self, query: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[SpeakerRecord], int]:
        text = unicodedata.normalize("NFC", query)

        def ask(index: Index) -> tuple[list[SpeakerRecord], int]:
            page, total = index.speakers(text, offset, limit)
            return [_record(index, speaker_id) for speaker_id in page], total

        return self._store.ask(ask)

    def speaker(self, speaker_id: str) -> SpeakerRecord:
        speaker_id = check_speaker_id(speaker_id)
        return self._store.ask(lambda index: _record(index, speaker_id))

    def recordings(self, speaker_id: str) -> list[Recording]:
        speaker_id = check_speaker_id(speaker_id)
        return self._store.ask(lambda index: index.recordings(speaker_id))

    def file(self, recording: Recording) -> bytes:
        folder = self._folder / VOICES
        return files.read_sealed(folder, recording.file_name, MAX_FILE_BYTES, self._seal)[0]

    def media(self, recording: Recording) -> bytes | None:
        path = media_path(recording.file_name)
        try:
            kept = (self._folder / path).read_bytes()
        except FileNotFoundError:
            return None
        return self._seal.unseal(kept, sealed_name(path))


def _record(index: Index, speaker_id: str) -> SpeakerRecord:
    document = index.profile(speaker_id)
    profile = decode_profile(document.encode()) if document is not None else Profile()
    return describe_speaker(speaker_id, index.recordings(speaker_id), profile)
