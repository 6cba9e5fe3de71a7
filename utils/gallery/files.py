"""The gallery's .npy files: written so that a power cut leaves all or nothing, read with suspicion.

Whoever changes something here holds the gallery's writer lock.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.gallery.npy import MAX_FILE_BYTES, decode_embeddings
from utils.gallery.records import FileStat, Skipped
from utils.sealing import Seal
from utils.speaker_id import (
    parse_profile_file_name,
    parse_recording_file_name,
    recording_file_name,
)

_MAX_FOLDERS_DEEP = 8  # the longest ID takes seven
_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".new-", ".tmp"


@dataclass(frozen=True)
class StoredFile:
    """One recording as it was read from the disk."""

    file_name: str  # relative to the folder, "/" between folders
    stat: FileStat
    sha256: str  # of the .npy, hex
    embeddings: np.ndarray  # float32 (segments, 64), rows of unit length


def read_recording(folder: Path, file_name: str, seal: Seal) -> StoredFile:
    """Reads one recording; symbolic links are not followed.

    Raises:
        ValueError: not a recording, as `decode_embeddings`, or not sealed as this one.
        OSError: cannot be read.
    """
    data, stat = read_sealed(folder, file_name, MAX_FILE_BYTES, seal)
    digest = hashlib.sha256(data).hexdigest()
    return StoredFile(file_name, stat, digest, decode_embeddings(data))


def read_sealed(folder: Path, name: str, most: int, seal: Seal) -> tuple[bytes, FileStat]:
    """Reads a plain file that was sealed under its name; errors as `read_bounded`.

    Raises:
        ValueError: also, it is not what was sealed.
    """
    kept, stat = read_bounded(folder / name, most + seal.overhead)
    return seal.unseal(kept, name), stat


def read_bounded(path: Path, most: int) -> tuple[bytes, FileStat]:
    """Reads a plain file; a symbolic link is not followed.

    Raises:
        ValueError: more bytes than `most`.
        OSError: cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size > most:
            raise ValueError(f"{status.st_size} bytes; at most {most} are read")
        data = file.read(most + 1)
    return data, FileStat(status.st_size, status.st_mtime_ns)


def scan(folder: Path) -> tuple[dict[str, FileStat], dict[str, FileStat], list[Skipped]]:
    """Lists what may be recordings and profiles by name and stat, without opening one.

    Returns:
        The .npy files and the profiles, names relative to `folder`, and what was passed over.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    found: dict[str, FileStat] = {}
    skipped: list[Skipped] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            _look_at(entry, entry.name, _MAX_FOLDERS_DEEP, found, skipped)
    profiles = {name: found.pop(name) for name in list(found) if name.endswith(".json")}
    return found, profiles, skipped


def speaker_files(folder: Path, speaker_id: str) -> list[str]:
    """Names all files that bear this speaker's name, readable ones or not, in order."""
    beginning = recording_file_name(speaker_id, "0").removesuffix("0.npy")
    above, slash, beginning = beginning.rpartition("/")
    names: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder / above) as entries:
        for entry in entries:
            if entry.name.startswith(beginning) and not entry.is_dir(follow_symlinks=False):
                names.append(above + slash + entry.name)
    parsed = ((name, parse_recording_file_name(name)) for name in names)
    return sorted(name for name, one in parsed if one and one.speaker_id == speaker_id)


def write_temporary(folder: Path, data: bytes) -> str:
    """Writes a file under a name of its own and sees it to the disk.

    Returns:
        The name, for `put_in_place`.

    Raises:
        OSError: the disk is full or read-only; nothing is left then.
    """
    name = f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
    try:
        with open(folder / name, "xb", opener=_owner_only) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        (folder / name).unlink(missing_ok=True)
        raise
    return name


def _owner_only(path: str, flags: int) -> int:
    """An opener: voices are nobody else's to read, whatever the umask."""
    return os.open(path, flags, 0o600)


def put_in_place(source: Path, target: Path, top: Path) -> None:
    """Gives a file another name, in one step, and sees the name to the disk.

    Args:
        top: the folder under which the target lies, at whatever depth.

    Raises:
        OSError: among them FileNotFoundError, there is no such source.
    """
    make_folder(target.parent)
    source.replace(target)
    sync_folder(target.parent)
    if target.parent != top:
        sync_folder(top)


def remove_files(folder: Path, file_names: Iterable[str]) -> None:
    """Unlinks files, and the folders that this empties, and sees it to the disk.

    Raises:
        OSError: a file cannot be removed. One that is not there is no error.
    """
    parents = set()
    for name in file_names:
        (folder / name).unlink(missing_ok=True)
        parents.add((folder / name).parent)
    for parent in {_remove_empty_folders(parent, folder) for parent in parents}:
        sync_folder(parent)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and the empty folders that killed writers left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX):
                Path(entry.path).unlink(missing_ok=True)
            elif name.endswith("+") and entry.is_dir(follow_symlinks=False):
                for path, _, _ in os.walk(entry.path, topdown=False):
                    with suppress(OSError):  # not empty
                        Path(path).rmdir()


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, each name seen to the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sees the names in a folder to the disk; Windows has no such call and does it by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _look_at(
    entry: os.DirEntry[str],
    name: str,
    depth: int,
    found: dict[str, FileStat],
    skipped: list[Skipped],
) -> None:
    """Files one entry under `found` or `skipped`; goes down the folders of names cut in pieces."""
    try:
        if entry.name.endswith("+") and depth > 1 and entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as entries:
                for below in entries:
                    _look_at(below, f"{name}/{below.name}", depth - 1, found, skipped)
        elif not entry.name.lower().endswith(".npy") and not parse_profile_file_name(name):
            return
        elif entry.is_symlink():
            skipped.append(Skipped(name, "a symbolic link"))
        elif not entry.is_file(follow_symlinks=False):
            skipped.append(Skipped(name, "not a file"))
        else:
            status = entry.stat(follow_symlinks=False)
            found[name] = FileStat(status.st_size, status.st_mtime_ns)
    except OSError as error:
        skipped.append(Skipped(name, f"cannot be read: {error.strerror}"))


def _remove_empty_folders(folder: Path, top: Path) -> Path:
    """Removes a folder and those above it that are empty; gives the first that stays."""
    while folder != top:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # another recording is in it
            break
        folder = folder.parent
    return folder
