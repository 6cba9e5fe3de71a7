"""The file of keys, `keys.json` in the gallery's folder: read at every request, written whole."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock

from utils.errors import BadField, NotReady

Role = Literal["identify", "enrol", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may

FILE = "keys.json"
_KEY = re.compile(r"sis_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


@dataclass(frozen=True)
class Key:
    """What is kept of a key: not the key."""

    key_id: str  # 8 hex digits; also in the key itself, so that a log may say which it was
    sha256: str  # of the whole key, hex
    role: Role
    collection: str
    note: str
    created_at: str  # UTC, ISO 8601
    revoked_at: str | None = None


def allows(role: Role, needed: Role) -> bool:
    """Whether who has one role may do what another is needed for.

    Example:
        >>> allows("enrol", "identify"), allows("identify", "enrol")
        (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


class KeyStore:
    """The keys of one gallery folder; safe to share between threads.

    Another process's changes are seen at the next question: each asks the file's stat.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._stat: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def is_configured(self) -> bool:
        """Whether there is any key, a revoked one too: the last one's end opens nothing."""
        return bool(self.listed())

    def listed(self) -> list[Key]:
        """All of them, in the order in which they were made.

        Raises:
            NotReady: the file cannot be read. It is not taken for one without keys.
        """
        return list(self._read().values())

    def find(self, text: str) -> Key | None:
        """The key that a request brought, unless it is unknown or revoked.

        Takes as long for an ID that there is as for one that there is not.

        Raises:
            NotReady: as `listed`.
        """
        parsed = _KEY.fullmatch(text)
        known = self._read().get(parsed[1]) if parsed else None
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        is_it = hmac.compare_digest(digest, known.sha256 if known else _NOBODY)
        return known if known and is_it and known.revoked_at is None else None

    def create(self, role: Role, collection: str, note: str = "") -> tuple[str, Key]:
        """Makes a key.

        Returns:
            The key itself, which nobody can show again, and what is kept of it.

        Raises:
            BadField: there is no such role.
            NotReady: the file cannot be written.
        """
        if role not in ROLES:
            raise BadField(f"There is no role {role!r}; take one of {', '.join(ROLES)}.")
        key_id = secrets.token_hex(4)
        text = f"sis_{key_id}_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        key = Key(key_id, digest, role, collection, note, _now())
        self._change(lambda keys: keys.update({key_id: key}))
        return text, key

    def revoke(self, key_id: str) -> Key:
        """Ends a key; it stays in the list.

        Raises:
            BadField: there is no such key.
            NotReady: the file cannot be written.
        """

        def end(keys: dict[str, Key]) -> None:
            if key_id not in keys:
                raise BadField(f"There is no key {key_id[:16]!r}; list them first.")
            keys[key_id] = replace(keys[key_id], revoked_at=keys[key_id].revoked_at or _now())

        self._change(end)
        return self._read()[key_id]

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
