"""Where a recording is: in the request, or in a folder that the server was told to read."""

from __future__ import annotations

import errno
import io
import os
import stat
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from utils.errors import BadField, NotDecodable, OutsideUploadRoots, RecordingNotFound


def open_recording(path_dir: str, name: str, roots: Sequence[Path]) -> BinaryIO:
    """Opens a recording that the client names by its folder on the server.

    A name is also looked for in Unicode's other normal form: macOS stores Hangul taken apart.

    Args:
        path_dir: the folder, absolute or from the server's working folder.
        name: the file's name, already checked to hold no `/`, `\\` or NUL.
        roots: the folders that may be read.

    Returns:
        The file, to be closed, which is the one that was found to lie there: whoever may write to a
        root can put a link in its place meanwhile, and that is not followed.

    Raises:
        BadField: `path_dir` is no path.
        OutsideUploadRoots: folder or file lies elsewhere, symbolic links followed.
        RecordingNotFound: there is no such file.
        NotDecodable: it may not be read.
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
        root = next((root for root in real_roots if path.is_relative_to(root)), None)
        if root is None:
            raise OutsideUploadRoots(
                "path_dir leads outside the folders that this server reads; put the recording "
                "into one of its upload roots, or send it as `file`."
            )
        if _is_regular(path):
            return _opened(root, path)
    raise _not_found()


def _opened(root: Path, path: Path) -> BinaryIO:
    """Opens a real path from its root on, folder by folder, and follows no link."""
    try:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):  # Windows
            return path.open("rb", buffering=0)
        with ExitStack() as folders:
            place = os.open(root, os.O_RDONLY)
            for part in path.relative_to(root).parts:
                folders.callback(os.close, place)
                # a pipe in its place is not waited for
                place = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
        file = io.FileIO(place, "rb")
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise NotDecodable(
                f"The recording cannot be opened ({error.strerror}); check its permissions."
            ) from error
        raise _not_found() from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_found()
    return cast(BinaryIO, file)


def _not_found() -> RecordingNotFound:
    return RecordingNotFound(
        "There is no such recording in path_dir; check name and path_dir, or send it as `file`."
    )


def _is_regular(path: Path) -> bool:
    """A plain file: no folder, and no pipe or device that opening would wait for."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
