"""What is known of a speaker beside the voice: notes, consent, and what a deletion took away.

A profile lies as JSON beside the speaker's recordings, so that it travels with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from utils.errors import BadField, NotEnrolled
from utils.gallery.records import Recording

MAX_PROFILE_BYTES = 64 * 1024
MAX_ENTRIES = 64  # of the metadata
MAX_TEXT = 1024  # characters of a key, a value, or who gave a consent

Value = str | int | float | bool
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@checked_dataclass(frozen=True, config=_STRICT)
class Consent:
    """Who agreed that the voice is kept, when, and until when; times are UTC, ISO 8601."""

    given_by: str
    given_at: str
    until: str | None = None
    """None: until it is withdrawn. From then on the speaker does not answer any more."""

    def __post_init__(self) -> None:
        if not 0 < len(self.given_by) <= MAX_TEXT:
            raise BadField(f"A consent names who gave it, in 1 to {MAX_TEXT} characters.")
        object.__setattr__(self, "given_at", moment(self.given_at))
        if self.until is not None:
            object.__setattr__(self, "until", moment(self.until, end_of_day=True))

    def is_expired(self, now: datetime) -> bool:
        return self.until is not None and datetime.fromisoformat(self.until) <= now


@checked_dataclass(frozen=True, config=_STRICT)
class Profile:
    """Notes of the operator's own, by name, and the consent."""

    metadata: dict[str, Value] = field(default_factory=dict)
    consent: Consent | None = None
    updated_at: str | None = None
    """UTC, ISO 8601; the gallery sets it."""

    def __post_init__(self) -> None:
        if len(self.metadata) > MAX_ENTRIES:
            raise BadField(f"Metadata has at most {MAX_ENTRIES} entries.")
        texts = [*self.metadata, *(one for one in self.metadata.values() if isinstance(one, str))]
        if any(len(text) > MAX_TEXT for text in texts) or "" in self.metadata:
            raise BadField(
                f"A metadata key has 1 to {MAX_TEXT} characters, a text at most as many."
            )

    @property
    def is_empty(self) -> bool:
        return not self.metadata and self.consent is None

    def at(self, now: datetime) -> Profile:
        """The same, as of now."""
        return replace(self, updated_at=now.isoformat(timespec="milliseconds"))


@dataclass(frozen=True)
class SpeakerRecord:
    """All that a gallery says of one speaker; of every network's recordings."""

    speaker_id: str
    recordings: list[Recording]  # by file name
    speech_s: float | None
    """Seconds in all recordings; None where it is not known of one."""
    enrolled_at: str
    """Of the oldest recording."""
    updated_at: str
    """Of the newest recording, or of the profile where that is newer."""
    profile: Profile
    is_expired: bool
    """The consent has ended: the speaker does not answer any more."""


@dataclass(frozen=True)
class DeletedFile:
    """One file that a deletion removed."""

    name: str  # under the gallery's folder
    sha256: str | None  # hex; None where it could not be read
    bytes: int


@dataclass(frozen=True)
class Receipt:
    """What a deletion took away."""

    speaker_id: str
    deleted_at: str  # UTC, ISO 8601
    files: list[DeletedFile]
    verified_gone: bool
    """The disk was asked again afterwards, and has none of them."""


_ADAPTER = TypeAdapter(Profile)


def describe_speaker(
    speaker_id: str, recordings: Sequence[Recording], profile: Profile
) -> SpeakerRecord:
    """Puts together what is known of a speaker.

    Raises:
        NotEnrolled: there is no recording.
    """
    if not recordings:
        raise NotEnrolled(f"{speaker_id} is not enrolled; check the ID.")
    seconds = [one.speech_s for one in recordings]
    known = [one for one in seconds if one is not None]
    times = [one.enrolled_at for one in recordings]
    return SpeakerRecord(
        speaker_id=speaker_id,
        recordings=list(recordings),
        speech_s=sum(known) if len(known) == len(seconds) else None,
        enrolled_at=min(times),
        updated_at=max([*times, profile.updated_at or ""]),
        profile=profile,
        is_expired=bool(profile.consent and profile.consent.is_expired(datetime.now(UTC))),
    )


def moment(text: str, *, end_of_day: bool = False) -> str:
    """A time in its one form: UTC, ISO 8601, milliseconds.

    Args:
        text: a date, or a date and time; without an offset it is taken as UTC.
        end_of_day: whether a date alone means its last moment rather than its first.

    Raises:
        BadField: it is neither.

    Example:
        >>> moment("2027-01-31T09:00+09:00")
        '2027-01-31T00:00:00.000+00:00'
        >>> moment("2027-01-31", end_of_day=True)
        '2027-01-31T23:59:59.999+00:00'
    """
    try:
        parsed = datetime.fromisoformat(text)
        if end_of_day and len(text) == len("2027-01-31"):
            parsed = datetime.combine(parsed.date(), time(23, 59, 59, 999_000))
        parsed = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadField(
            f"{text[:40]!r} is no time; send it as 2027-01-31 or 2027-01-31T09:00+09:00."
        ) from error
    return parsed.isoformat(timespec="milliseconds")


def read_profile(value: Any) -> Profile:
    """Checks what a request or an archive says of a speaker, as JSON has it.

    Raises:
        BadField: a part is missing, unknown or of another type.
    """
    try:
        return _ADAPTER.validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:2]) or "the profile"
        wrong = first["msg"]
        if place.startswith("metadata."):
            wrong = "send text, a finite number, true or false"
        raise BadField(f"{place}: {wrong}; docs/gallery.md has the parts of a profile.") from error


def encode_profile(profile: Profile) -> bytes:
    """The bytes of a profile's file.

    Raises:
        BadField: more than 64 KiB.
    """
    data = json.dumps(_ADAPTER.dump_python(profile), ensure_ascii=False).encode()
    if len(data) > MAX_PROFILE_BYTES:
        raise BadField(f"Metadata and consent have at most {MAX_PROFILE_BYTES} bytes together.")
    return data


def decode_profile(data: bytes) -> Profile:
    """Reads the bytes of a profile's file.

    Raises:
        ValueError: more than 64 KiB, or no profile.
    """
    if len(data) > MAX_PROFILE_BYTES:
        raise ValueError(f"{len(data)} bytes; at most {MAX_PROFILE_BYTES} are read")
    try:
        return read_profile(json.loads(data))
    except (BadField, RecursionError) as error:
        raise ValueError(f"not a profile: {error}") from error
