"""What is known of speakers beside their voices: lists, consent, renaming, receipts, kept sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_gallery import MODEL, put_file, rows
from utils.errors import (
    BadField,
    LastRecording,
    NoSuchRecording,
    NotEnrolled,
)
from utils.gallery import Consent, FolderGallery, Gallery, Profile, Take
from utils.gallery.profile import decode_profile, encode_profile, moment, read_profile
from utils.scoring import centroid
from utils.speaker_id import profile_file_name, recording_file_name

LONG_ID = "홍길동" * 40  # its name is cut into folders
IDS = pytest.mark.parametrize("speaker_id", ["hong@example.org", LONG_ID, "Kim"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


@pytest.fixture
def gallery(folder: Path) -> Iterator[Gallery]:
    with FolderGallery(folder, MODEL, calibration_id="cal-1", keep_recordings=True) as opened:
        yield opened


def until(seconds: float) -> Consent:
    """A consent that ends so many seconds from now."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return Consent("the speaker", "2026-01-01", end.isoformat())


def all_files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] in {"voice_gallery", "recordings"}}


# Several recordings at once


def test_several_recordings_are_enrolled_together(gallery: Gallery, folder: Path) -> None:
    takes = [Take(rows(1), 4.0, media=b"one"), Take(rows(2), 5.0, "7"), Take(rows(3), 6.0)]
    gallery.enrol_several("hong", takes, "register", profile=Profile({"site": "Seoul"}))
    record = gallery.speaker("hong")
    assert [one.number for one in record.recordings] == ["7", "8", "9"]
    assert record.speech_s == 15.0
    assert record.profile.metadata == {"site": "Seoul"}
    assert {one.calibration_id for one in record.recordings} == {"cal-1"}
    probe = centroid(np.vstack([rows(1), rows(2), rows(3)]))
    assert gallery.search(probe)[0].score == pytest.approx(1.0, abs=1e-6)
    assert (folder / "recordings" / "hong-8.media").read_bytes() == b"one"


def test_two_recordings_of_one_number_are_refused(gallery: Gallery, folder: Path) -> None:
    with pytest.raises(BadField, match="one number"):
        gallery.enrol_several("hong", [Take(rows(1), 1, "0"), Take(rows(2), 1, "0")], "register")
    assert "hong" not in gallery
    assert all_files(folder) == set()


def test_a_replacement_keeps_what_is_known_and_drops_the_old_sound(
    gallery: Gallery, folder: Path
) -> None:
    gallery.register("hong", "0", rows(1), 4.0, media=b"old")
    gallery.set_profile("hong", Profile({"site": "Seoul"}))
    gallery.enrol_several("hong", [Take(rows(2), 1.0, "3"), Take(rows(3), 1.0, "4")], "replace")
    assert gallery.speaker("hong").profile.metadata == {"site": "Seoul"}
    assert all_files(folder) == {
        "voice_gallery/hong-3.npy", "voice_gallery/hong-4.npy", "voice_gallery/hong.json",
    }  # fmt: skip


