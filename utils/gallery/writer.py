"""What changes the gallery, in an order that a kill or a power cut cannot spoil.

    enrol     file beside, fsync, rename, fsync the folder, commit the index
    replace   files beside, fsync, commit the intent, rename, unlink the old ones, fsync, commit
    delete    commit the intent, unlink, fsync the folder, commit
    rename    commit the intent, rename, fsync the folder, commit

Several recordings at once, or one with a profile, go the way of `replace`. The steps after an
intent can be done again and again, to the same end. Whoever calls anything here holds the
gallery's writer lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from utils.errors import NotReady
from utils.gallery import files, rules
from utils.gallery.index import Index
from utils.gallery.intake import take_in_folder
from utils.gallery.names import VOICES, media_path, sealed_name
from utils.gallery.npy import encode_embeddings
from utils.gallery.plans import Executor
from utils.gallery.profile import Profile, Receipt, decode_profile, encode_profile
from utils.gallery.receipts import describe, receipt
from utils.gallery.records import Network, Plan, Recording, Skipped, Take, Waiting
from utils.sealing import Seal
from utils.speaker_id import profile_file_name, recording_file_name

log = logging.getLogger(__name__)


class Writer:
    """Changes the files and the index of one gallery together."""

    def __init__(self, folder: Path, index: Index, network: Network, seal: Seal) -> None:
        """Takes the gallery's folder, its index, the network of new recordings, and the seal."""
        self._folder = folder
        self._files = folder / VOICES
        self._mark = folder / ".writing"
        self._index = index
        self._network = network
        self._seal = seal
        self._executor = Executor(folder, index, seal)

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
        for plan in self._index.intents():
            try:
                self._executor.carry_out(plan)
            except (NotReady, ValueError):
                log.warning("an enrolment is given up: its files are gone or make no voice")
                with self._index.transaction():
                    self._index.clear_intent(plan.speaker_id)
        files.remove_leftovers(self._files)
        skipped = take_in_folder(self._files, self._index, self._network, self._seal, remembered)
        self._executor.remove_orphaned_media()
        self._index.forget_emptied()
        self._mark.unlink(missing_ok=True)
        return skipped

    def register(
        self, speaker_id: str, takes: Sequence[Take], profile: Profile | None = None
    ) -> None:
        """Enrols a speaker that this network does not know.

        Raises:
            AlreadyEnrolled: it does.
            ConsentExpired: what is known of the speaker says so.
            OSError, sqlite3.Error: the disk does not take it; nothing is changed.
        """
        known = self._known(speaker_id, takes)
        if self._index.is_enrolled(speaker_id, self._network.model_id):
            self._check_consent(speaker_id, profile)
            raise rules.already_enrolled(speaker_id)
        if known:  # by another network
            self.replace(speaker_id, takes, profile)
        else:
            self._put_beside(speaker_id, takes, profile)

    def add(self, speaker_id: str, takes: Sequence[Take], most: int) -> None:
        """Puts recordings beside those that are enrolled of a speaker.

        Raises:
            NotEnrolled: this network knows no such speaker.
            AlreadyEnrolled: there is a recording of one of the numbers.
            TooManyRecordings: there would be more than `most`.
            ConsentExpired: what is known of the speaker says so.
            OSError, sqlite3.Error: the disk does not take it; nothing is changed.
        """
        ours = [
            one for one in self._known(speaker_id, takes) if one.model_id == self._network.model_id
        ]
        rules.check_room(
            speaker_id, ours, takes, most, lambda number: self._is_there(speaker_id, number)
        )
        self._put_beside(speaker_id, takes, None)

    def replace(
        self, speaker_id: str, takes: Sequence[Take], profile: Profile | None = None
    ) -> None:
        """Makes these recordings all that there are of a speaker; what else is known stays.

        Raises:
            ConsentExpired: what is known of the speaker says so.
            OSError, sqlite3.Error: the disk does not take it. Either nothing is changed, or
                `recover` will finish it.
        """
        self._check_consent(speaker_id, profile)
        self._commit_to(speaker_id, takes, profile, keeps=False)

    def rewrite(self, speaker_id: str, takes: Mapping[Recording, Take]) -> None:
        """Gives recordings that are there the embeddings of this network; errors as `replace`."""
        with self._marked():
            put: list[Waiting] = []
            for old, take in takes.items():
                data = encode_embeddings(take.embeddings)
                new = replace(
                    self._describe(speaker_id, old.number, data, take.speech_s),
                    enrolled_at=old.enrolled_at,
                )
                put.append(self._write(f"{VOICES}/{new.file_name}", data, new))
            self._begin(Plan(speaker_id, tuple(put), keeps=True))

    def restore(
        self,
        speaker_id: str,
        parts: Sequence[tuple[Recording, bytes, bytes | None]],
        profile: Profile | None,
    ) -> None:
        """Makes recordings out of an archive, with what it says of them, all of a speaker.

        Args:
            parts: what is known of each, its .npy file, and its sound where that is kept.

        Raises:
            OSError, sqlite3.Error: as `replace`.
        """
        with self._marked():
            put = [
                waiting
                for recording, data, media in parts
                for waiting in self._write_recording(recording, data, media)
            ]
            put += self._write_profile(speaker_id, profile)
            self._begin(Plan(speaker_id, tuple(put)))

    def set_profile(self, speaker_id: str, profile: Profile) -> None:
        """Makes this all that is known of a speaker beside the voice.

        Raises:
            NotEnrolled: there is no recording.
            OSError, sqlite3.Error: the disk does not take it. Either nothing is changed, or
                `recover` will finish it.
        """
        rules.require_known(speaker_id, self._index.recordings(speaker_id))
        with self._marked():
            if profile.is_empty:
                files.remove_files(self._files, [profile_file_name(speaker_id)])
            for waiting in self._write_profile(speaker_id, profile):
                self._executor.put_in_place(waiting)
            with self._index.transaction():
                self._executor.commit_profile(speaker_id)

    def rename(self, speaker_id: str, new_id: str) -> None:
        """Gives a speaker another ID, with everything that there is.

        Raises:
            NotEnrolled: there is no recording.
            AlreadyEnrolled: there are recordings under the new ID.
            OSError, sqlite3.Error: as `replace`.
        """
        rules.require_known(speaker_id, self._index.recordings(speaker_id))
        if files.speaker_files(self._files, new_id) or self._index.recordings(new_id):
            raise rules.name_taken(new_id)
        with self._marked():
            files.remove_files(self._files, [profile_file_name(new_id)])  # of nobody
            self._begin(Plan(speaker_id, rename_to=new_id))

    def remove_recording(self, speaker_id: str, number: str) -> Receipt:
        """Removes one recording of several.

        Raises:
            NotEnrolled: there is no recording.
            NoSuchRecording: there is none of this number.
            LastRecording: there is no other that would answer.
            OSError, sqlite3.Error: as `replace`.
        """
        staying = rules.all_but(speaker_id, self._index.recordings(speaker_id), number)
        name = recording_file_name(speaker_id, number)
        going = describe(self._folder, [f"{VOICES}/{name}", media_path(name)])
        with self._marked():
            self._executor.remove([one.name for one in going])
            with self._index.transaction():
                self._executor.commit(speaker_id, [], staying)
            self._index.empty_log()
        return receipt(self._folder, speaker_id, going)

    def delete(self, speaker_id: str) -> Receipt:
        """Removes every file of a speaker, whoever made it, and all that the index says.

        Raises:
            NotEnrolled: there is nothing.
            OSError, sqlite3.Error: as `replace`.
        """
        going = describe(self._folder, self._executor.all_files(speaker_id))
        if not going and not self._index.recordings(speaker_id):
            raise rules.nothing_to_delete(speaker_id)
        with self._marked():
            self._begin(Plan(speaker_id))
            self._index.empty_log()
        return receipt(self._folder, speaker_id, going)

    def recordings(self, speaker_id: str) -> list[Recording]:
        """What is enrolled of a speaker."""
        return self._index.recordings(speaker_id)

    def expired(self, now: str) -> list[str]:
        """The speakers whose consent had ended by a time, UTC in ISO 8601."""
        return self._index.expired(now)

    def _known(self, speaker_id: str, takes: Sequence[Take]) -> list[Recording]:
        """What is enrolled of a speaker, once files that somebody copied in are, too."""
        known = self._index.recordings(speaker_id)
        names = {one.file_name for one in known}
        numbers = [take.number for take in takes if take.number is not None]
        if any(
            self._is_there(speaker_id, number)
            and recording_file_name(speaker_id, number) not in names
            for number in numbers
        ):
            take_in_folder(self._files, self._index, self._network, self._seal, {})
            known = self._index.recordings(speaker_id)
        return known

    def _is_there(self, speaker_id: str, number: str) -> bool:
        return os.path.lexists(self._files / recording_file_name(speaker_id, number))

    def _check_consent(self, speaker_id: str, profile: Profile | None) -> None:
        document = self._index.profile(speaker_id)
        if profile is None and document is not None:
            profile = decode_profile(document.encode())
        rules.check_consent(speaker_id, profile)

    def _put_beside(self, speaker_id: str, takes: Sequence[Take], profile: Profile | None) -> None:
        """Writes new files, and tells the index of them and of those that are known."""
        self._check_consent(speaker_id, profile)
        if len(takes) > 1 or profile is not None:
            self._commit_to(speaker_id, takes, profile, keeps=True)
            return
        known = self._index.recordings(speaker_id)
        with self._marked():
            put = self._write_takes(speaker_id, takes)
            try:
                for waiting in put:
                    self._executor.put_in_place(waiting)
                new = [one.recording for one in put if one.recording]
                with self._index.transaction():
                    self._executor.commit(speaker_id, new, known)
            except BaseException:
                self._take_back(put)
                raise

    def _commit_to(
        self, speaker_id: str, takes: Sequence[Take], profile: Profile | None, *, keeps: bool
    ) -> None:
        """Writes files beside, makes the change an intent, and carries it out."""
        with self._marked():
            put = self._write_takes(speaker_id, takes)
            try:
                put += self._write_profile(speaker_id, profile)
            except BaseException:
                self._take_back(put)
                raise
            self._begin(Plan(speaker_id, tuple(put), keeps=keeps))

    def _begin(self, plan: Plan) -> None:
        try:
            self._executor.check(plan)
            if plan.put:
                files.sync_folder(self._files)  # the intent must not outlive the files' names
            self._index.put_intent(plan)
        except BaseException:
            self._take_back(plan.put)
            raise
        self._executor.carry_out(plan)

    def _write_takes(self, speaker_id: str, takes: Sequence[Take]) -> list[Waiting]:
        put: list[Waiting] = []
        free = rules.free_number(
            self._index.recordings(speaker_id),
            takes,
            lambda number: self._is_there(speaker_id, number),
        )
        try:
            for take in takes:
                data = encode_embeddings(take.embeddings)
                number = take.number
                if number is None:
                    number, free = str(free), free + 1
                recording = self._describe(speaker_id, number, data, take.speech_s)
                put += self._write_recording(recording, data, take.media)
        except BaseException:
            self._take_back(put)
            raise
        return put

    def _write_recording(
        self, recording: Recording, data: bytes, media: bytes | None
    ) -> list[Waiting]:
        """The sound first: without a recording beside it, it is nobody's and is removed."""
        put = []
        if media is not None:
            put.append(self._write(media_path(recording.file_name), media))
        try:
            put.append(self._write(f"{VOICES}/{recording.file_name}", data, recording))
        except BaseException:
            self._take_back(put)
            raise
        return put

    def _write_profile(self, speaker_id: str, profile: Profile | None) -> list[Waiting]:
        if profile is None or profile.is_empty:
            return []
        data = encode_profile(profile.at(datetime.now(UTC)))
        return [self._write(f"{VOICES}/{profile_file_name(speaker_id)}", data)]

    def _write(self, path: str, data: bytes, recording: Recording | None = None) -> Waiting:
        kept = self._seal.seal(data, sealed_name(path))
        return Waiting(files.write_temporary(self._files, kept), path, recording)

    def _take_back(self, put: Sequence[Waiting]) -> None:
        """Removes files of a change that is not made, whether they have their names or not."""
        for one in put:
            waits = (self._files / one.temporary).exists()
            path = f"{VOICES}/{one.temporary}" if waits else one.path
            self._executor.remove([path])

    def _describe(self, speaker_id: str, number: str, data: bytes, speech_s: float) -> Recording:
        return rules.describe_recording(speaker_id, number, data, speech_s, self._network)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Leaves a mark beside the files if what is done inside does not come to its end."""
        self._mark.touch()
        yield
        self._mark.unlink()
