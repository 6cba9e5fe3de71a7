"""What can be done with any gallery, wherever its voices are: in a folder, or in a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

import numpy as np

from utils.errors import BadField, NotReady
from utils.gallery.npy import decode_embeddings, encode_embeddings
from utils.gallery.profile import Profile, Receipt, SpeakerRecord, encode_profile
from utils.gallery.records import Network, Recording, Skipped, Take
from utils.gallery.snapshot import Snapshot
from utils.scoring import Candidate
from utils.speaker_id import check_number, check_speaker_id

Mode = Literal["register", "add", "replace"]


class Gallery(ABC):
    """The open gallery of one network; safe to share between the threads of one process.

    Each process opens its own, after the fork. What a method changed is durable when it returns,
    and every other process sees it in its next snapshot. Every method may raise NotReady: the
    disk or the database does not take it; nothing is changed then unless it says otherwise.

    Attributes:
        keeps_recordings: whether the sound that is given with a new recording is kept.
    """

    def __init__(self, network: Network, keep_recordings: bool) -> None:
        self._network = network
        self.keeps_recordings = keep_recordings

    @property
    def model_id(self) -> str:
        """The network whose embeddings are searched; those of others take no part."""
        return self._network.model_id

    @property
    def calibration_id(self) -> str | None:
        """Noted beside each new recording."""
        return self._network.calibration_id

    @property
    @abstractmethod
    def skipped(self) -> list[Skipped]:
        """What took no part at the opening: torn or foreign files, those of other networks."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of what is open. The gallery is not to be used after it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def register(
        self,
        speaker_id: str,
        number: str,
        embeddings: np.ndarray,
        speech_s: float,
        *,
        media: bytes | None = None,
    ) -> None:
        """Enrols a new speaker with one recording.

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
            ConsentExpired, BadSpeakerId, BadField, ValueError: as `register`.
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
            encode_embeddings(take.embeddings)  # what is none is refused before anything
        encode_profile(profile or Profile())
        if not self.keeps_recordings:
            takes = [replace(take, media=None) for take in takes]
        self._enrol(speaker_id, takes, mode, most, profile)

    @abstractmethod
    def _enrol(
        self,
        speaker_id: str,
        takes: Sequence[Take],
        mode: Mode,
        most: int,
        profile: Profile | None,
    ) -> None: ...

    @abstractmethod
    def restore(
        self,
        speaker_id: str,
        parts: Sequence[tuple[Recording, bytes, bytes | None]],
        profile: Profile | None,
    ) -> None:
        """Makes recordings from elsewhere, with what is said of them, all of a speaker.

        Args:
            parts: what is known of each, its .npy file, its sound or None; sound is kept here
                also where new recordings' is not.
        """

    def recompute(self, speaker_id: str, embed: Callable[[bytes], tuple[np.ndarray, float]]) -> int:
        """Gives a speaker's recordings of other networks the embeddings of this one.

        Args:
            embed: makes out of a kept recording's sound its embeddings, (segments, 64), and
                its seconds of speech.

        Returns:
            How many: those whose sound is kept. The others stay as they are.

        Raises:
            NotReady: a recording that is kept cannot be read.
            Whatever `embed` raises; nothing is changed then.
        """
        speaker_id = check_speaker_id(speaker_id)
        takes = {}
        for recording in self.recordings(speaker_id):
            if recording.model_id == self.model_id:
                continue
            try:
                media = self.media(recording)
            except (OSError, ValueError) as error:
                raise NotReady("A kept recording cannot be read; check the disk.") from error
            if media is not None:
                takes[recording] = Take(*embed(media), number=recording.number)
        if takes:
            self._rewrite(speaker_id, takes)
        return len(takes)

    @abstractmethod
    def _rewrite(self, speaker_id: str, takes: Mapping[Recording, Take]) -> None:
        """Gives recordings that are still there the embeddings of this network."""

    def set_profile(self, speaker_id: str, profile: Profile) -> None:
        """Makes this all that is known of a speaker beside the voice.

        From the end of the consent on, the speaker is not found any more.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            BadSpeakerId: not an ID.
            BadField: the profile is too large.
        """
        encode_profile(profile)
        self._set_profile(check_speaker_id(speaker_id), profile)

    @abstractmethod
    def _set_profile(self, speaker_id: str, profile: Profile) -> None: ...

    def rename(self, speaker_id: str, new_id: str) -> None:
        """Gives a speaker another ID; recordings and profile go with it.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            AlreadyEnrolled: the new ID is.
            BadSpeakerId: one of them is no ID.
        """
        speaker_id, new_id = check_speaker_id(speaker_id), check_speaker_id(new_id)
        if speaker_id == new_id:
            self.speaker(speaker_id)
        else:
            self._rename(speaker_id, new_id)

    @abstractmethod
    def _rename(self, speaker_id: str, new_id: str) -> None: ...

    def remove_recording(self, speaker_id: str, number: str) -> Receipt:
        """Removes one of a speaker's recordings.

        Raises:
            NotEnrolled: the speaker is not enrolled.
            NoSuchRecording: there is no recording of this number.
            LastRecording: there is no other.
            BadSpeakerId, BadField: the ID or the number is none.
        """
        return self._remove_recording(check_speaker_id(speaker_id), check_number(number))

    @abstractmethod
    def _remove_recording(self, speaker_id: str, number: str) -> Receipt: ...

    def delete(self, speaker_id: str) -> Receipt:
        """Removes all that there is of a speaker, other networks' and broken files too.

        Raises:
            NotEnrolled: there is nothing.
            BadSpeakerId: not an ID.
        """
        return self._delete(check_speaker_id(speaker_id))

    @abstractmethod
    def _delete(self, speaker_id: str) -> Receipt: ...

    def purge_expired(self, now: datetime | None = None) -> list[Receipt]:
        """Deletes every speaker whose consent has ended.

        What was deleted before an error stays deleted.

        Args:
            now: with an offset; the present unless given.
        """
        return self._purge((now or datetime.now(UTC)).astimezone(UTC))

    @abstractmethod
    def _purge(self, now: datetime) -> list[Receipt]: ...

    def search(self, probe: np.ndarray, top: int = 5) -> list[Candidate]:
        """Finds the speakers nearest to a probe, exactly.

        Args:
            probe: (64,) floats, of unit length.
            top: at least 1, how many are wanted.

        Returns:
            At most `top`, best first, equal scores in the order of their IDs; none when nobody
            is enrolled.

        Raises:
            ValueError: the probe is none, or `top` is below 1.
        """
        return self.snapshot().search(probe, top)

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """All that any process has committed, for several questions about one moment."""

    def __contains__(self, speaker_id: str) -> bool:
        return check_speaker_id(speaker_id) in self.snapshot()

    def __len__(self) -> int:
        return self.snapshot().count

    def speaker_ids(self) -> list[str]:
        """All that can be found, in order."""
        now = self.snapshot()
        return sorted(now.ids[: now.count])

    @abstractmethod
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

    @abstractmethod
    def speaker(self, speaker_id: str) -> SpeakerRecord:
        """What is known of one speaker.

        Raises:
            NotEnrolled: there is no recording.
            BadSpeakerId: not an ID.
        """

    @abstractmethod
    def recordings(self, speaker_id: str) -> list[Recording]:
        """What is known of a speaker's recordings, by file name; none of an unknown one."""

    @abstractmethod
    def file(self, recording: Recording) -> bytes:
        """The bytes of a recording's .npy file, as they are now.

        Raises:
            OSError: it is gone, or cannot be read.
            ValueError: it is larger than any of ours, or not what was sealed.
        """

    @abstractmethod
    def media(self, recording: Recording) -> bytes | None:
        """The sound of a recording; None where it is not kept.

        Raises:
            OSError: it is there and cannot be read.
            ValueError: it is not what was sealed.
        """

    def embeddings(self, speaker_id: str) -> dict[str, np.ndarray]:
        """What is in the files of a speaker, by file name: float32 (segments, 64) each.

        Files of other networks, and those that cannot be read, are left out.
        """
        found = {}
        for recording in self.recordings(speaker_id):
            if recording.model_id == self.model_id:
                with suppress(OSError, ValueError):
                    found[recording.file_name] = decode_embeddings(self.file(recording))
        return found