def test_a_damaged_older_recording_does_not_stand_in_the_way_of_another(
    gallery: Gallery, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery.register("hong", "0", rows(1), 4.0)
    (folder / "voice_gallery" / "hong-0.npy").write_bytes(b"torn")
    gallery.add("hong", "1", rows(2), 4.0, 5)
    assert [one.number for one in gallery.recordings("hong")] == ["1"]
    assert gallery.search(centroid(rows(2)))[0].score == pytest.approx(1.0, abs=1e-6)
    assert "not as it was enrolled" in caplog.text


# Lists


def test_a_record_says_when_and_how_much(gallery: Gallery, folder: Path) -> None:
    before = datetime.now(UTC).isoformat(timespec="milliseconds")
    gallery.register("hong", "0", rows(1), 4.0)
    put_file(folder, "kim", "0", rows(2))
    gallery.set_profile("hong", Profile({"site": "Seoul"}))
    record = gallery.speaker("hong")
    assert before <= record.enrolled_at <= record.updated_at == record.profile.updated_at
    with FolderGallery(folder, MODEL) as again:
        assert again.speaker("kim").speech_s is None
    with pytest.raises(NotEnrolled, match="check the ID"):
        gallery.speaker("nobody")


# Profiles and consent


@IDS
def test_a_profile_travels_with_the_files(folder: Path, gallery: Gallery, speaker_id: str) -> None:
    profile = Profile({"계약": 7, "vip": True}, until(3600))
    gallery.register(speaker_id, "0", rows(1), 4.0)
    gallery.set_profile(speaker_id, profile)
    gallery.close()
    (folder / "index.sqlite").unlink()
    with FolderGallery(folder, MODEL) as again:
        record = again.speaker(speaker_id)
        assert (record.profile.metadata, record.profile.consent) == (
            profile.metadata,
            profile.consent,
        )
        again.set_profile(speaker_id, Profile())
        assert again.speaker(speaker_id).profile == Profile()
    assert not (folder / "voice_gallery" / profile_file_name(speaker_id)).exists()


def test_expired_speakers_are_purged_with_a_receipt(gallery: Gallery, folder: Path) -> None:
    for number, name in enumerate(["gone", "stays", "free"]):
        gallery.register(name, "0", rows(number), 4.0, media=b"sound")
    gallery.set_profile("gone", Profile(consent=until(-1)))
    gallery.set_profile("stays", Profile(consent=until(3600)))
    [receipt] = gallery.purge_expired()
    assert (receipt.speaker_id, receipt.verified_gone) == ("gone", True)
    assert {one.name for one in receipt.files} == {
        "voice_gallery/gone-0.npy", "voice_gallery/gone.json", "recordings/gone-0.media",
    }  # fmt: skip
    assert gallery.speaker_ids() == ["free", "stays"]
    assert not any("gone" in name for name in all_files(folder))
    assert gallery.purge_expired() == []
    in_an_hour = datetime.now(UTC) + timedelta(hours=2)
    assert [one.speaker_id for one in gallery.purge_expired(in_an_hour)] == ["stays"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"metadata": {"a": [1]}}, "metadata"),
        ({"consent": {"given_by": "x"}}, "given_at"),
        ({"consent": {"given_by": "", "given_at": "2026-01-01"}}, "names who gave it"),
        ({"consent": {"given_by": "x", "given_at": "soon"}}, "'soon' is no time"),
        ({"consent": {"given_by": "x", "given_at": "0001-01-01T00:00+09:00"}}, "is no time"),
        ({"note": "x"}, "note"),
        ([], "profile"),
        ({"metadata": {"a": float("nan")}}, "metadata.a: send text, a finite"),
        ({"metadata": {str(n): n for n in range(65)}}, "at most 64"),
        ({"metadata": {"a": "x" * 1025}}, "1024"),
    ],
)
def test_what_is_no_profile_is_refused_with_a_reason(value: object, message: str) -> None:
    with pytest.raises(BadField, match=message):
        read_profile(value)


values = st.text(max_size=50) | st.integers(-(2**63), 2**63) | st.booleans()


@given(st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=10))
def test_a_profile_comes_back_from_its_file(metadata: dict[str, str | int | bool]) -> None:
    profile = Profile(dict(metadata), Consent("kim", "2026-01-01", "2027-01-01"))
    again = decode_profile(encode_profile(profile))
    assert again == profile
    assert [type(one) for one in again.metadata.values()] == [
        type(one) for one in metadata.values()
    ]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_profile_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        decode_profile(data)


def test_a_broken_profile_is_named_and_stops_nothing(folder: Path, gallery: Gallery) -> None:
    gallery.register("hong", "0", rows(1), 4.0)
    gallery.close()
    (folder / "voice_gallery" / "hong.json").write_text("{}}")
    with FolderGallery(folder, MODEL) as again:
        assert [one.file_name for one in again.skipped] == ["hong.json"]
        assert "hong" in again


