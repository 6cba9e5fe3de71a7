"""Everything of one place in another: from a folder into a database, or back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tqdm import tqdm

from utils.errors import AlreadyEnrolled, NotReady
from utils.gallery import Gallery, SpeakerRecord
from utils.gallery.records import Recording
from utils.place import DEFAULT, Place

_PAGE = 1000


@dataclass(frozen=True)
class CopyReport:
    """What was copied, and found the same when it was read again."""

    collections: int
    speakers: int
    recordings: int
    keys: int


def copy_place(
    source: Place, target: Place, model_id: str, *, progress: bool = False
) -> CopyReport:
    """Copies all collections, speakers and keys, and then compares every byte of them.

    Whoever is enrolled at the source meanwhile may be missing at the target: stop its servers.

    Args:
        model_id: of the network that both galleries are opened for; others' embeddings come too.
        progress: whether to show a bar.

    Raises:
        AlreadyEnrolled: the target has one of the speakers; nothing is changed then.
        NotReady: one of them does not work, or a copy is not what it is a copy of.
    """
    names = [DEFAULT, *source.names()]
    known = {DEFAULT, *target.names()}
    for name in names:
        if name in known:
            _require_free(source, target, name, model_id)
    speakers = recordings = 0
    for name in names:
        if name not in known:
            target.create(name)
        with (
            source.open_gallery(name, model_id) as old,
            target.open_gallery(name, model_id) as new,
            tqdm(
                total=old.speakers(limit=1)[1], desc=name, unit="speaker", disable=not progress
            ) as bar,
        ):
            for record in _everybody(old):
                _copy(old, new, record)
                recordings += len(record.recordings)
                speakers += 1
                bar.update()
    keys = source.keys().listed()
    target.keys().adopt(keys)
    return CopyReport(len(names), speakers, recordings, len(keys))


def _require_free(source: Place, target: Place, name: str, model_id: str) -> None:
    with source.open_gallery(name, model_id) as old, target.open_gallery(name, model_id) as new:
        taken = sum(1 for record in _everybody(old) if new.recordings(record.speaker_id))
    if taken:
        raise AlreadyEnrolled(
            f"{taken} speakers of the collection {name} are in {target.shown} already; copy into "
            "an empty gallery."
        )


def _copy(old: Gallery, new: Gallery, record: SpeakerRecord) -> None:
    parts = [(one, *_stored(old, one)) for one in record.recordings]
    profile = None if record.profile.is_empty else record.profile
    new.restore(record.speaker_id, parts, profile)
    now = new.speaker(record.speaker_id)
    same = now.recordings == record.recordings and all(
        (new.file(one), new.media(one)) == (file, media) for one, file, media in parts
    )
    was, says = (replace(one.profile, updated_at=None) for one in (record, now))
    if not same or says != was:
        raise NotReady("A copy is not what it is a copy of; check the target and copy again.")


def _stored(gallery: Gallery, recording: Recording) -> tuple[bytes, bytes | None]:
    try:
        data, media = gallery.file(recording), gallery.media(recording)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotReady(f"A recording cannot be read: {reason}.") from error
    if hashlib.sha256(data).hexdigest() != recording.sha256:
        raise NotReady("A recording is not as it was enrolled; `evaluation gallery` names it.")
    return data, media


def _everybody(gallery: Gallery) -> Iterator[SpeakerRecord]:
    offset = 0
    while page := gallery.speakers(offset=offset, limit=_PAGE)[0]:
        offset += len(page)
        yield from page
