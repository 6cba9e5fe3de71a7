"""The keys of a server: what is kept of them, and who may do what. Not where: see `file`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, get_args

from utils.errors import BadField

Role = Literal["identify", "enrol", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may

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


class KeyStore(ABC):
    """The keys of one place; safe to share between threads.

    Another process's changes are seen at the next question.
    """

    def is_configured(self) -> bool:
        """Whether there is any key, a revoked one too: the last one's end opens nothing."""
        return bool(self.listed())

    def listed(self) -> list[Key]:
        """All of them, in the order in which they were made.

        Raises:
            NotReady: they cannot be read. That is not taken for there being none.
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
            NotReady: it cannot be kept.
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
            NotReady: it cannot be kept.
        """

        def end(keys: dict[str, Key]) -> None:
            if key_id not in keys:
                raise BadField(f"There is no key {key_id[:16]!r}; list them first.")
            keys[key_id] = replace(keys[key_id], revoked_at=keys[key_id].revoked_at or _now())

        self._change(end)
        return self._read()[key_id]

    def adopt(self, others: Sequence[Key]) -> None:
        """Keeps keys of another place as well; those of an ID that is here are passed over.

        Raises:
            NotReady: it cannot be kept.
        """
        if others:
            self._change(
                lambda keys: keys.update({o.key_id: o for o in others if o.key_id not in keys})
            )

    @abstractmethod
    def _read(self) -> dict[str, Key]:
        """All of them by ID, as they are now, in the order in which they were made."""

    @abstractmethod
    def _change(self, change: Callable[[dict[str, Key]], None]) -> None:
        """Changes them, all or nothing, alone among all processes; durable when it returns."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
