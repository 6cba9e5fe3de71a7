"""Where a recording is: in the request, or in a folder that the server was told to read."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from utils.errors import BadField, OutsideUploadRoots, RecordingNotFound


def find_recording(path_dir: str, name: str, roots: Sequence[Path]) -> Path:
    """Gives the real path of a recording that the client names by its folder on the server.

    A name is also looked for in Unicode's other normal form: macOS stores Hangul taken apart.

    Args:
        path_dir: the folder, absolute or from the server's working folder.
        name: the file's name, already checked to hold no `/`, `\\` or NUL.
        roots: the folders that may be read.

    Raises:
        BadField: `path_dir` is no path.
        OutsideUploadRoots: folder or file lies elsewhere, symbolic links followed.
        RecordingNotFound: there is no such file.
    """
    if "\0" in path_dir:
        raise BadField("path_dir holds a NUL character; give the folder's plain path.")
    real_roots = [root.resolve() for root in roots]
    names = dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
    for candidate in names:
        try:
            path = (Path(path_dir) / candidate).resolve()
        except (OSError, RuntimeError) as error:  # too long a name, a loop of links
            raise BadField("path_dir cannot be followed; give the folder's plain path.") from error
        if not any(path.is_relative_to(root) for root in real_roots):
            raise OutsideUploadRoots(
                "path_dir leads outside the folders that this server reads; put the recording "
                "into one of its upload roots, or send it as `file`."
            )
        if _is_regular(path):
            return path
    raise RecordingNotFound(
        "There is no such recording in path_dir; check name and path_dir, or send it as `file`."
    )


def _is_regular(path: Path) -> bool:
    """A plain file: no folder, and no pipe or device that opening would wait for."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
