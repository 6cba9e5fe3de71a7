"""Who a recording is of: the rules for speaker IDs, and the file names that are made of them.

Text in, text out; nothing here opens a file.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from utils.errors import BadField, BadRequest, BadSpeakerId

MAX_ID_CHARACTERS = 128
MAX_NUMBER_DIGITS = 32  # a time stamp in nanoseconds has 19
RECORDING_SUFFIXES = frozenset(
    {"mp4", "m4a", "mov", "webm", "mkv", "wav", "flac", "mp3", "ogg", "opus", "avi"}
)

# One character has at most four in decomposed form (U+1F82 has), so a text with more than four
# times the limit cannot be an ID; normalising it first would cost time that grows with its square.
_MAX_RAW_CHARACTERS = 4 * MAX_ID_CHARACTERS

_PLAIN_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
# What a file name must not begin with: "." hides it, "-" reads as an option, and Windows takes
# "con.anything" for a device.
_BAD_BEGINNING = re.compile(r"[.-]|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])\.")
# File systems take names of 255 bytes. A longer one is cut into folders; "+" is never plain, so
# the seam occurs nowhere else, and no piece after it begins with a dot, a dash or a device.
_PIECE_LENGTH = 200
_SEAM = "+/+"
_SUFFIX = ".npy"
_PROFILE_SUFFIX = ".json"


@dataclass(frozen=True)
class RecordingName:
    """What the name of a recording says."""

    speaker_id: str  # NFC, as `check_speaker_id` returns it
    number: str  # ASCII digits, leading zeros kept


def check_speaker_id(speaker_id: str) -> str:
    """Gives an ID in its one form, Unicode NFC.

    Raises:
        BadSpeakerId: not 1 to 128 characters, a control character or half a surrogate pair in
            it, "/" or "\\" in it, or "." or "..".

    Example:
        >>> check_speaker_id("hong@example.org")
        'hong@example.org'
    """
    if len(speaker_id) > _MAX_RAW_CHARACTERS:
        raise _too_long(len(speaker_id))
    speaker_id = unicodedata.normalize("NFC", speaker_id)
    if not speaker_id:
        raise BadSpeakerId("The speaker ID is empty; put it before the last '-' of the name.")
    if len(speaker_id) > MAX_ID_CHARACTERS:
        raise _too_long(len(speaker_id))
    if speaker_id in {".", ".."}:
        raise BadSpeakerId(f"'{speaker_id}' cannot be a speaker ID; choose another.")
    for character in speaker_id:
        if character in "/\\" or unicodedata.category(character) in {"Cc", "Cs"}:
            raise BadSpeakerId(
                f"The speaker ID contains U+{ord(character):04X}; leave out '/', '\\', "
                "control characters and surrogates."
            )
    return speaker_id


def check_number(number: str) -> str:
    """Gives a recording's number back as it is.

    Raises:
        BadField: not 1 to 32 ASCII digits.
    """
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_NUMBER_DIGITS):
        raise BadField(
            "A recording's name ends in '-' and a number of at most "
            f"{MAX_NUMBER_DIGITS} digits, as in hong@example.org-0.mp4; "
            f"got {number[: MAX_NUMBER_DIGITS + 1]!r} for the number."
        )
    return number


def parse_recording_name(name: str) -> RecordingName:
    """Reads "<speaker ID>-<number>.mp4"; the ID is all before the last "-".

    Raises:
        BadField: another suffix than `RECORDING_SUFFIXES` (case does not matter), no "-", or no
            number after it.
        BadSpeakerId: as `check_speaker_id`.

    Example:
        >>> parse_recording_name("kim-min@example.org-07.MP4")
        RecordingName(speaker_id='kim-min@example.org', number='07')
    """
    stem, _, suffix = name.rpartition(".")
    if suffix.lower() not in RECORDING_SUFFIXES:
        raise BadField(
            "A recording is named <speaker ID>-<number>.mp4 (or another of "
            f"{', '.join(sorted(RECORDING_SUFFIXES))}); this name ends in {suffix[:16]!r}."
        )
    speaker_id, dash, number = stem.rpartition("-")
    if not dash:
        raise BadField("A recording is named <speaker ID>-<number>.mp4; this name has no '-'.")
    return RecordingName(check_speaker_id(speaker_id), check_number(number))


def recording_file_name(speaker_id: str, number: str) -> str:
    """Names the gallery's file of one recording.

    Lower-case ASCII letters, digits, ".", "_" and "-" stand for themselves, every other byte of
    the UTF-8 text is "%" and two hex digits: any ID is a safe name on every system, and IDs that
    differ only in letter case stay apart where the file system does not care about case. A name
    of more than 200 bytes is cut into folders.

    Returns:
        The path under the gallery's folder, with "/" between folders.

    Raises:
        BadSpeakerId, BadField: as `check_speaker_id`, `check_number`.

    Example:
        >>> recording_file_name("hong@example.org", "0")
        'hong%40example.org-0.npy'
        >>> recording_file_name("홍" * 23, "0").count("/")
        1
    """
    return f"{_on_disk(check_speaker_id(speaker_id))}-{check_number(number)}{_SUFFIX}"


def parse_recording_file_name(file_name: str) -> RecordingName | None:
    """Reads what `recording_file_name` wrote; None for any other name.

    Example:
        >>> parse_recording_file_name("hong%40example.org-0.npy")
        RecordingName(speaker_id='hong@example.org', number='0')
        >>> parse_recording_file_name("Hong-0.npy") is None
        True
    """
    text, _, number = file_name.removesuffix(_SUFFIX).replace(_SEAM, "").rpartition("-")
    try:
        name = RecordingName(check_speaker_id(unquote(text, errors="strict")), check_number(number))
    except (UnicodeDecodeError, BadRequest):
        return None
    # Only the one way of writing a name is ours: two names never mean one recording.
    return name if recording_file_name(name.speaker_id, name.number) == file_name else None


def profile_file_name(speaker_id: str) -> str:
    """Names the gallery's file of what is known of a speaker, as `recording_file_name` does.

    Raises:
        BadSpeakerId: as `check_speaker_id`.

    Example:
        >>> profile_file_name("hong@example.org")
        'hong%40example.org.json'
    """
    return _on_disk(check_speaker_id(speaker_id)) + _PROFILE_SUFFIX


def parse_profile_file_name(file_name: str) -> str | None:
    """The speaker ID out of what `profile_file_name` wrote; None for any other name.

    Example:
        >>> parse_profile_file_name("hong%40example.org.json")
        'hong@example.org'
        >>> parse_profile_file_name("Hong.json") is None
        True
    """
    text = file_name.removesuffix(_PROFILE_SUFFIX).replace(_SEAM, "")
    try:
        speaker_id = check_speaker_id(unquote(text, errors="strict"))
    except (UnicodeDecodeError, BadRequest):
        return None
    return speaker_id if profile_file_name(speaker_id) == file_name else None


def _on_disk(speaker_id: str) -> str:
    """A checked ID as part of a file name, cut into folders where it is long."""
    text = "".join(
        chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02X}" for byte in speaker_id.encode()
    )
    if _BAD_BEGINNING.match(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    pieces = [text[at : at + _PIECE_LENGTH] for at in range(0, len(text), _PIECE_LENGTH)]
    return _SEAM.join(pieces)


def _too_long(n_characters: int) -> BadSpeakerId:
    return BadSpeakerId(
        f"The speaker ID has {n_characters} characters; use at most {MAX_ID_CHARACTERS}."
    )
