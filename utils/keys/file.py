"""The file of keys, `keys.json` in the gallery's folder: read at every request, written whole."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from utils.errors import NotReady
from utils.keys.store import Key, KeyStore

FILE = "keys.json"


class KeyFile(KeyStore):
    """The keys of one gallery folder. Every question asks the file's stat."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._stat: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def _read(self) -> dict[str, Key]:
        with self._lock:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                self._stat, self._keys = None, {}
                return self._keys
            except OSError as error:
                raise _unreadable(self._path) from error
            stat = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stat != self._stat:
                self._keys, self._stat = _load(self._path), stat
            return self._keys

    def _change(self, change: Callable[[dict[str, Key]], None]) -> None:
        """Writes the file beside, sees it to the disk and gives it its name: all or nothing."""
        folder = self._path.parent
        beside = self._path.with_suffix(".new")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f".{FILE}.lock"):
                keys = _load(self._path) if self._path.exists() else {}
                change(keys)
                text = json.dumps([asdict(key) for key in keys.values()], indent=1)
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self._path)
                _sync(folder)
        except OSError as error:
            raise NotReady(f"The keys cannot be written: {error.strerror}.") from error


def _load(path: Path) -> dict[str, Key]:
    try:
        keys = [Key(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path) from error
    return {key.key_id: key for key in keys}


def _unreadable(path: Path) -> NotReady:
    return NotReady(
        f"The keys in {path.name} cannot be read; restore the file. Nobody is let in without it."
    )


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