def test_a_day_ends_at_its_last_moment() -> None:
    assert moment("2027-01-31", end_of_day=True) == "2027-01-31T23:59:59.999+00:00"
    assert moment("2027-01-31") == "2027-01-31T00:00:00.000+00:00"


# Renaming


@pytest.mark.parametrize("new_id", ["Kim", LONG_ID, "kim@example.org"])
@IDS
def test_a_renamed_speaker_keeps_everything(
    folder: Path, gallery: Gallery, speaker_id: str, new_id: str
) -> None:
    gallery.enrol_several(
        speaker_id,
        [Take(rows(1), 4.0, "0", b"one"), Take(rows(2), 5.0, "1")],
        "register",
        profile=Profile({"site": "Seoul"}, until(3600)),
    )
    before = gallery.speaker(speaker_id)
    gallery.rename(speaker_id, new_id)
    after = gallery.speaker(new_id)
    assert (after.speech_s, after.enrolled_at, after.profile) == (
        9.0,
        before.enrolled_at,
        before.profile,
    )
    assert gallery.speaker_ids() == [new_id]
    assert gallery.media(after.recordings[0]) == b"one"
    if speaker_id != new_id:
        assert not any(
            recording_file_name(speaker_id, "0") in name or profile_file_name(speaker_id) in name
            for name in all_files(folder)
        )
    gallery.close()
    with FolderGallery(folder, MODEL) as again:
        assert again.speaker(new_id) == after
        assert again.skipped == []


# Deleting


@IDS
def test_one_recording_is_removed_and_the_others_answer(
    folder: Path, gallery: Gallery, speaker_id: str
) -> None:
    takes = [Take(rows(1), 4.0, "0", b"one"), Take(rows(2), 5.0, "1", b"two")]
    gallery.enrol_several(speaker_id, takes, "register")
    receipt = gallery.remove_recording(speaker_id, "0")
    assert (len(receipt.files), receipt.verified_gone) == (2, True)
    assert gallery.search(centroid(rows(2)))[0].score == pytest.approx(1.0, abs=1e-6)
    assert len(all_files(folder)) == 2
    with pytest.raises(NoSuchRecording):
        gallery.remove_recording(speaker_id, "0")
    with pytest.raises(LastRecording, match="delete the speaker"):
        gallery.remove_recording(speaker_id, "1")
    assert speaker_id in gallery


@IDS
def test_a_receipt_names_what_is_gone(folder: Path, gallery: Gallery, speaker_id: str) -> None:
    gallery.register(speaker_id, "0", rows(1), 4.0, media=b"sound")
    gallery.set_profile(speaker_id, Profile({"site": "Seoul"}))
    [recording] = gallery.recordings(speaker_id)
    receipt = gallery.delete(speaker_id)
    assert receipt.verified_gone
    assert len(receipt.files) == 3
    assert recording.sha256 in {one.sha256 for one in receipt.files}
    assert all_files(folder) == set()
    assert json.dumps(gallery.speakers()) == "[[], 0]"


# Kept sound


def test_sound_is_kept_only_where_the_gallery_keeps_it(folder: Path) -> None:
    with FolderGallery(folder, MODEL) as gallery:
        gallery.register("hong", "0", rows(1), 4.0, media=b"sound")
        assert gallery.media(gallery.recordings("hong")[0]) is None
    assert all_files(folder) == {"voice_gallery/hong-0.npy"}


def test_sound_that_belongs_to_nobody_is_removed_at_the_start(
    folder: Path, gallery: Gallery
) -> None:
    gallery.register("hong", "0", rows(1), 4.0, media=b"sound")
    gallery.close()
    (folder / "recordings" / "kim-0.media").write_bytes(b"of a killed writer")
    (folder / "recordings" / "notes.txt").write_bytes(b"the operator's")
    FolderGallery(folder, MODEL).close()
    kept = {path.name for path in (folder / "recordings").iterdir()}
    assert kept == {"hong-0.media", "notes.txt"}
