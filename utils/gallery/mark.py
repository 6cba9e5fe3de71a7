"""Says beside an encrypted gallery with which key it is, so that another one is told apart."""

from __future__ import annotations

import json
from pathlib import Path

from utils.errors import NotReady
from utils.gallery import files
from utils.gallery.names import VOICES
from utils.sealing import Seal, check_key

FILE = "encryption.json"
_CIPHER = "AES-256-GCM"


def mark_folder(folder: Path, seal: Seal) -> None:
    """Marks an empty gallery that is to be encrypted, and looks whether the seal is this gallery's.

    Whoever calls it holds the gallery's writer lock.

    Raises:
        NotReady: it is encrypted with another key, not at all, or although no key was given.
        OSError: the disk does not take it.
    """
    kept = _key_id(folder)
    voices = folder / VOICES
    if check_key(kept, seal, lambda: not any(files.scan(voices)[:2])):
        document = json.dumps({"cipher": _CIPHER, "key_id": seal.key_id})
        name = files.write_temporary(voices, document.encode())
        files.put_in_place(voices / name, folder / FILE, folder)


def _key_id(folder: Path) -> str | None:
    try:
        document = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable() from error
    if not isinstance(document, dict) or document.get("cipher") != _CIPHER:
        raise _unreadable()
    return str(document.get("key_id"))


def _unreadable() -> NotReady:
    return NotReady(f"{FILE} in the gallery cannot be read; restore it from a backup.")
