"""What can go wrong on a recording's way, as one tree: callers catch a family, tests name a leaf.

    SpeakerServerError
        BadRequest            400  BadField, BadSpeakerId
          OutsideUploadRoots  403
          RecordingNotFound   404
          TooLarge            413
        BadAudio              422  NotDecodable, NoAudioTrack, TooLong, TooSlow, TooShort, NoSpeech
        GalleryError          409  AlreadyEnrolled, NotEnrolled, EmptyGallery
        NotReady              503

`web` answers each with the status beside it. Every message is a sentence that says what was
found and what to do.
"""

from __future__ import annotations


class SpeakerServerError(Exception):
    """The root of the tree; `title` is the class's own name."""

    status = 500

    @property
    def title(self) -> str:
        return type(self).__name__


class BadRequest(SpeakerServerError):
    """The request itself cannot be understood or is not allowed."""

    status = 400


class BadField(BadRequest):
    """A field is missing or has no meaning."""


class BadSpeakerId(BadRequest):
    """The speaker ID in a recording's name is not one that the gallery takes."""


class OutsideUploadRoots(BadRequest):
    """`path_dir` leads to a folder that this server was not told to read."""

    status = 403


class RecordingNotFound(BadRequest):
    """There is no such file."""

    status = 404


class TooLarge(BadRequest):
    """The recording has more bytes than the server takes."""

    status = 413


class BadAudio(SpeakerServerError):
    """The recording came through, but no voice can be read out of it."""

    status = 422


class NotDecodable(BadAudio):
    """Not an audio or video file of a kind that is taken, or a broken one."""


class NoAudioTrack(BadAudio):
    """A video without sound."""


class TooLong(BadAudio):
    """More seconds of sound than the server takes."""


class TooSlow(BadAudio):
    """Decoding took more wall time than a request may have."""


class TooShort(BadAudio):
    """Sound, but too little of it."""

    def __init__(self, seconds: float, needed_s: float) -> None:
        self.seconds = seconds
        self.needed_s = needed_s
        super().__init__(
            f"{seconds:.2f} s of sound is too short; send at least {needed_s:.1f} s of speech."
        )


class NoSpeech(BadAudio):
    """Nothing in the recording is loud enough to be a voice."""


class GalleryError(SpeakerServerError):
    """The gallery's state does not allow the change."""

    status = 409


class AlreadyEnrolled(GalleryError):
    """The speaker ID is in the gallery already."""


class NotEnrolled(GalleryError):
    """The speaker ID is not in the gallery."""


class EmptyGallery(GalleryError):
    """Nobody is enrolled whom a recording could be compared with."""


class NotReady(SpeakerServerError):
    """The server misses something it needs: weights, or a gallery that it can open."""

    status = 503
