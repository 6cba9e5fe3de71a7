"""Recordings by name, out of a folder or the zip shards in it."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from utils.audio import decode
from utils.errors import BadRequest, SpeakerServerError
from utils.speaker_id import RECORDING_SUFFIXES, parse_recording_name

KEPT = 3_000  # recordings: about a gigabyte where they are of 6 s


class Audio:
    """A collection of recordings in any container that the server reads.

    Raises:
        SystemExit: the folder is not there, or holds a zip archive that is none; on reading, a
            recording is not there or cannot be decoded.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise SystemExit(f"{root}: there is no such folder of recordings")
        self._root = root
        archives = [_open_archive(path) for path in sorted(root.glob("*.zip"))]
        self._archive_of = {name: archive for archive in archives for name in archive.namelist()}
        self.read = lru_cache(maxsize=KEPT)(self._read)

    @cached_property
    def names(self) -> list[str]:
        """All recordings: of the dev archives where there are such, else of all there is."""
        if self._archive_of:
            dev = [
                name for name, each in self._archive_of.items()
                if Path(str(each.filename)).name.startswith("dev")
            ]  # fmt: skip
            return sorted(filter(_is_recording, dev or self._archive_of))
        files = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*"))
        return sorted(filter(_is_recording, files))

    def of_others(self, name: str) -> list[str]:
        """All recordings of other speakers; in one flat folder, which tells none, all others."""
        speaker = speaker_of(name)
        others = [other for other in self.names if speaker_of(other) != speaker]
        return others or [other for other in self.names if other != name]

    def _read(self, name: str) -> npt.NDArray[np.float32]:
        """(samples,) at 16 kHz; what was read stays in memory, as babble is made of it."""
        try:
            if name in self._archive_of:
                return decode(self._archive_of[name].read(name))
            return decode(self._root / name)
        except SpeakerServerError as error:
            raise SystemExit(f"{name}: {error}") from error


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SystemExit(f"{path}: {error}") from error


def _is_recording(name: str) -> bool:
    """By its suffix: lists and tables may lie beside recordings."""
    return PurePosixPath(name).suffix.lower().removeprefix(".") in RECORDING_SUFFIXES


def speaker_of(name: str) -> str:
    """Who speaks in a recording: its folder; for `<speaker ID>-<number>.mp4` its ID."""
    path = PurePosixPath(name)
    if path.suffix == ".mp4":
        with suppress(BadRequest):  # a name that says no ID
            return parse_recording_name(path.name).speaker_id
    return str(path.parent)
