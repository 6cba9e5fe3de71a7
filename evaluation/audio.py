"""Recordings by name, out of a folder or the zip shards in it."""

from __future__ import annotations

import zipfile
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from utils.audio import decode
from utils.speaker_id import parse_recording_name

KEPT = 3_000  # recordings: about a gigabyte where they are of 6 s


class Audio:
    """A collection of recordings in any container that the server reads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        archives = [zipfile.ZipFile(path) for path in sorted(root.glob("*.zip"))]
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
            return sorted(dev or self._archive_of)
        files = (path for path in self._root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in files)

    def _read(self, name: str) -> npt.NDArray[np.float32]:
        """(samples,) at 16 kHz; what was read stays in memory, as babble is made of it."""
        if name in self._archive_of:
            return decode(self._archive_of[name].read(name))
        return decode(self._root / name)


def speaker_of(name: str) -> str:
    """Who speaks in a recording: its folder; for `<speaker ID>-<number>.mp4` its ID."""
    path = PurePosixPath(name)
    if path.suffix == ".mp4" and "-" in path.name:
        return parse_recording_name(path.name).speaker_id
    return str(path.parent)
