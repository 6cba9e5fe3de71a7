"""Brings the index up to the folder: files that came, went or changed while nobody looked.

Whoever calls anything here holds the gallery's writer lock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from utils.gallery import files
from utils.gallery.files import StoredFile
from utils.gallery.index import Index
from utils.gallery.profile import MAX_PROFILE_BYTES, decode_profile
from utils.gallery.records import Entry, FileStat, Network, Recording, Skipped
from utils.sealing import Seal
from utils.speaker_id import (
    parse_profile_file_name,
    parse_recording_file_name,
    profile_file_name,
)

log = logging.getLogger(__name__)

ProfileRow = tuple[str, str | None, FileStat]  # document, end of the consent, stat of the file


def take_in_folder(
    folder: Path, index: Index, network: Network, seal: Seal, remembered: Mapping[str, Recording]
) -> list[Skipped]:
    """Reads the recordings and profiles whose stat the index does not know, and drops the gone.

    Args:
        folder: of the .npy files.
        network: taken to have made what nobody knows anything of.
        seal: of the files.
        remembered: by file name, what an index that is lost said of it.

    Returns:
        The files that take no part.

    Raises:
        OSError, sqlite3.Error: the disk does not take it; nothing is lost.
    """
    found, profiles, skipped = files.scan(folder)
    skipped += _take_in_recordings(folder, index, network, seal, found, remembered)
    skipped += _take_in_profiles(folder, index, seal, profiles)
    for one in skipped:
        # neither its name nor what is quoted from it: both may be somebody's
        log.warning("skipped a file: %s", one.reason.partition(":")[0])
    others = index.foreign_files(network.model_id)
    if others:
        log.warning("%d files are of another network and take no part", len(others))
    return skipped + [Skipped(name, f"made by another network, {model}") for name, model in others]


def read_profile_file(folder: Path, speaker_id: str, seal: Seal) -> ProfileRow | None:
    """A speaker's profile as the index has it; None where there is no file.

    Raises:
        ValueError: no profile, or not sealed as this one.
        OSError: cannot be read.
    """
    try:
        name = profile_file_name(speaker_id)
        data, stat = files.read_sealed(folder, name, MAX_PROFILE_BYTES, seal)
    except FileNotFoundError:
        return None
    consent = decode_profile(data).consent
    return data.decode(), consent.until if consent else None, stat


def _take_in_recordings(
    folder: Path,
    index: Index,
    network: Network,
    seal: Seal,
    found: Mapping[str, FileStat],
    remembered: Mapping[str, Recording],
) -> list[Skipped]:
    skipped: list[Skipped] = []
    known = index.files()
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
        with index.transaction():
            for speaker_id, own in names.items():
                intake = _Intake(folder, index, network, seal, known_stats, remembered)
                skipped += intake.take_in(speaker_id, own)
    return skipped


def _take_in_profiles(
    folder: Path, index: Index, seal: Seal, found: Mapping[str, FileStat]
) -> list[Skipped]:
    known = index.profile_files()
    now = {str(parse_profile_file_name(name)): stat for name, stat in found.items()}
    changed = [one for one in known.keys() | now.keys() if known.get(one) != now.get(one)]
    skipped: list[Skipped] = []
    if not changed:
        return skipped
    with index.transaction():
        for speaker_id in sorted(changed):
            row = None
            try:
                row = read_profile_file(folder, speaker_id, seal)
            except (OSError, ValueError) as error:
                skipped.append(Skipped(profile_file_name(speaker_id), f"no profile: {error}"))
            if row or speaker_id in known:
                index.put_profile(speaker_id, row)
    return skipped


class _Intake:
    """Takes in one speaker's files."""

    def __init__(
        self,
        folder: Path,
        index: Index,
        network: Network,
        seal: Seal,
        known_stats: Mapping[str, FileStat],
        remembered: Mapping[str, Recording],
    ) -> None:
        self._folder = folder
        self._index = index
        self._network = network
        self._seal = seal
        self._known_stats = known_stats
        self._remembered = remembered

    def take_in(self, speaker_id: str, names: list[str]) -> list[Skipped]:
        """Reads a speaker's files and makes them all that the index knows of the speaker."""
        known = self._index.recordings(speaker_id)
        known_by_name = {one.file_name: one for one in known}
        entries: list[Entry] = []
        skipped: list[Skipped] = []
        for name in names:
            try:
                stored = files.read_recording(self._folder, name, self._seal)
            except ValueError as error:
                skipped.append(Skipped(name, str(error)))
            except OSError as error:
                skipped.append(Skipped(name, f"cannot be read: {error.strerror}"))
            else:
                recording = self._recall(
                    stored, known_by_name.get(name, self._remembered.get(name))
                )
                entries.append(Entry(recording, stored.stat, stored.embeddings))
        was = [(one, self._known_stats[one.file_name]) for one in known]
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
            model_id=self._network.model_id,
        )
