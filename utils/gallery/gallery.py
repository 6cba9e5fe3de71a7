"""Enrolled voices: .npy files that are the truth, an index over them, exact search in memory.

    gallery/
      voice_gallery/    one .npy a recording, named as `speaker_id.recording_file_name` has it;
                        a speaker's profile beside it as .json
      recordings/       the sound itself, where a gallery keeps it
      index.sqlite      what is known about the files; made again from them when it is missing
      .lock             whose holder alone writes; the kernel frees it when the holder dies
      .writing          there while files are written; left by a writer that did not finish

How a change stays whole: a new recording is written under a temporary name, seen to the disk,
renamed, and only then committed to the index. A change of several files (a re-registration, a
deletion) is first committed as an intent; whoever takes the lock after its writer died carries it
out before anything else. All of it holds for several threads and processes over one folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from utils.errors import BadField, NotEnrolled
from utils.gallery import files
from utils.gallery.files import Skipped
from utils.gallery.index import Index
from utils.gallery.plans import VOICES, media_path
from utils.gallery.profile import Profile, Receipt, SpeakerRecord, decode_profile, encode_profile
from utils.gallery.records import Network, Recording, Take
from utils.gallery.snapshot import Snapshot, View
from utils.gallery.store import Store
from utils.scoring import Candidate
from utils.speaker_id import check_number, check_speaker_id

__all__ = ["Candidate", "Gallery", "Mode", "Recording", "Skipped", "Snapshot", "Take"]

Mode = Literal["register", "add", "replace"]


class Gallery(Store):
    """The open gallery of one network; safe to share between the threads of one process.

    Each process opens its own, after the fork. `skipped` names the files that take no part:
    torn or foreign ones, and those that another network made.
    """

    def __init__(
        self,
        folder: Path,
        model_id: str,
        *,
        calibration_id: str | None = None,
        keep_recordings: bool = False,
    ) -> None:
        """Opens a gallery, and makes an empty one where there is none.

        Finishes what a killed writer left, takes in files that were copied into the folder (as
        made by this network: a file does not say by which), drops what is known of files that
        are gone. With an intact index no file is opened for it.

        Args:
            folder: holds voice_gallery/ and index.sqlite.
            model_id: the network whose embeddings are searched; those of others stay where
                they are and take no part.
            calibration_id: noted beside each new recording.
            keep_recordings: whether the sound that is given with a recording is kept.

        Raises:
            NotReady: the folder cannot be written, the disk is full, or another process has
                been writing for a minute.
        """
        super().__init__(folder, Network(model_id, calibration_id))
        self.keeps_recordings = keep_recordings

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def model_id(self) -> str:
        return self._network.model_id

    @property
    def calibration_id(self) -> str | None:
        return self._network.calibration_id

    def register(
        self,
        speaker_id: str,
        number: str,
        embeddings: np.ndarray,
        speech_s: float,
        *,
        media: bytes | None = None,
    ) -> None:
        """Enrols a new speaker with one recording; durable when this returns.

        A speaker of whom there are only another network's recordings is new to this one: the
        recording replaces those.

        Args:
            speaker_id: as `check_speaker_id` takes it.
            number: of the recording, digits.
            embeddings: (segments, 64) floats, segments at least 1, rows of unit length.
            speech_s: seconds of speech that the embeddings are of.
            media: the recording itself, kept where this gallery keeps recordings.

        Raises:
            AlreadyEnrolled: the ID is known.
            ConsentExpired: the consent of whoever has this ID has ended.
            BadSpeakerId, BadField: the ID or the number is none.
            NotReady: the disk does not take it; nothing is changed then.
            ValueError: the embeddings are none.
        """
        takes = [Take(embeddings, speech_s, number, media)]
        self.enrol_several(speaker_id, takes, "register")

    def replace(
        self,
        speaker_id: str,
        number: str,
        embeddings: np.ndarray,
        speech_s: float,
        *,
        media: bytes | None = None,
    ) -> None:
        """Makes one recording all that is enrolled of a speaker, known or not.

        Args and errors as `register`, without AlreadyEnrolled. After NotReady the old
        recordings are enrolled; or, where the disk failed at the very end, the new one will be
        as soon as the disk takes it.
        """
        self.enrol_several(speaker_id, [Take(embeddings, speech_s, number, media)], "replace")

    def add(
        self,
        speaker_id: str,
        number: str,
        embeddings: np.ndarray,
        speech_s: float,
        most: int,
        *,
        media: bytes | None = None,
    ) -> None:
        """Lets a recording answer together with those that are enrolled of a speaker.

        The speaker's centroid is of the segments of all, each of unit length.

        Args:
            most: recordings that a speaker may have.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            AlreadyEnrolled: there is a recording of this number.
            TooManyRecordings: there are `most` already.
            ConsentExpired, BadSpeakerId, BadField, NotReady, ValueError: as `register`.
        """
        self.enrol_several(speaker_id, [Take(embeddings, speech_s, number, media)], "add", most)

    def enrol_several(
        self,
        speaker_id: str,
        takes: Sequence[Take],
        mode: Mode,
        most: int = 1,
        *,
        profile: Profile | None = None,
    ) -> None:
        """Enrols recordings of one speaker together: all of them or none.

        Args:
            takes: at least one.
            mode: as the method of that name.
            most: recordings that a speaker may have with "add".
            profile: what is known of the speaker from then on; None leaves it as it is. Not
                with "add".

        Raises:
            BadField: two recordings have one number.
            TooManyRecordings, and what the methods of the modes raise.
        """
        speaker_id = check_speaker_id(speaker_id)
        numbers = [check_number(take.number) for take in takes if take.number is not None]
        if len(set(numbers)) < len(numbers):
            raise BadField("Two of the recordings have one number; give each its own.")
        for take in takes:
            files.encode_embeddings(take.embeddings)  # what is none is refused before anything
        encode_profile(profile or Profile())
        if not self.keeps_recordings:
            takes = [replace(take, media=None) for take in takes]
        with self._writing() as writer:
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
        """Makes recordings out of an archive, with what it says of them, all of a speaker.

        Args:
            parts: what is known of each, its .npy file, its sound or None; sound is kept here
                also where new recordings' is not.

        Raises:
            NotReady: as `replace`.
        """
        with self._writing() as writer:
            writer.restore(check_speaker_id(speaker_id), parts, profile)

    def recompute(self, speaker_id: str, embed: Callable[[bytes], tuple[np.ndarray, float]]) -> int:
        """Gives a speaker's recordings of other networks the embeddings of this one.

        Args:
            embed: makes out of a kept recording's sound its embeddings, (segments, 64), and
                its seconds of speech.

        Returns:
            How many: those whose sound is kept. The others stay as they are.

        Raises:
            NotReady: as `replace`; and whatever `embed` raises. Nothing is changed then.
        """
        takes = {}
        for recording in self.recordings(speaker_id):
            if recording.model_id == self.model_id:
                continue
            media = self.media(recording)
            if media is not None:
                takes[recording] = Take(*embed(media), number=recording.number)
        if takes:
            with self._writing() as writer:
                now = writer.recordings(check_speaker_id(speaker_id))
                takes = {old: take for old, take in takes.items() if old in now}
                if takes:
                    writer.rewrite(check_speaker_id(speaker_id), takes)
        return len(takes)

    def media(self, recording: Recording) -> bytes | None:
        """The sound of a recording; None where it is not kept.

        Raises:
            OSError: it is there and cannot be read.
        """
        try:
            return (self._folder / media_path(recording.file_name)).read_bytes()
        except FileNotFoundError:
            return None

    def set_profile(self, speaker_id: str, profile: Profile) -> None:
        """Makes this all that is known of a speaker beside the voice.

        From the end of the consent on, the speaker is not found any more.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            BadSpeakerId: not an ID.
            BadField: the profile is too large.
            NotReady: as `replace`.
        """
        speaker_id = check_speaker_id(speaker_id)
        encode_profile(profile)
        with self._writing() as writer:
            writer.set_profile(speaker_id, profile)

    def rename(self, speaker_id: str, new_id: str) -> None:
        """Gives a speaker another ID; recordings and profile go with it.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            AlreadyEnrolled: the new ID is.
            BadSpeakerId: one of them is no ID.
            NotReady: as `replace`.
        """
        speaker_id, new_id = check_speaker_id(speaker_id), check_speaker_id(new_id)
        if speaker_id == new_id:
            self.speaker(speaker_id)
            return
        with self._writing() as writer:
            writer.rename(speaker_id, new_id)

    def remove_recording(self, speaker_id: str, number: str) -> Receipt:
        """Removes one of a speaker's recordings.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            NoSuchRecording: there is no recording of this number.
            LastRecording: there is no other.
            BadSpeakerId, BadField: the ID or the number is none.
            NotReady: as `replace`.
        """
        speaker_id, number = check_speaker_id(speaker_id), check_number(number)
        with self._writing() as writer:
            return writer.remove_recording(speaker_id, number)

    def delete(self, speaker_id: str) -> Receipt:
        """Removes all that there is of a speaker, other networks' and broken files too.

        Raises:
            NotEnrolled: there is nothing.
            BadSpeakerId: not an ID.
            NotReady: as `replace`.
        """
        speaker_id = check_speaker_id(speaker_id)
        with self._writing() as writer:
            return writer.delete(speaker_id)

    def purge_expired(self, now: datetime | None = None) -> list[Receipt]:
        """Deletes every speaker whose consent has ended.

        Args:
            now: with an offset; the present unless given.

        Raises:
            NotReady: as `replace`; what was deleted before it stays deleted.
        """
        text = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
        with self._writing() as writer:
            return [writer.delete(one) for one in writer.expired(text)]

    def search(self, probe: np.ndarray, top: int = 5) -> list[Candidate]:
        """Finds the speakers nearest to a probe, exactly.

        Args:
            probe: (64,) floats, of unit length.
            top: at least 1, how many are wanted.

        Returns:
            At most `top`, best first, equal scores in the order of their IDs; none when nobody
            is enrolled.

        Raises:
            NotReady: the index cannot be read.
            ValueError: the probe is none, or `top` is below 1.
        """
        return self.snapshot().search(probe, top)

    def snapshot(self) -> Snapshot:
        """All that any process has committed, for several questions about one moment.

        Raises:
            NotReady: the index cannot be read.
        """
        return self._read(View.snapshot)

    def __contains__(self, speaker_id: str) -> bool:
        return check_speaker_id(speaker_id) in self.snapshot()

    def __len__(self) -> int:
        return self.snapshot().count

    def speaker_ids(self) -> list[str]:
        """All that can be found, in order."""
        now = self.snapshot()
        return sorted(now.ids[: now.count])

    def speakers(
        self, query: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[SpeakerRecord], int]:
        """A page of what is known of the speakers, those of other networks and expired ones too.

        Args:
            query: a part of the ID, whatever its case.
            offset, limit: how many are passed over, and at most given, in the order of IDs.

        Returns:
            The page, and how many there are on all pages.
        """
        text = unicodedata.normalize("NFC", query)

        def ask(index: Index) -> tuple[list[SpeakerRecord], int]:
            page, total = index.speakers(text, offset, limit)
            return [_record(index, speaker_id) for speaker_id in page], total

        return self._ask(ask)

    def speaker(self, speaker_id: str) -> SpeakerRecord:
        """What is known of one speaker.

        Raises:
            NotEnrolled: there is no recording.
            BadSpeakerId: not an ID.
        """
        speaker_id = check_speaker_id(speaker_id)
        return self._ask(lambda index: _record(index, speaker_id))

    def recordings(self, speaker_id: str) -> list[Recording]:
        """What is known of a speaker's recordings, by file name; none of an unknown one."""
        speaker_id = check_speaker_id(speaker_id)
        return self._ask(lambda index: index.recordings(speaker_id))

    def embeddings(self, speaker_id: str) -> dict[str, np.ndarray]:
        """What is in the files of a speaker, by file name: float32 (segments, 64) each.

        Files of other networks, and those that cannot be read, are left out.
        """
        found = {}
        for recording in self.recordings(speaker_id):
            if recording.model_id == self.model_id:
                with suppress(OSError, ValueError):
                    stored = files.read_recording(self._folder / VOICES, recording.file_name)
                    found[recording.file_name] = stored.embeddings
        return found


def _record(index: Index, speaker_id: str) -> SpeakerRecord:
    recordings = index.recordings(speaker_id)
    if not recordings:
        raise NotEnrolled(f"{speaker_id} is not enrolled; check the ID.")
    document = index.profile(speaker_id)
    profile = decode_profile(document.encode()) if document is not None else Profile()
    seconds = [one.speech_s for one in recordings]
    known = [one for one in seconds if one is not None]
    times = [one.enrolled_at for one in recordings]
    return SpeakerRecord(
        speaker_id=speaker_id,
        recordings=recordings,
        speech_s=sum(known) if len(known) == len(seconds) else None,
        enrolled_at=min(times),
        updated_at=max([*times, profile.updated_at or ""]),
        profile=profile,
        is_expired=bool(profile.consent and profile.consent.is_expired(datetime.now(UTC))),
    )
