"""What a deletion took away, as a receipt that the files themselves bear out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from utils.gallery.profile import DeletedFile, Receipt


def describe(folder: Path, paths: Sequence[str]) -> list[DeletedFile]:
    """Names, sizes and SHA-256 of files before they go; paths under `folder`, absent ones left out.

    A symbolic link is not followed: it goes, what it leads to stays.
    """
    described = []
    for path in paths:
        place = folder / path
        if not os.path.lexists(place):
            continue
        size = place.lstat().st_size
        digest = None
        if place.is_file() and not place.is_symlink():
            try:
                with place.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:  # no right to read it: it can be removed all the same
                digest = None
        described.append(DeletedFile(path, digest, size))
    return described


def receipt(folder: Path, speaker_id: str, gone: Sequence[DeletedFile]) -> Receipt:
    """Asks the disk whether the files are gone, and says so."""
    return Receipt(
        speaker_id=speaker_id,
        deleted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        files=list(gone),
        verified_gone=not any(os.path.lexists(folder / one.name) for one in gone),
    )
