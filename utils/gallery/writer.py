"""What changes the gallery, in an order that a kill or a power cut cannot spoil.

    enrol     file beside, fsync, rename, fsync the folder, commit the index
    add       as enrol
    replace   file beside, fsync, commit the intent, rename, unlink the old ones, fsync, commit
    delete    commit the intent, unlink, fsync the folder, commit

The steps after an intent can be done again and again, to the same end. Whoever calls anything
here holds the gallery's writer lock.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from utils.errors import AlreadyEnrolled, NotEnrolled, NotReady, TooManyRecordings
from utils.gallery import files
from utils.gallery.files import FileStat, Skipped, StoredFile
from utils.gallery.index import Entry, Index, Intent, Recording
from utils.speaker_id import parse_recording_file_name, recording_file_name

log = logging.getLogger(__name__)


class Writer:
    """Changes the files and the index of one gallery together."""

    def __init__(self, folder: Path, index: Index, model_id: str) -> None:
        """Takes the gallery's folder, its index, and the network that new recordings are of."""
        self._files = folder / "voice_gallery"
        self._mark = folder / ".writing"
        self._index = index
        self._model_id = model_id

    def is_interrupted(self) -> bool:
        """Whether the last writer died, or failed, before it had finished."""
        return self._mark.exists()

    def recover(self, remembered: Mapping[str, Recording]) -> list[Skipped]:
        """Finishes what the last writer left, and brings the index up to the folder.

        Args:
            remembered: by file name, what an index that is lost said of it.

        Returns:
            The files that take no part.

        Raises:
            OSError, sqlite3.Error: the disk does not take it; nothing is lost.
        """
        for intent in self._index.intents():
            try:
                self._finish(intent)
            except NotReady:
                log.warning("a re-registration is given up: its file is gone")
                with self._index.transaction():
                    self._index.clear_intent(intent.speaker_id)
        files.remove_leftovers(self._files)
        skipped = self._take_in_folder(remembered)
        self._index.forget_emptied()
        self._mark.unlink(missing_ok=True)
        return skipped

    def enrol(self, speaker_id: str, number: str, data: bytes, speech_s: float) -> None:
        """Enrols a speaker that this network does not know.

        Raises:
            AlreadyEnrolled: it does.
            OSError, sqlite3.Error: the disk does not take it; nothing is changed.
        """
        recording = self._describe(speaker_id, number, data, speech_s)
        known = self._index.recordings(speaker_id)
        if os.path.lexists(self._files / recording.file_name) and not any(
            one.file_name == recording.file_name for one in known
        ):
            self._take_in_folder({})  # somebody copied it in: then it is enrolled
            known = self._index.recordings(speaker_id)
        if self._index.is_enrolled(speaker_id, self._model_id):
            raise AlreadyEnrolled(
                f"{speaker_id} is enrolled already; send re_register=True to replace it."
            )
        if known:  # by another network
            self.replace(speaker_id, number, data, speech_s)
            return
        self._put_beside([], recording, speaker_id, data)

    def add(self, speaker_id: str, number: str, data: bytes, speech_s: float, most: int) -> None:
        """Puts a recording beside those that are enrolled of a speaker.

        Raises:
            NotEnrolled: this network knows no such speaker.
            AlreadyEnrolled: there is a recording of this number.
            TooManyRecordings: there are `most` already.
            OSError, sqlite3.Error: the disk does not take it; nothing is changed.
        """
        recording = self._describe(speaker_id, number, data, speech_s)
        if os.path.lexists(self._files / recording.file_name):
            self._take_in_folder({})  # if somebody copied it in, then it is enrolled
        known = self._index.recordings(speaker_id)
        ours = [one for one in known if one.model_id == self._model_id]
        if not ours:
            raise NotEnrolled(f"{speaker_id} is not enrolled; register a first recording.")
        if os.path.lexists(self._files / recording.file_name):
            raise AlreadyEnrolled(
                f"{speaker_id} has a recording {number} already; give this one another number."
            )
        if len(ours) >= most:
            raise TooManyRecordings(len(ours))
        self._put_beside(known, recording, speaker_id, data)

    def _put_beside(
        self, known: list[Recording], recording: Recording, speaker_id: str, data: bytes
    ) -> None:
        """Writes a new file, and tells the index of it and of those that are known."""
        with self._marked():
            temporary = files.write_temporary(self._files, data)
            try:
                files.put_in_place(self._files, temporary, recording.file_name)
                self._commit(speaker_id, [*known, recording])
            except BaseException:
                waits = (self._files / temporary).exists()
                files.remove_files(self._files, [temporary if waits else recording.file_name])
                raise

    def replace(self, speaker_id: str, number: str, data: bytes, speech_s: float) -> None:
        """Makes one recording all that there is of a speaker.

        Raises:
            OSError, sqlite3.Error: the disk does not take it. Either nothing is changed, or
                `recover` will finish it.
        """
        with self._marked():
            temporary = files.write_temporary(self._files, data)
            recording = self._describe(speaker_id, number, data, speech_s)
            intent = Intent(speaker_id, recording, temporary)
            try:
                files.sync_folder(self._files)  # the intent must not outlive the file's name
                self._index.put_intent(intent)
            except BaseException:
                (self._files / temporary).unlink(missing_ok=True)
                raise
            self._finish(intent)

    def delete(self, speaker_id: str) -> None:
        """Removes every file of a speaker, whoever made it, and all that the index says.

        Raises:
            NotEnrolled: there is nothing.
            OSError, sqlite3.Error: as `replace`.
        """
        here = files.speaker_files(self._files, speaker_id)
        if not here and not self._index.recordings(speaker_id):
            raise NotEnrolled(f"{speaker_id} is not enrolled; there is nothing to delete.")
        with self._marked():
            self._index.put_intent(Intent(speaker_id))
            self._finish(Intent(speaker_id))
            self._index.empty_log()

    def _finish(self, intent: Intent) -> None:
        """Carries an intent out from whatever step on."""
        keep = intent.recording.file_name if intent.recording else None
        if intent.recording and intent.temporary and (self._files / intent.temporary).exists():
            files.put_in_place(self._files, intent.temporary, intent.recording.file_name)
        if intent.recording:
            self._read_back(intent.recording)
        others = [one for one in files.speaker_files(self._files, intent.speaker_id) if one != keep]
        files.remove_files(self._files, others)
        self._commit(intent.speaker_id, [intent.recording] if intent.recording else [])

    def _commit(self, speaker_id: str, recordings: list[Recording]) -> None:
        """Tells the index that these are all there are of a speaker."""
        entries = []
        for recording in recordings:
            stored = self._read_back(recording)
            entries.append(Entry(recording, stored.stat, stored.embeddings))
        with self._index.transaction():
            self._index.put_speaker(speaker_id, entries)
            self._index.clear_intent(speaker_id)

    def _read_back(self, recording: Recording) -> StoredFile:
        """Reads a file that was written a moment ago, or before the kill.

        Raises:
            NotReady: it is not there, or not as it was written.
        """
        try:
            stored = files.read_recording(self._files, recording.file_name)
        except (FileNotFoundError, ValueError) as error:
            raise NotReady("The disk lost a recording; check it and try again.") from error
        if stored.sha256 != recording.sha256:
            raise NotReady("The disk gave other bytes back than written; check it and try again.")
        return stored

    def _describe(self, speaker_id: str, number: str, data: bytes, speech_s: float) -> Recording:
        return Recording(
            file_name=recording_file_name(speaker_id, number),
            number=number,
            enrolled_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            speech_s=float(speech_s),
            sha256=hashlib.sha256(data).hexdigest(),
            model_id=self._model_id,
        )

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Leaves a mark beside the files if what is done inside does not come to its end."""
        self._mark.touch()
        yield
        self._mark.unlink()

    def _take_in_folder(self, remembered: Mapping[str, Recording]) -> list[Skipped]:
        """Brings the index up to the folder; reads the files only whose stat it does not know."""
        found, skipped = files.scan(self._files)
        known = self._index.files()
        touched = {one for name, (one, _) in known.items() if name not in found}
        speaker_of: dict[str, str] = {}
        for name, stat in found.items():
            if name in known:
                speaker_of[name], known_stat = known[name]
            elif parsed := parse_recording_file_name(name):
                speaker_of[name], known_stat = parsed.speaker_id, None
            else:
                skipped.append(Skipped(name, "not named as a recording is"))
                continue
            if stat != known_stat:
                touched.add(speaker_of[name])
        names: dict[str, list[str]] = {one: [] for one in sorted(touched)}
        for name in sorted(speaker_of):
            if speaker_of[name] in names:
                names[speaker_of[name]].append(name)
        if names:
            known_stats = {name: stat for name, (_, stat) in known.items()}
            with self._index.transaction():
                for speaker_id in names:
                    skipped += self._take_in(speaker_id, names[speaker_id], known_stats, remembered)
        for one in skipped:
            log.warning("skipped %s: %s", one.file_name, one.reason)
        others = self._index.foreign_files(self._model_id)
        if others:
            log.warning("%d files are of another network and take no part", len(others))
        skipped += [Skipped(name, f"made by another network, {model}") for name, model in others]
        return skipped

    def _take_in(
        self,
        speaker_id: str,
        names: list[str],
        known_stats: Mapping[str, FileStat],
        remembered: Mapping[str, Recording],
    ) -> list[Skipped]:
        """Reads a speaker's files and makes them all that the index knows of the speaker."""
        known = self._index.recordings(speaker_id)
        known_by_name = {one.file_name: one for one in known}
        entries: list[Entry] = []
        skipped: list[Skipped] = []
        for name in names:
            try:
                stored = files.read_recording(self._files, name)
            except ValueError as error:
                skipped.append(Skipped(name, str(error)))
            except OSError as error:
                skipped.append(Skipped(name, f"cannot be read: {error.strerror}"))
            else:
                recording = self._recall(stored, known_by_name.get(name, remembered.get(name)))
                entries.append(Entry(recording, stored.stat, stored.embeddings))
        was = [(one, known_stats[one.file_name]) for one in known]
        if [(one.recording, one.stat) for one in entries] == was:
            return skipped  # a broken file alone, met again
        try:
            self._index.put_speaker(speaker_id, entries)
        except ValueError as error:
            self._index.put_speaker(speaker_id, [])
            skipped += [Skipped(one.recording.file_name, str(error)) for one in entries]
        return skipped

    def _recall(self, stored: StoredFile, known: Recording | None) -> Recording:
        """What was known of a file if it is still that one, else what it says itself."""
        if known is not None and known.sha256 == stored.sha256:
            return known
        name = parse_recording_file_name(stored.file_name)
        assert name is not None, "only parsed names come here"
        modified = datetime.fromtimestamp(stored.stat.mtime_ns / 1e9, UTC)
        return Recording(
            file_name=stored.file_name,
            number=name.number,
            enrolled_at=modified.isoformat(timespec="milliseconds"),
            speech_s=None,
            sha256=stored.sha256,
            model_id=self._model_id,
        )
