"""A gallery as one file, and as a command: what goes out comes back, and nothing else gets in."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.test_gallery import MODEL, rows
from tests.test_gallery_profiles import LONG_ID, all_files, until
from utils.embedding import BEST_MODEL, ModelFiles
from utils.errors import AlreadyEnrolled, AnotherNetwork, BadArchive
from utils.gallery import FolderGallery, Gallery, Profile, Take
from utils.gallery.archive import ImportReport, export_gallery, import_gallery

ROOT = Path(__file__).parent.parent


def fill(gallery: Gallery) -> None:
    gallery.enrol_several(
        "홍길동",
        [Take(rows(1), 4.0, "0", b"sound" * 1000), Take(rows(2), 5.0, "7")],
        "register",
        profile=Profile({"site": "Seoul"}, until(3600)),
    )
    gallery.register(LONG_ID, "0", rows(3), 3.5)
    gallery.register("kim", "0", rows(4), 3.0)


@pytest.fixture
def source(tmp_path: Path) -> Gallery:
    gallery = FolderGallery(tmp_path / "source", MODEL, calibration_id="cal", keep_recordings=True)
    fill(gallery)
    return gallery


@pytest.fixture
def archive(source: Gallery) -> bytes:
    target = io.BytesIO()
    assert export_gallery(source, target) == 3
    return target.getvalue()


def rewritten(archive: bytes, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> bytes:
    """The archive with its manifest and files changed."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(contents.pop("manifest.json"))
    change(manifest, contents)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("manifest.json", json.dumps(manifest))
        for name, data in contents.items():
            new.writestr(name, data)
    return target.getvalue()


def test_what_goes_out_comes_back(source: Gallery, archive: bytes, tmp_path: Path) -> None:
    with FolderGallery(tmp_path / "target", MODEL) as target:
        report = import_gallery(target, io.BytesIO(archive))
        assert report == ImportReport(3, 4, [], 0)
        for speaker_id in source.speaker_ids():
            had, has = source.speaker(speaker_id), target.speaker(speaker_id)
            assert has.recordings == had.recordings
            assert (has.profile.metadata, has.profile.consent) == (
                had.profile.metadata,
                had.profile.consent,
            )
            assert [target.media(one) for one in has.recordings] == [
                source.media(one) for one in had.recordings
            ]
        assert target.skipped == []
    here, there = (
        {name: (tmp_path / folder / name).read_bytes() for name in all_files(tmp_path / folder)}
        for folder in ("source", "target")
    )
    assert here.keys() == there.keys()
    assert all(there[name] == here[name] for name in here if not name.endswith(".json"))


@pytest.mark.parametrize(
    ("on_conflict", "kim_has"), [("skip", "the old one"), ("replace", "the archive's")]
)
def test_who_is_enrolled_already_is_skipped_or_replaced(
    archive: bytes, tmp_path: Path, on_conflict: Any, kim_has: str
) -> None:
    with FolderGallery(tmp_path / "target", MODEL) as target:
        target.register("kim", "5", rows(9), 1.0)
        with pytest.raises(AlreadyEnrolled, match="1 of the 3"):
            import_gallery(target, io.BytesIO(archive))
        assert target.speaker_ids() == ["kim"]
        report = import_gallery(target, io.BytesIO(archive), on_conflict=on_conflict)
        assert report.skipped == (["kim"] if on_conflict == "skip" else [])
        number = {"the old one": "5", "the archive's": "0"}[kim_has]
        assert [one.number for one in target.recordings("kim")] == [number]
        assert len(target) == 3


def test_another_networks_archive_is_refused_unless_it_has_the_sound(
    archive: bytes, tmp_path: Path
) -> None:
    def without_sound(manifest: dict[str, Any], _: object) -> None:
        for speaker in manifest["speakers"]:
            for recording in speaker["recordings"]:
                recording["sound"] = None

    with FolderGallery(tmp_path / "target", "crnn-2") as target:
        with pytest.raises(AnotherNetwork, match=r"crnn-1.*crnn-2"):
            import_gallery(target, io.BytesIO(rewritten(archive, without_sound)))
        assert len(target.speakers()[0]) == 0
        report = import_gallery(target, io.BytesIO(archive))
        assert (report.speakers, report.of_other_networks) == (3, 4)
        assert len(target) == 0


def damage(name: str, data: bytes) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda _, contents: contents.update({name: data})


def say(**values: object) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    """Changes what the manifest says of the last speaker's only recording."""
    return lambda manifest, _: manifest["speakers"][-1]["recordings"][0].update(values)


def twice(manifest: dict[str, Any], _: object) -> None:
    manifest["speakers"].append(manifest["speakers"][0])


