"""What every gallery promises, asked of each: the one in a folder and the one in PostgreSQL."""

from __future__ import annotations

import io
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from evaluation.postgres import new_database
from tests.test_gallery import MODEL, contents, rows
from tests.test_gallery_profiles import IDS, LONG_ID, until
from utils.errors import (
    AlreadyEnrolled,
    BadField,
    BadSpeakerId,
    ConsentExpired,
    LastRecording,
    NoSuchRecording,
    NotEnrolled,
    SpeakerServerError,
    TooManyRecordings,
)
from utils.gallery import Consent, Gallery, Profile, Take
from utils.gallery.archive import export_gallery, import_gallery
from utils.place import DEFAULT, Place, find_place
from utils.scoring import centroid
from utils.sealing import NO_SEAL, KeySeal

Open = Callable[..., Gallery]


@pytest.fixture(params=["folder", "postgres", "folder, sealed", "postgres, sealed"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    where, _, sealed = request.param.partition(", ")
    there = tmp_path if where == "folder" else request.getfixturevalue("database")
    with find_place(there, KeySeal(bytes(32)) if sealed else NO_SEAL) as found:
        yield found


@pytest.fixture
def open_gallery(place: Place) -> Iterator[Open]:
    """Opens the one gallery, again and again; all are closed at the end."""
    with ExitStack() as opened:

        def open_it(model_id: str = MODEL, **options: Any) -> Gallery:
            return opened.enter_context(place.open_gallery(DEFAULT, model_id, **options))

        yield open_it


@pytest.fixture
def gallery(open_gallery: Open) -> Gallery:
    return open_gallery(calibration_id="cal-1", keep_recordings=True)


@pytest.mark.parametrize(
    "embeddings",
    [
        rows(1)[0],
        rows(1)[:0],
        rows(1) * 1.01,
        np.full((2, 64), np.nan, np.float32),
        np.full((2, 64), np.inf, np.float32),
        np.eye(64, dtype=int),
        np.vstack([rows(1), -rows(1)]),
    ],
    ids=["1-d", "empty", "not unit", "nan", "inf", "integers", "cancelling out"],
)
def test_what_is_no_embedding_has_no_centroid_and_is_not_enrolled(
    gallery: Gallery, embeddings: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"embeddings"):
        centroid(embeddings)
    with pytest.raises(ValueError, match=r"."):
        gallery.register("hong", "0", embeddings, 1.0)
    assert len(gallery) == 0


def test_a_probe_of_another_size_is_refused(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match=r"\(32,\)"):
        gallery.search(np.ones(32, np.float32))
    with pytest.raises(ValueError, match="top"):
        gallery.search(rows(1)[0], top=0)


def test_a_registered_speaker_is_found_by_its_centroid(gallery: Gallery) -> None:
    for seed in range(20):
        gallery.register(f"speaker {seed}", "0", rows(seed), 2.5)
    for seed in range(20):
        best = gallery.search(centroid(rows(seed)))
        assert len(best) == 5
        assert best[0].speaker_id == f"speaker {seed}"
        assert best[0].score == pytest.approx(1.0, abs=1e-6)
        assert [c.score for c in best] == sorted((c.score for c in best), reverse=True)
    assert gallery.search(rows(0)[0], top=100)[99:] == []
    assert len(gallery.search(rows(0)[0], top=100)) == len(gallery) == 20


def test_an_empty_gallery_answers_with_nobody(gallery: Gallery) -> None:
    assert gallery.search(rows(1)[0]) == []
    assert (len(gallery), gallery.speaker_ids(), "hong" in gallery) == (0, [], False)
    assert gallery.recordings("hong") == []


def test_a_known_id_is_not_registered_again(gallery: Gallery) -> None:
    gallery.register("hong", "0", rows(1), 1.0)
    before = contents(gallery)
    for number in ("0", "1"):
        with pytest.raises(AlreadyEnrolled, match="re_register=True"):
            gallery.register("hong", number, rows(2), 1.0)
    assert contents(gallery) == before


def test_a_replacement_enrols_an_unknown_speaker(gallery: Gallery) -> None:
    gallery.replace("hong", "0", rows(1), 1.0)
    assert gallery.speaker_ids() == ["hong"]


def test_a_deleted_speaker_can_come_back(gallery: Gallery) -> None:
    for seed in range(3):
        gallery.register("hong", "0", rows(seed), 1.0)
        assert gallery.search(centroid(rows(seed)), top=1)[0].score > 0.999
        gallery.delete("hong")
        assert gallery.search(rows(seed)[0]) == []


def test_one_id_in_two_unicode_forms_is_one_speaker(gallery: Gallery) -> None:
    gallery.register(unicodedata.normalize("NFD", "홍길동"), "0", rows(1), 1.0)
    assert "홍길동" in gallery
    assert unicodedata.normalize("NFD", "홍길동") in gallery
    with pytest.raises(AlreadyEnrolled):
        gallery.register("홍길동", "1", rows(1), 1.0)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a\n"])
def test_a_bad_id_or_number_is_refused(gallery: Gallery, bad: str) -> None:
    for change in (gallery.register, gallery.replace):
        with pytest.raises(BadSpeakerId):
            change(bad, "0", rows(1), 1.0)
        with pytest.raises(BadField):
            change("hong", bad, rows(1), 1.0)
    with pytest.raises(BadSpeakerId):
        gallery.delete(bad)
    assert len(gallery) == 0


def test_adding_a_speaker_changes_nobody_elses_score(gallery: Gallery) -> None:
    probe = rows(99)[0]
    scores: dict[str, float] = {}
    for seed in range(30):
        gallery.register(f"speaker {seed}", "0", rows(seed), 1.0)
        now = {c.speaker_id: c.score for c in gallery.search(probe, top=100)}
        assert now.items() >= scores.items()
        scores = now


def test_two_that_are_open_see_each_other_at_once(open_gallery: Open) -> None:
    with open_gallery() as one, open_gallery() as other:
        for seed in range(10):
            one.register(f"speaker {seed}", "0", rows(seed), 1.0)
            assert other.search(centroid(rows(seed)), top=1)[0].speaker_id == f"speaker {seed}"
            assert len(other) == seed + 1
        other.replace("speaker 3", "0", rows(30), 1.0)
        assert one.search(centroid(rows(30)), top=1)[0].score == pytest.approx(1.0, abs=1e-6)
        other.delete("speaker 4")
        other.delete("speaker 5")
        other.register("speaker 5", "1", rows(55), 1.0)
        assert one.speaker_ids() == other.speaker_ids()
        assert "speaker 4" not in one
        assert one.search(centroid(rows(55)), top=1)[0].speaker_id == "speaker 5"
        open_gallery()  # forgets what has left
        other.delete("speaker 9")
        assert one.speaker_ids() == other.speaker_ids()


def test_an_added_recording_answers_with_those_before_it(open_gallery: Open) -> None:
    with open_gallery() as gallery, open_gallery() as other:
        gallery.register("one", "0", rows(1), 2.0)
        gallery.add("one", "1", rows(2), 3.0, most=2)
        joint = centroid(np.vstack([rows(1), rows(2)]))
        for each in (gallery, other):
            (found,) = each.search(joint)
            assert found.score == pytest.approx(1.0, abs=1e-6)
            assert found.enrolled_s == 5.0
        assert list(gallery.embeddings("one")) == ["one-0.npy", "one-1.npy"]
        with pytest.raises(TooManyRecordings):
            gallery.add("one", "2", rows(3), 1.0, most=2)
        with pytest.raises(AlreadyEnrolled):
            gallery.add("one", "1", rows(3), 1.0, most=9)
        with pytest.raises(NotEnrolled):
            gallery.add("two", "0", rows(3), 1.0, most=9)
        assert len(gallery.recordings("one")) == 2
    with open_gallery() as gallery:
        assert gallery.search(joint)[0].score == pytest.approx(1.0, abs=1e-6)
        gallery.delete("one")
        assert len(gallery) == 0


def test_no_more_recordings_are_added_than_a_speaker_may_have(gallery: Gallery) -> None:
    gallery.register("hong", "0", rows(1), 4.0)
    with pytest.raises(TooManyRecordings):
        gallery.enrol_several("hong", [Take(rows(2), 1.0), Take(rows(3), 1.0)], "add", 2)
    gallery.enrol_several("hong", [Take(rows(2), 1.0), Take(rows(3), 1.0)], "add", 3)
    assert [one.number for one in gallery.recordings("hong")] == ["0", "1", "2"]


def test_speakers_are_listed_searched_and_paged(gallery: Gallery) -> None:
    for name in ["Ärger", "ärmel", "kim", "Kim Min", "홍길동"]:
        gallery.register(name, "0", rows(len(name)), 2.0)
    everybody, total = gallery.speakers()
    assert [one.speaker_id for one in everybody] == ["Kim Min", "kim", "Ärger", "ärmel", "홍길동"]
    assert total == 5
    page, total = gallery.speakers(offset=1, limit=2)
    assert ([one.speaker_id for one in page], total) == (["kim", "Ärger"], 5)
    found, total = gallery.speakers("KIM")
    assert ([one.speaker_id for one in found], total) == (["Kim Min", "kim"], 2)
    decomposed, _ = gallery.speakers("A\u0308R")
    assert [one.speaker_id for one in decomposed] == ["Ärger", "ärmel"]
    assert gallery.speakers("%") == ([], 0)


def test_nobody_has_a_profile_who_has_no_voice_here(gallery: Gallery) -> None:
    with pytest.raises(NotEnrolled):
        gallery.set_profile("nobody", Profile({"site": "Seoul"}))


def test_whose_consent_has_ended_answers_no_more(open_gallery: Open, gallery: Gallery) -> None:
    with open_gallery() as other_process:
        gallery.register("hong", "0", rows(1), 4.0)
        gallery.set_profile("hong", Profile(consent=until(2.0)))
        assert "hong" in other_process
        assert "hong" in gallery
        time.sleep(2.0)
        for each in (gallery, other_process):
            assert "hong" not in each
            assert each.search(centroid(rows(1))) == []
            assert each.speaker("hong").is_expired
    assert len(open_gallery()) == 0
    for mode in ("register", "replace", "add"):
        with pytest.raises(ConsentExpired, match="record a new one"):
            gallery.enrol_several("hong", [Take(rows(2), 1.0)], mode, 5)  # type: ignore[arg-type]
    gallery.set_profile("hong", Profile(consent=until(3600)))
    assert "hong" in gallery


def test_a_clock_that_was_wrong_for_a_while_costs_nobody_the_voice(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.register("hong", "0", rows(1), 4.0)
    gallery.set_profile("hong", Profile(consent=until(3600)))
    gallery.register("kim", "0", rows(2), 4.0)
    with monkeypatch.context() as wrong:
        wrong.setattr("utils.gallery.snapshot._now", lambda: time.time() + 7200)
        assert gallery.speaker_ids() == ["kim"]
    assert gallery.speaker_ids() == ["hong", "kim"]
    gallery.delete("kim")
    assert gallery.speaker_ids() == ["hong"]


def test_nobody_is_renamed_to_somebody_else(gallery: Gallery) -> None:
    gallery.register("hong", "0", rows(1), 4.0)
    gallery.register("kim", "0", rows(2), 4.0)
    with pytest.raises(AlreadyEnrolled, match="another ID"):
        gallery.rename("hong", "kim")
    with pytest.raises(NotEnrolled):
        gallery.rename("nobody", "new")
    assert gallery.speaker_ids() == ["hong", "kim"]


def test_another_networks_recordings_are_computed_again_from_the_sound(
    open_gallery: Open, gallery: Gallery
) -> None:
    gallery.register("hong", "0", rows(1), 4.0, media=b"first")
    gallery.add("hong", "1", rows(2), 4.0, 5, media=b"second")
    gallery.add("hong", "2", rows(3), 4.0, 5)
    old = gallery.speaker("hong")
    heard: list[bytes] = []

    def embed(media: bytes) -> tuple[np.ndarray, float]:
        heard.append(media)
        return rows(10 + len(heard)), 6.0

    with open_gallery("crnn-2", calibration_id="cal-2") as newer:
        assert "hong" not in newer
        assert newer.recompute("hong", embed) == 2
        assert heard == [b"first", b"second"]
        assert newer.recompute("hong", embed) == 0
        now = newer.speaker("hong")
        assert [one.model_id for one in now.recordings] == ["crnn-2", "crnn-2", MODEL]
        assert now.recordings[0].calibration_id == "cal-2"
        assert now.enrolled_at == old.enrolled_at
        joint = centroid(np.vstack([rows(11), rows(12)]))
        assert newer.search(joint)[0].score == pytest.approx(1.0, abs=1e-6)
        assert newer.media(now.recordings[0]) == b"first"


@pytest.mark.parametrize(
    "speaker_id", ["홍길동", "Ａ", "𝒳" * 128, "con", "%00", " ", "a'\"--b", "😀"]
)
def test_any_speaker_id_is_enrolled_and_found_after_reopening(
    open_gallery: Open, gallery: Gallery, speaker_id: str
) -> None:
    gallery.register(speaker_id, "0", rows(1), 1.0)
    again = open_gallery()
    assert again.speaker_ids() == [speaker_id]
    assert again.skipped == []
    assert again.search(centroid(rows(1)))[0].enrolled_s == 1.0


def test_embeddings_of_another_network_take_no_part(open_gallery: Open, gallery: Gallery) -> None:
    for seed in range(3):
        gallery.register(f"speaker {seed}", "0", rows(seed), 1.0)
    newer = open_gallery("crnn-2")
    assert len(newer) == 0
    assert len(newer.skipped) == 3
    assert all(f"another network, {MODEL}" in one.reason for one in newer.skipped)
    newer.register("speaker 1", "0", rows(10), 1.0)
    newer.delete("speaker 2")  # erased, though this network does not know the voice
    assert newer.speaker_ids() == ["speaker 1"]
    assert gallery.speaker_ids() == ["speaker 0"]


def test_several_recordings_are_enrolled_together(gallery: Gallery) -> None:
    takes = [Take(rows(1), 4.0, media=b"one"), Take(rows(2), 5.0, "7"), Take(rows(3), 6.0)]
    gallery.enrol_several("hong", takes, "register", profile=Profile({"site": "Seoul"}))
    record = gallery.speaker("hong")
    assert [one.number for one in record.recordings] == ["7", "8", "9"]
    assert record.speech_s == 15.0
    assert record.profile.metadata == {"site": "Seoul"}
    assert {one.calibration_id for one in record.recordings} == {"cal-1"}
    assert [gallery.media(one) for one in record.recordings] == [None, b"one", None]
    gallery.enrol_several("hong", [Take(rows(4), 1.0, "3")], "replace")
    again = gallery.speaker("hong")
    assert [one.number for one in again.recordings] == ["3"]
    assert again.profile.metadata == {"site": "Seoul"}


def test_all_recordings_are_enrolled_or_none(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match=r"."):
        gallery.enrol_several("hong", [Take(rows(1), 1.0), Take(-rows(1), 1.0)], "register")
    assert gallery.recordings("hong") == []
    gallery.register("hong", "0", rows(1), 1.0)
    before = contents(gallery)
    with pytest.raises(ValueError, match=r"."):
        gallery.add("hong", "1", -rows(1), 1.0, 5)
    assert contents(gallery) == before


@pytest.mark.parametrize("new_id", ["Kim", LONG_ID])
@IDS
def test_a_renamed_speaker_keeps_everything(
    open_gallery: Open, gallery: Gallery, speaker_id: str, new_id: str
) -> None:
    takes = [Take(rows(1), 4.0, "0", b"one"), Take(rows(2), 5.0, "1")]
    profile = Profile({"site": "Seoul"}, until(3600))
    gallery.enrol_several(speaker_id, takes, "register", profile=profile)
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
    assert open_gallery().speaker(new_id) == after


@IDS
def test_one_recording_is_removed_and_the_others_answer(gallery: Gallery, speaker_id: str) -> None:
    takes = [Take(rows(1), 4.0, "0", b"one"), Take(rows(2), 5.0, "1", b"two")]
    gallery.enrol_several(speaker_id, takes, "register")
    receipt = gallery.remove_recording(speaker_id, "0")
    assert (len(receipt.files), receipt.verified_gone) == (2, True)
    assert gallery.search(centroid(rows(2)))[0].score == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(NoSuchRecording):
        gallery.remove_recording(speaker_id, "0")
    with pytest.raises(LastRecording, match="delete the speaker"):
        gallery.remove_recording(speaker_id, "1")
    assert speaker_id in gallery


@IDS
def test_a_receipt_names_what_is_gone(place: Place, gallery: Gallery, speaker_id: str) -> None:
    gallery.register(speaker_id, "0", rows(1), 4.0, media=b"sound")
    gallery.set_profile(speaker_id, Profile({"site": "Seoul"}))
    [recording] = gallery.recordings(speaker_id)
    receipt = gallery.delete(speaker_id)
    assert receipt.verified_gone
    kinds = sorted(one.name.partition("/")[0] for one in receipt.files)
    assert kinds == ["recordings", "voice_gallery", "voice_gallery"]
    kept = {one.sha256 for one in receipt.files}  # as it was kept: sealed, another one each time
    assert (recording.sha256 in kept) == (place.seal.key_id is None)
    assert json.dumps(gallery.speakers()) == "[[], 0]"
    with pytest.raises(NotEnrolled, match="nothing to delete"):
        gallery.delete(speaker_id)


def test_expired_speakers_are_purged_with_a_receipt(gallery: Gallery) -> None:
    for number, name in enumerate(["gone", "stays", "free"]):
        gallery.register(name, "0", rows(number), 4.0, media=b"sound")
    gallery.set_profile("gone", Profile(consent=until(-1)))
    gallery.set_profile("stays", Profile(consent=until(3600)))
    [receipt] = gallery.purge_expired()
    assert (receipt.speaker_id, receipt.verified_gone) == ("gone", True)
    assert gallery.speaker_ids() == ["free", "stays"]
    assert gallery.purge_expired() == []
    in_an_hour = datetime.now(UTC) + timedelta(hours=2)
    assert [one.speaker_id for one in gallery.purge_expired(in_an_hour)] == ["stays"]


def test_of_many_who_register_one_id_one_wins(open_gallery: Open) -> None:
    galleries = [open_gallery() for _ in range(3)]

    def work(seed: int) -> list[int]:
        won = []
        for number in range(10):
            try:
                galleries[seed % 3].register(f"speaker {number}", "0", rows(seed), 1.0)
            except AlreadyEnrolled:
                continue
            won.append(number)
        return won

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(work, range(6)))
    assert sorted(number for one in won for number in one) == list(range(10))
    for seed, numbers in enumerate(won):
        for number in numbers:
            found = galleries[0].search(centroid(rows(seed)))[0]
            assert found.score == pytest.approx(1.0, abs=1e-6)
            [file] = galleries[1].embeddings(f"speaker {number}").values()
            np.testing.assert_array_equal(file, rows(seed))


def test_sound_is_kept_only_where_the_gallery_keeps_it(open_gallery: Open) -> None:
    gallery = open_gallery()
    gallery.register("hong", "0", rows(1), 4.0, media=b"sound")
    assert gallery.media(gallery.recordings("hong")[0]) is None


@pytest.mark.parametrize("out", ["folder", "postgres"])
def test_an_archive_moves_a_gallery_either_way(tmp_path: Path, database: str, out: str) -> None:
    here, there = tmp_path, database
    if out == "postgres":
        here, there = there, here  # type: ignore[assignment]
    with (
        find_place(here) as first,
        find_place(there) as second,
        first.open_gallery(DEFAULT, MODEL, keep_recordings=True) as source,
        second.open_gallery(DEFAULT, MODEL) as target,
    ):
        takes = [Take(rows(1), 4.0, "0", b"sound"), Take(rows(2), 5.0, "7")]
        source.enrol_several("홍길동", takes, "register", profile=Profile({"a": 1}, until(99)))
        source.register(LONG_ID, "0", rows(3), 3.5)
        archive = io.BytesIO()
        export_gallery(source, archive)
        import_gallery(target, archive)
        for speaker_id in source.speaker_ids():
            had, has = source.speaker(speaker_id), target.speaker(speaker_id)
            assert has.recordings == had.recordings
            assert (has.profile.metadata, has.profile.consent) == (
                had.profile.metadata,
                had.profile.consent,
            )
            for each in had.recordings:
                assert target.file(each) == source.file(each)
                assert target.media(each) == source.media(each)


# Both at once: whatever is done, they say the same


NAMES = st.sampled_from(["hong", "Hong", "홍길동"])
NUMBERS = st.sampled_from(["0", "1", "2", None])
SEEDS = st.integers(0, 5)
METADATA = st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2)


class BothGalleries(RuleBasedStateMachine):
    """Does the same to a folder's gallery and to a database's."""

    galleries: tuple[Gallery, Gallery]  # set for each run

    @rule(name=NAMES, number=NUMBERS, seed=SEEDS, count=st.integers(1, 2))
    def register(self, name: str, number: str | None, seed: int, count: int) -> None:
        takes = [Take(rows(seed + n), 1.0 + n, number if n == 0 else None) for n in range(count)]
        self._do(lambda one: one.enrol_several(name, takes, "register"))

    @rule(name=NAMES, number=NUMBERS, seed=SEEDS)
    def add(self, name: str, number: str | None, seed: int) -> None:
        self._do(lambda one: one.enrol_several(name, [Take(rows(seed), 1.0, number)], "add", 3))

    @rule(name=NAMES, number=NUMBERS, seed=SEEDS, metadata=METADATA)
    def replace(self, name: str, number: str | None, seed: int, metadata: dict[str, int]) -> None:
        takes, profile = [Take(rows(seed), 1.0, number)], Profile(dict(metadata))
        self._do(lambda one: one.enrol_several(name, takes, "replace", profile=profile))

    @rule(name=NAMES, metadata=METADATA, expired=st.booleans())
    def set_profile(self, name: str, metadata: dict[str, int], expired: bool) -> None:
        end = "2026-01-02" if expired else None
        profile = Profile(dict(metadata), Consent("somebody", "2026-01-01", end))
        self._do(lambda one: one.set_profile(name, profile))

    @rule(name=NAMES, new_id=NAMES)
    def rename(self, name: str, new_id: str) -> None:
        self._do(lambda one: one.rename(name, new_id))

    @rule(name=NAMES, number=st.sampled_from(["0", "1", "2", "3"]))
    def remove_recording(self, name: str, number: str) -> None:
        self._do(lambda one: one.remove_recording(name, number))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self._do(lambda one: one.delete(name))

    @rule()
    def purge(self) -> None:
        self._do(lambda one: one.purge_expired())

    @invariant()
    def they_say_the_same(self) -> None:
        first, second = (_said(one) for one in self.galleries)
        assert first == second

    def teardown(self) -> None:
        for gallery in self.galleries:
            for record in gallery.speakers()[0]:
                gallery.delete(record.speaker_id)

    def _do(self, change: Callable[[Gallery], object]) -> None:
        outcomes = []
        for gallery in self.galleries:
            try:
                outcomes.append(_without_times(change(gallery)))
            except (SpeakerServerError, ValueError) as error:
                outcomes.append(f"{type(error).__name__}: {error}")
        assert outcomes[0] == outcomes[1]


def _without_times(value: object) -> str:
    """A receipt or a list of them: who, and which files."""
    receipts = value if isinstance(value, list) else [value] if value else []
    return str(
        [
            (one.speaker_id, one.verified_gone, sorted(each.name for each in one.files))
            for one in receipts
        ]
    )


def _said(gallery: Gallery) -> object:
    """All that a gallery says, but for times."""
    records = gallery.speakers()[0]
    return (
        gallery.speaker_ids(),
        [gallery.search(rows(seed)[0], top=9) for seed in range(3)],
        [
            (
                one.speaker_id,
                one.speech_s,
                one.is_expired,
                one.profile.metadata,
                one.profile.consent,
                [(each.file_name, each.sha256, each.speech_s) for each in one.recordings],
            )
            for one in records
        ],
    )


def test_both_galleries_say_the_same_whatever_is_done(tmp_path: Path, postgres: str) -> None:
    with (
        find_place(tmp_path, KeySeal(bytes(32))) as first,
        find_place(new_database(postgres)) as second,
        first.open_gallery(DEFAULT, MODEL) as folder,
        second.open_gallery(DEFAULT, MODEL) as database,
    ):
        BothGalleries.galleries = (folder, database)
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            BothGalleries,
            settings=settings(
                max_examples=15,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
