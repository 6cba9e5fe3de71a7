"""Carries out a change that was begun, from whatever step on: again and again to the same end.

Whoever calls anything here holds the gallery's writer lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from utils.errors import NotReady
from utils.gallery import files
from utils.gallery.files import StoredFile
from utils.gallery.index import Index
from utils.gallery.intake import read_profile_file
from utils.gallery.names import KEPT, MEDIA_SUFFIX, VOICES, media_path, sealed_name
from utils.gallery.npy import decode_embeddings
from utils.gallery.records import Entry, Plan, Recording, Waiting
from utils.gallery.rules import centroids_by_network
from utils.sealing import Seal
from utils.speaker_id import (
    parse_recording_file_name,
    profile_file_name,
    recording_file_name,
)

log = logging.getLogger(__name__)


class Executor:
    """Moves, removes and commits for one gallery."""

    def __init__(self, folder: Path, index: Index, seal: Seal) -> None:
        self._folder = folder
        self._files = folder / VOICES
        self._index = index
        self._seal = seal

    def check(self, plan: Plan) -> None:
        """Looks whether a plan can be carried out, while nothing stands in its files' places.

        Raises:
            ValueError: the recordings that it leaves would cancel each other out.
        """
        left = []
        for one in plan.put:
            if one.recording:
                data = self._unsealed(self._files / one.temporary, one.path)
                left.append((one.recording, decode_embeddings(data)))
        names = {one.file_name for one in plan.recordings}
        for recording in self._index.recordings(plan.speaker_id) if plan.keeps else []:
            if recording.file_name not in names:
                with suppress(NotReady, OSError):  # `commit` leaves it out
                    left.append((recording, self._read_back(recording).embeddings))
        centroids_by_network(left)

    def carry_out(self, plan: Plan) -> None:
        """Brings a plan that stands as an intent to its end.

        Raises:
            NotReady: a file that was to be enrolled is not there any more.
            OSError, sqlite3.Error: the disk does not take it; to be done again.
        """
        if plan.rename_to is not None:
            self._rename(plan.speaker_id, plan.rename_to)
            return
        for waiting in plan.put:
            if (self._files / waiting.temporary).exists():
                self.put_in_place(waiting)
        new = plan.recordings
        for recording in new:
            self._read_back(recording)
        names = {one.file_name for one in new}
        kept = []
        if plan.keeps:
            known = self._index.recordings(plan.speaker_id)
            kept = [one for one in known if one.file_name not in names]
        else:
            self._remove_others(plan)
        has_profile = any(one.path.endswith(".json") for one in plan.put)
        with self._index.transaction():
            self.commit(plan.speaker_id, new, kept)
            if has_profile or not plan.put:
                self.commit_profile(plan.speaker_id)
            self._index.clear_intent(plan.speaker_id)

    def put_in_place(self, waiting: Waiting) -> None:
        """Gives a file its name and sees it to the disk; errors as `files.put_in_place`."""
        top = self._folder / waiting.path.partition("/")[0]
        files.put_in_place(self._files / waiting.temporary, self._folder / waiting.path, top)

    def commit(self, speaker_id: str, new: Sequence[Recording], kept: Sequence[Recording]) -> None:
        """Tells the index that these are all there are of a speaker. Belongs into a transaction.

        Of those that were there before, one that cannot be read any more is left out, and named
        in the log: it must not stand in the way of the others.

        Raises:
            NotReady: a new one is not there, or not as it was written.
            ValueError: the recordings cancel each other out.
        """
        entries = []
        for recording in kept:
            try:
                entries.append(_entry(recording, self._read_back(recording)))
            except (NotReady, OSError):
                log.warning("skipped a file: it is not as it was enrolled")
        entries += [_entry(recording, self._read_back(recording)) for recording in new]
        entries.sort(key=lambda one: one.recording.file_name)
        self._index.put_speaker(speaker_id, entries)

    def commit_profile(self, speaker_id: str) -> None:
        """Tells the index what the profile's file says. Belongs into a transaction."""
        try:
            row = read_profile_file(self._files, speaker_id, self._seal)
        except ValueError as error:
            raise NotReady("The disk lost a profile; check it and try again.") from error
        self._index.put_profile(speaker_id, row)

    def all_files(self, speaker_id: str) -> list[str]:
        """Every file there is of a speaker, readable or not, under the gallery's folder."""
        names = files.speaker_files(self._files, speaker_id)
        possible = [
            *(f"{VOICES}/{name}" for name in names),
            f"{VOICES}/{profile_file_name(speaker_id)}",
            *(media_path(name) for name in names),
        ]
        return [path for path in possible if os.path.lexists(self._folder / path)]

    def remove(self, paths: Sequence[str]) -> None:
        """Removes files, paths under the gallery's folder; its own folders stay, empty or not."""
        for top in (VOICES, KEPT):
            below = [path.partition("/")[2] for path in paths if path.startswith(f"{top}/")]
            if below:
                files.remove_files(self._folder / top, below)

    def remove_orphaned_media(self) -> None:
        """Removes sounds beside which no recording lies: of writers that were killed."""
        kept = self._folder / KEPT
        if not kept.is_dir():
            return
        for path in list(kept.rglob(f"*{MEDIA_SUFFIX}")):
            name = path.relative_to(kept).as_posix().removesuffix(MEDIA_SUFFIX) + ".npy"
            if parse_recording_file_name(name) and not os.path.lexists(self._files / name):
                files.remove_files(kept, [path.relative_to(kept).as_posix()])

    def _remove_others(self, plan: Plan) -> None:
        """All files of the speaker but those that are put; with nothing put, the profile too."""
        staying = {one.path for one in plan.put}
        if plan.put:
            staying.add(f"{VOICES}/{profile_file_name(plan.speaker_id)}")
        going = [path for path in self.all_files(plan.speaker_id) if path not in staying]
        self.remove(going)

    def _rename(self, speaker_id: str, new_id: str) -> None:
        known = {one.number: one for one in self._index.recordings(speaker_id)}
        for name in files.speaker_files(self._files, speaker_id):
            parsed = parse_recording_file_name(name)
            assert parsed is not None, "speaker_files gives only names of ours"
            target = recording_file_name(new_id, parsed.number)
            self._move(media_path(name), media_path(target))  # first, so that it is never alone
            self._move(f"{VOICES}/{name}", f"{VOICES}/{target}")
        profile = profile_file_name(speaker_id)
        self._move(f"{VOICES}/{profile}", f"{VOICES}/{profile_file_name(new_id)}")
        there = {
            parsed.number: name
            for name in files.speaker_files(self._files, new_id)
            if (parsed := parse_recording_file_name(name))
        }
        moved = [
            replace(one, file_name=there[number])
            for number, one in known.items()
            if number in there
        ]
        with self._index.transaction():
            self._index.put_speaker(speaker_id, [])
            self._index.put_profile(speaker_id, None)
            self.commit(new_id, [], moved)
            self.commit_profile(new_id)
            self._index.clear_intent(speaker_id)

    def _move(self, path: str, new_path: str) -> None:
        if os.path.lexists(self._folder / path):
            top = self._folder / path.partition("/")[0]
            source = self._resealed(path, new_path) or self._folder / path
            files.put_in_place(source, self._folder / new_path, top)
            self.remove([path])  # and the folders that this leaves empty

    def _resealed(self, path: str, new_path: str) -> Path | None:
        """A temporary file with what one holds, sealed under another name; None: as it is."""
        if self._seal.key_id is None:
            return None
        try:
            data = self._unsealed(self._folder / path, path)
        except (OSError, ValueError):
            return None  # it can be read under no name
        temporary = files.write_temporary(self._files, self._seal.seal(data, sealed_name(new_path)))
        return self._files / temporary

    def _unsealed(self, file: Path, path: str) -> bytes:
        return self._seal.unseal(file.read_bytes(), sealed_name(path))

    def _read_back(self, recording: Recording) -> StoredFile:
        """Reads a file that was written a moment ago, or before the kill.

        Raises:
            NotReady: it is not there, or not as it was written.
        """
        try:
            stored = files.read_recording(self._files, recording.file_name, self._seal)
        except (FileNotFoundError, ValueError) as error:
            raise NotReady("The disk lost a recording; check it and try again.") from error
        if stored.sha256 != recording.sha256:
            raise NotReady("The disk gave other bytes back than written; check it and try again.")
        return stored


def _entry(recording: Recording, stored: StoredFile) -> Entry:
    return Entry(recording, stored.stat, stored.embeddings)
