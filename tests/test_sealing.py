"""Galleries that are encrypted: nothing of a voice lies open, and nothing foreign is believed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.server import ServerProcess, running_server
from tests.test_gallery import MODEL, rows
from tests.test_postgres import post
from utils.errors import NotReady
from utils.gallery import Profile
from utils.gallery.npy import encode_embeddings
from utils.place import DEFAULT, Place, find_place
from utils.scoring import centroid
from utils.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, NO_SEAL, KeySeal, find_seal, make_key
from utils.speaker_id import recording_file_name

ROOT = Path(__file__).parent.parent
SEAL = KeySeal(bytes(32))
OTHER = KeySeal(bytes(31) + b"\1")
SOUND = b"the sound of a voice, as it was sent"


@pytest.fixture(params=["folder", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return str(tmp_path / "gallery")


def enrol(place: Place, *speaker_ids: str) -> None:
    with place.open_gallery(DEFAULT, MODEL, keep_recordings=True) as gallery:
        for seed, speaker_id in enumerate(speaker_ids, 1):
            gallery.register(speaker_id, "0", rows(seed), 1.0, media=SOUND)
            gallery.set_profile(speaker_id, Profile({"site": "Seoul Station"}))


@given(data=st.binary(max_size=500), name=st.text(max_size=20), at=st.integers(0, 600))
def test_what_is_sealed_opens_whole_under_its_name_and_key_alone(
    data: bytes, name: str, at: int
) -> None:
    kept = SEAL.seal(data, name)
    assert len(kept) == len(data) + SEAL.overhead
    assert SEAL.seal(data, name) != kept
    assert SEAL.unseal(kept, name) == data
    changed = bytearray(kept)
    changed[at % len(kept)] ^= 1
    for seal, what, under in (
        (SEAL, bytes(changed), name),
        (SEAL, kept[: at % len(kept)], name),
        (SEAL, kept, name + "x"),
        (OTHER, kept, name),
        (SEAL, data, name),
    ):
        with pytest.raises(ValueError, match="encrypted"):
            seal.unseal(what, under)


def test_a_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    one, other = make_key(), make_key()
    file = tmp_path / "key"
    file.write_text(f"{one}\n")
    assert find_seal(None, {}) is NO_SEAL
    ids = [
        find_seal(file, {KEY_VARIABLE: other}).key_id,
        find_seal(None, {KEY_FILE_VARIABLE: str(file), KEY_VARIABLE: other}).key_id,
        find_seal(None, {KEY_VARIABLE: one}).key_id,
    ]
    assert len(set(ids)) == 1
    assert find_seal(None, {KEY_VARIABLE: other}).key_id != ids[0]
    for text in ("", "secret", one[:-8], one + one, "é"):
        file.write_text(text)
        for source in ((file, {}), (None, {KEY_VARIABLE: text})):
            with pytest.raises(NotReady, match="32 bytes in base64"):
                find_seal(*source)
    with pytest.raises(NotReady, match="No such file"):
        find_seal(tmp_path / "none", {})


def everything(where: str) -> bytes:
    """All bytes that a place keeps."""
    if not where.startswith("postgres"):
        return b"".join(path.read_bytes() for path in Path(where).rglob("*") if path.is_file())
    with psycopg.connect(where) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'speaker_gallery'"
        ).fetchall()
        found = []
        for (table,) in tables:
            with connection.cursor().copy(
                f"COPY speaker_gallery.{table} TO STDOUT (FORMAT binary)"
            ) as rows_of_it:
                found.extend(bytes(block) for block in rows_of_it)
    return b"".join(found)


@pytest.mark.parametrize("seal", [SEAL, NO_SEAL], ids=["sealed", "as it is"])
def test_nothing_of_a_voice_lies_open(where: str, seal: Any) -> None:
    secrets = {
        "a window": rows(1)[0].tobytes(),
        "a centroid": centroid(rows(1)).tobytes(),
        "a note": b"Seoul Station",
        "a sound": SOUND,
    }
    with find_place(where, seal) as place:
        enrol(place, "hong", "kim")
        with place.open_gallery(DEFAULT, MODEL) as gallery:
            gallery.rename("kim", "lee")
            [recording] = gallery.recordings("hong")
            assert gallery.file(recording) == encode_embeddings(rows(1))
            assert gallery.media(recording) == SOUND
            lies_open = everything(where)  # while it is open: with SQLite's log
    if where.startswith("postgres"):  # whose vectors have the other byte order
        secrets["a centroid"] = centroid(rows(1)).astype(">f4").tobytes()
    found = {what for what, secret in secrets.items() if secret in lies_open}
    assert found == (set() if seal is SEAL else set(secrets))


def test_only_the_key_of_a_gallery_opens_it(where: str) -> None:
    with find_place(where, SEAL) as place:
        enrol(place, "hong")
    for seal, words in ((NO_SEAL, "give it by"), (OTHER, "find the other one")):
        with find_place(where, seal) as place, pytest.raises(NotReady, match=words):
            place.open_gallery(DEFAULT, MODEL)
    with find_place(where, SEAL) as place, place.open_gallery(DEFAULT, MODEL) as gallery:
        assert gallery.speaker_ids() == ["hong"]


def test_a_gallery_that_is_open_is_not_encrypted_by_the_way(where: str) -> None:
    with find_place(where) as place, place.open_gallery(DEFAULT, MODEL) as gallery:
        with find_place(where, SEAL) as other:  # while it is empty it may be
            other.open_gallery(DEFAULT, MODEL).close()
        with pytest.raises(NotReady, match="is encrypted"):
            gallery.register("hong", "0", rows(1), 1.0)


def test_a_plain_gallery_takes_no_key(where: str) -> None:
    with find_place(where) as place:
        enrol(place, "hong")
    with find_place(where, SEAL) as place, pytest.raises(NotReady, match="copying it"):
        place.open_gallery(DEFAULT, MODEL)
    with find_place(where) as place, place.open_gallery(DEFAULT, MODEL) as gallery:
        assert gallery.speaker_ids() == ["hong"]


def test_files_that_are_swapped_or_foreign_take_no_part(tmp_path: Path) -> None:
    with find_place(tmp_path, SEAL) as place:
        enrol(place, "hong", "kim", "lee")
        voices = tmp_path / "voice_gallery"
        hong, kim = (voices / recording_file_name(one, "0") for one in ("hong", "kim"))
        content = hong.read_bytes()
        hong.write_bytes(kim.read_bytes())
        kim.write_bytes(content)
        (voices / recording_file_name("park", "0")).write_bytes(encode_embeddings(rows(9)))
        with place.open_gallery(DEFAULT, MODEL) as gallery:
            assert gallery.speaker_ids() == ["lee"]
            assert sorted(one.file_name for one in gallery.skipped) == [
                "hong-0.npy",
                "kim-0.npy",
                "park-0.npy",
            ]


def test_a_lost_index_is_made_again_and_a_lost_mark_is_not(tmp_path: Path) -> None:
    with find_place(tmp_path, SEAL) as place:
        enrol(place, "hong", "kim")
        (tmp_path / "index.sqlite").unlink()
        with place.open_gallery(DEFAULT, MODEL) as gallery:
            assert gallery.search(centroid(rows(2)))[0].speaker_id == "kim"
            assert gallery.speaker("hong").profile.metadata == {"site": "Seoul Station"}
        mark = tmp_path / "encryption.json"
        content = mark.read_bytes()
        assert stat.S_IMODE(mark.stat().st_mode) == 0o600
        for damaged in (None, b"", b"[]", b"{}", content.replace(b"GCM", b"CBC")):
            mark.unlink() if damaged is None else mark.write_bytes(damaged)
            with pytest.raises(NotReady, match=r"restore it|not encrypted"):
                place.open_gallery(DEFAULT, MODEL)
        mark.write_bytes(content)
        with place.open_gallery(DEFAULT, MODEL) as gallery:
            assert len(gallery) == 2


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "utils.gallery", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def key(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "gallery.key"
    made = run("new-key", str(file))
    assert made.returncode == 0
    assert find_seal(file).key_id in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "File exists" in run("new-key", str(file)).stderr
    return file


def test_a_gallery_is_encrypted_by_copying_and_served(
    key: Path, tmp_path: Path, database: str
) -> None:
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    with running_server(plain) as server:
        post(server.url, 1, 0)
    copied = run("copy", str(plain), str(sealed), "--target-key-file", str(key))
    assert copied.returncode == 0, copied.stderr
    shutil.rmtree(plain)
    with running_server(sealed, "--gallery-key-file", str(key)) as server:
        assert post(server.url, 1, 1).json()["decision"] == "identified"
        assert post(server.url, 2, 0).json()["decision"] == "registered"
        server.kill()
    listed = run("--gallery", str(sealed), "list", **{KEY_VARIABLE: key.read_text()})
    assert "ast2@example.org" in listed.stdout
    copy = ["copy", str(sealed), database, "--target-key-file", str(key)]
    there = run("--key-file", str(key), *copy)
    assert there.returncode == 0, there.stderr
    with running_server(tmp_path, "--gallery", database, "--gallery-key-file", str(key)) as server:
        assert post(server.url, 2, 1).json()["decision"] == "identified"
    refused = ServerProcess(sealed)
    with pytest.raises(RuntimeError, match="encrypted"):
        refused.wait_until_ready()
