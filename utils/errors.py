"""What can go wrong on a recording's way, as one tree: callers catch a family, tests name a leaf.

    SpeakerServerError
        BadRequest            400  BadField, BadSpeakerId
          OutsideUploadRoots  403
          RecordingNotFound   404
          TooLarge            413
          BadArchive          422
        Refused               403  NotAllowed
          BadKey              401
          TooManyRequests     429
        BadAudio              422  NotDecodable, NoAudioTrack, TooLong, TooSlow, TooShort, NoSpeech,
                                   Clipped, TooNoisy, TwoVoices
        GalleryError          409  AlreadyEnrolled, EmptyGallery, LikelyDuplicate,
                                   TooManyRecordings, LastRecording, ConsentExpired,
                                   AnotherNetwork, CollectionExists
                              404  NotEnrolled, NoSuchRecording, NoSuchCollection
        NotReady              503
          Overloaded          503

`web` answers each with the status beside it. Every message is a sentence that says what was
found and what to do.
"""

from __future__ import annotations

import math


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


class BadArchive(BadRequest):
    """An exported gallery that is none, or that is damaged."""

    status = 422


class Refused(SpeakerServerError):
    """The request is understood, and whoever sent it may not."""

    status = 403


class NotAllowed(Refused):
    """The key's role, or the way the request came, does not allow it."""


class BadKey(Refused):
    """No key, or one that is unknown or revoked."""

    status = 401


class TooManyRequests(Refused):
    """More requests than this key, or this address, may send."""

    status = 429

    def __init__(self, message: str, wait_s: int) -> None:
        """`wait_s`: seconds until it is worth trying again."""
        self.wait_s = wait_s
        super().__init__(message)


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
    """Speech, but too little of it."""

    def __init__(self, seconds: float, needed_s: float, asking_s: float | None = None) -> None:
        """`needed_s` is for what was asked; `asking_s`, where given, would do to identify."""
        self.seconds = seconds
        self.needed_s = needed_s
        shown = math.floor(100.0 * seconds) / 100.0  # 0.999 s is not 1.00 s: there would be enough
        enough = f"{needed_s:.1f} s of speech"
        if asking_s is not None and seconds < asking_s < needed_s:
            enough = f"{asking_s:.1f} s to ask who it is, and {enough} to be enrolled"
        super().__init__(
            f"{shown:.2f} s of speech is too short, {needed_s - shown:.2f} s are missing; "
            f"send at least {enough}."
        )


class NoSpeech(BadAudio):
    """Nobody speaks in the recording."""


class Clipped(BadAudio):
    """Too much of the sound is cut off at full scale."""

    def __init__(self, share: float, allowed: float) -> None:
        self.share = share
        self.allowed = allowed
        super().__init__(
            f"{share:.0%} of the recording is cut off at full scale, {allowed:.0%} is allowed; "
            "turn the microphone down, or move away from it."
        )


class TooNoisy(BadAudio):
    """The voice hardly stands out from the noise."""

    def __init__(self, snr_db: float, needed_db: float) -> None:
        self.snr_db = snr_db
        self.needed_db = needed_db
        super().__init__(
            f"the voice is {snr_db:.1f} dB above the noise, {needed_db:.1f} dB are needed; "
            "record in a quieter place or nearer to the microphone."
        )


class TwoVoices(BadAudio):
    """An enrolment in which more than one person speaks."""

    def __init__(self) -> None:
        super().__init__(
            "Two people seem to speak in this recording; enrol one in which nobody else is heard."
        )


class GalleryError(SpeakerServerError):
    """The gallery's state does not allow the change."""

    status = 409


class AlreadyEnrolled(GalleryError):
    """The speaker ID is in the gallery already."""


class NotEnrolled(GalleryError):
    """The speaker ID is not in the gallery."""

    status = 404


class NoSuchRecording(GalleryError):
    """The speaker has no recording of this number."""

    status = 404


class LastRecording(GalleryError):
    """It is the only recording of a speaker: without it nobody would be left."""


class ConsentExpired(GalleryError):
    """The speaker's consent has ended."""


class EmptyGallery(GalleryError):
    """Nobody is enrolled whom a recording could be compared with."""


class LikelyDuplicate(GalleryError):
    """The voice is enrolled under another ID, and this server enrols nobody twice."""

    def __init__(self) -> None:
        super().__init__(
            "This voice is enrolled already under another speaker ID; delete that one first, or "
            "identify with register=False."
        )


class TooManyRecordings(GalleryError):
    """A speaker has as many enrolment recordings as this server keeps."""

    def __init__(self, n_recordings: int) -> None:
        super().__init__(
            f"{n_recordings} recordings of this speaker are enrolled, and no more are kept; "
            "replace them with re_register=True."
        )


class AnotherNetwork(GalleryError):
    """Embeddings that the network of this gallery did not make."""


class NoSuchCollection(GalleryError):
    """There is no collection of this name."""

    status = 404


class CollectionExists(GalleryError):
    """There is a collection of this name already."""


class NotReady(SpeakerServerError):
    """The server misses something it needs: weights, or a gallery that it can open."""

    status = 503


class Overloaded(NotReady):
    """More recordings wait to be heard than the server has wait, or this one has waited long."""

    wait_s = 1  # seconds until it is worth trying again

    def __init__(self) -> None:
        super().__init__("More recordings wait than can be heard soon; try again in a second.")
