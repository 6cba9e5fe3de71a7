"""Where the parts of a gallery lie under its folder; receipts name them so in every gallery."""

from __future__ import annotations

VOICES = "voice_gallery"
KEPT = "recordings"  # the sound itself, of a gallery that keeps it
MEDIA_SUFFIX = ".media"


def media_path(file_name: str) -> str:
    """Where the sound of a recording is kept, under the gallery's folder.

    Example:
        >>> media_path("hong-0.npy")
        'recordings/hong-0.media'
    """
    return f"{KEPT}/{file_name.removesuffix('.npy')}{MEDIA_SUFFIX}"


def sealed_name(path: str) -> str:
    """Under which name the file of a path is sealed: that of its voice and kind, not its place.

    Example:
        >>> sealed_name("recordings/hong-0.media")
        'hong-0.media'
    """
    return path.partition("/")[2]