def climb(manifest: dict[str, Any], _: object) -> None:
    manifest["speakers"][0]["speaker_id"] = "../../etc/passwd"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("embeddings/1.npy", b"other"), "SHA-256"),
        (damage("embeddings/1.npy", b"\0" * (5 * 2**20)), "more than 4194304"),
        (lambda _, contents: contents.pop("embeddings/1.npy"), "has no"),
        (say(file="../../../etc/passwd"), "has no"),
        (say(number="x"), "cannot be"),
        (say(enrolled_at="soon"), "no time"),
        (say(speech_s=-1), "speech_s"),
        (say(model_id=None), "model_id"),
        (climb, "cannot be"),
        (twice, "twice"),
        (lambda manifest, _: manifest.update(version=2), "version"),
        (lambda manifest, _: manifest.update(format="other"), "format"),
        (lambda manifest, _: manifest["speakers"][0].update(profile={"x": 1}), "profile"),
        (lambda manifest, _: manifest["speakers"][0].update(recordings=[]), "recordings"),
    ],
)
def test_a_hostile_archive_changes_nothing(
    archive: bytes, tmp_path: Path, change: Any, message: str
) -> None:
    with FolderGallery(tmp_path / "target", MODEL) as target:
        with pytest.raises(BadArchive, match=message):
            import_gallery(target, io.BytesIO(rewritten(archive, change)))
        assert target.speakers() == ([], 0)
    assert all_files(tmp_path / "target") == set()
    assert not (tmp_path / "etc").exists()


def test_a_damaged_archive_is_refused_wherever_the_damage_is(
    archive: bytes, tmp_path: Path
) -> None:
    random = Random(7)
    with FolderGallery(tmp_path / "target", MODEL) as target:
        for _ in range(200):
            data = bytearray(archive)
            for _ in range(random.randrange(1, 4)):
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            try:
                import_gallery(target, io.BytesIO(bytes(data)), on_conflict="replace")
            except (BadArchive, AnotherNetwork):
                continue
            # what a flipped bit does not touch: times and dates of the ZIP's own entries
            assert {one.sha256 for name in target.speaker_ids() for one in target.recordings(name)}
        for cut in range(0, len(archive), 211):
            with pytest.raises(BadArchive):
                import_gallery(target, io.BytesIO(archive[:cut]))


# The command


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "utils.gallery", "--gallery", str(folder), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_the_command_lists_renames_notes_consent_and_deletes(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    with FolderGallery(folder, ModelFiles(BEST_MODEL).model_id) as gallery:
        fill(gallery)
    assert "홍길동" in command(folder, "list").stdout
    [kim] = json.loads(command(folder, "list", "--query", "KIM", "--json").stdout)
    assert (kim["speaker_id"], kim["speech_s"], kim["consent"]) == ("kim", 3.0, None)
    assert command(folder, "rename", "kim", "lee").returncode == 0
    noted = command(folder, "consent", "lee", "--given-by", "by letter", "--until", "2020-01-01")
    assert "answers no more" in noted.stdout
    shown = json.loads(command(folder, "show", "lee").stdout)
    assert shown["consent"]["until"] == "2020-01-01T23:59:59.999+00:00"
    [purged] = json.loads(command(folder, "purge").stdout)
    assert (purged["speaker_id"], purged["verified_gone"]) == ("lee", True)
    receipt = json.loads(command(folder, "delete", "홍길동").stdout)
    assert len(receipt["files"]) == 3
    missing = command(folder, "delete", "홍길동")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1


def test_the_command_moves_a_gallery(tmp_path: Path) -> None:
    with FolderGallery(tmp_path / "a", ModelFiles(BEST_MODEL).model_id) as gallery:
        fill(gallery)
    archive = str(tmp_path / "backup.zip")
    assert "3 speakers" in command(tmp_path / "a", "export", archive).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "backup.zip"]
    assert "3 speakers, 4 recordings" in command(tmp_path / "b", "import", archive).stdout
    again = command(tmp_path / "b", "import", archive)
    assert (again.returncode, again.stdout) == (1, "")
    assert "3 skipped" in command(tmp_path / "b", "import", archive, "--on-conflict", "skip").stdout


def test_the_command_hears_kept_recordings_again(tmp_path: Path, clip: Path) -> None:
    """As after new weights: the gallery was filled under another network, by a real recording."""
    folder = tmp_path / "gallery"
    with FolderGallery(folder, "older network", keep_recordings=True) as older:
        older.register("kim", "0", rows(1), 4.0, media=clip.read_bytes())
        older.register("lee", "0", rows(2), 4.0)
    done = command(folder, "recompute")
    assert done.stdout.startswith("1 recordings computed again, 1 of another network left")
    with FolderGallery(folder, ModelFiles(BEST_MODEL).model_id) as gallery:
        assert gallery.speaker_ids() == ["kim"]
        [recording] = gallery.recordings("kim")
        assert recording.speech_s == pytest.approx(5.0, abs=3.0)
        assert gallery.media(recording) == clip.read_bytes()
