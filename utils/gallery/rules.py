"""What may be changed in a gallery, wherever it is; asked by whoever is its only writer then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from utils.errors import (
    AlreadyEnrolled,
    ConsentExpired,
    LastRecording,
    NoSuchRecording,
    NotEnrolled,
    TooManyRecordings,
)
from utils.gallery.profile import Profile
from utils.gallery.records import Network, Recording, Take
from utils.scoring import centroid
from utils.speaker_id import recording_file_name


def check_consent(speaker_id: str, profile: Profile | None) -> None:
    """Raises ConsentExpired if what is known of a speaker says so."""
    if profile and profile.consent and profile.consent.is_expired(datetime.now(UTC)):
        raise ConsentExpired(
            f"The consent of {speaker_id} ended at {profile.consent.until}; record a new one, "
            "or delete the speaker."
        )


def already_enrolled(speaker_id: str) -> AlreadyEnrolled:
    """To be raised where somebody is registered whom this network knows."""
    return AlreadyEnrolled(
        f"{speaker_id} is enrolled already; send re_register=True to replace it."
    )


def name_taken(new_id: str) -> AlreadyEnrolled:
    """To be raised where somebody is renamed to somebody else."""
    return AlreadyEnrolled(f"{new_id} is enrolled already; choose another ID.")


def check_room(
    speaker_id: str,
    ours: Sequence[Recording],
    takes: Sequence[Take],
    most: int,
    is_there: Callable[[str], bool],
) -> None:
    """Accepts recordings that may join those which this network has of a speaker.

    Args:
        ours: recordings that there are.
        most: recordings that a speaker may have.
        is_there: whether a number is taken.

    Raises:
        NotEnrolled: there is none.
        AlreadyEnrolled: there is a recording of one of the numbers.
        TooManyRecordings: there would be more than `most`.
    """
    if not ours:
        raise NotEnrolled(f"{speaker_id} is not enrolled; register a first recording.")
    for take in takes:
        if take.number is not None and is_there(take.number):
            raise AlreadyEnrolled(
                f"{speaker_id} has a recording {take.number} already; give this one another number."
            )
    if len(ours) + len(takes) > most:
        raise TooManyRecordings(len(ours))


def require_known(speaker_id: str, known: list[Recording]) -> list[Recording]:
    """Gives the recordings back; raises NotEnrolled if there are none."""
    if not known:
        raise NotEnrolled(f"{speaker_id} is not enrolled; check the ID.")
    return known


def nothing_to_delete(speaker_id: str) -> NotEnrolled:
    """To be raised where somebody is deleted of whom there is nothing."""
    return NotEnrolled(f"{speaker_id} is not enrolled; there is nothing to delete.")


def all_but(speaker_id: str, known: list[Recording], number: str) -> list[Recording]:
    """The recordings that stay when one goes.

    Raises:
        NotEnrolled: there is no recording.
        NoSuchRecording: there is none of this number.
        LastRecording: none would stay.
    """
    name = recording_file_name(speaker_id, number)
    staying = [one for one in require_known(speaker_id, known) if one.file_name != name]
    if len(staying) == len(known):
        raise NoSuchRecording(f"{speaker_id} has no recording {number}; list them first.")
    if not staying:
        raise LastRecording(
            f"{number} is the only recording of {speaker_id}; delete the speaker, or add "
            "another recording first."
        )
    return staying


def free_number(
    known: Sequence[Recording], takes: Sequence[Take], is_there: Callable[[str], bool]
) -> int:
    """The first number beyond all that are known and asked for."""
    numbers = [one.number for one in known]
    numbers += [take.number for take in takes if take.number is not None]
    free = 1 + max((int(number) for number in numbers), default=-1)
    while is_there(str(free)):
        free += 1
    return free


def describe_recording(
    speaker_id: str, number: str, data: bytes, speech_s: float, network: Network
) -> Recording:
    """What is known of a recording that is enrolled now, of its .npy file."""
    return Recording(
        file_name=recording_file_name(speaker_id, number),
        number=number,
        enrolled_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        speech_s=float(speech_s),
        sha256=hashlib.sha256(data).hexdigest(),
        model_id=network.model_id,
        calibration_id=network.calibration_id,
    )


def centroids_by_network(
    recordings: Sequence[tuple[Recording, np.ndarray]],
) -> dict[str, np.ndarray]:
    """By network, the unit mean of all segments that a speaker has of it, float32 (64,).

    Raises:
        ValueError: they cancel each other out.
    """
    embeddings: dict[str, list[np.ndarray]] = {}
    for recording, rows in recordings:
        embeddings.setdefault(recording.model_id, []).append(rows)
    return {model: centroid(np.concatenate(rows)) for model, rows in embeddings.items()}
