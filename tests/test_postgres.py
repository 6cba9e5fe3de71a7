"""Servers over one PostgreSQL: they see each other, outlive its death, and say what is missing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from evaluation.postgres import kill_postgres, new_database, running_postgres, server_folder
from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from tests.test_gallery import MODEL, rows
from utils.errors import NoSuchCollection, NotReady
from utils.gallery import Profile, Take
from utils.gallery.npy import encode_embeddings
from utils.place import DEFAULT, Place, find_place
from utils.postgres import schema
from utils.scoring import centroid

ROOT = Path(__file__).parent.parent


def post(url: str, speaker: int, number: int, **fields: str) -> requests.Response:
    name = f"ast{speaker}@example.org-{number}.mp4"
    with (DATA / name).open("rb") as file:
        return requests.post(
            f"{url}/Identification_Request", data={"name": name, **fields}, files={"file": file},
            timeout=30,
        )  # fmt: skip


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def servers(database: str, tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with ExitStack() as stack:
        both = [
            stack.enter_context(running_server(tmp_path / name, "--gallery", database))
            for name in ("first", "second")
        ]
        yield both[0], both[1]


def test_two_servers_see_each_other_at_the_next_request(
    servers: tuple[ServerProcess, ServerProcess],
) -> None:
    first, second = (one.url for one in servers)
    assert post(first, 1, 0).json()["decision"] == "registered"
    assert post(second, 1, 1).json()["speaker_id"] == "ast1@example.org"
    assert post(second, 2, 0).json()["decision"] == "registered"
    answer = post(first, 2, 1).json()
    assert (answer["speaker_id"], answer["verdict"]["outcome"]) == ("ast2@example.org", "accepted")
    receipt = requests.delete(f"{first}/v1/speakers/ast1@example.org", timeout=10).json()
    assert receipt["verified_gone"]
    listed = requests.get(f"{second}/v1/speakers", timeout=10).json()
    assert [one["speaker_id"] for one in listed["speakers"]] == ["ast2@example.org"]
    requests.post(f"{first}/v1/collections", json={"name": "site-b"}, timeout=10).raise_for_status()
    names = requests.get(f"{second}/v1/collections", timeout=10).json()["collections"]
    assert [one["name"] for one in names] == ["default", "site-b"]
    for server in servers:
        assert "ast1" not in server.log.read_text()


def test_a_key_that_a_command_makes_lets_in_at_every_server(database: str, tmp_path: Path) -> None:
    made = run("utils.keys", "--gallery", database, "create", "--role", "enrol")
    key = made.stdout.strip()
    with running_server(tmp_path, "--gallery", database, "--host", "127.0.0.1") as server:
        url = f"{server.url}/v1/speakers"
        assert requests.get(url, timeout=10).status_code == 401
        bearer = {"Authorization": f"Bearer {key}"}
        assert requests.get(url, headers=bearer, timeout=10).ok
        run("utils.keys", "--gallery", database, "revoke", key.split("_")[1])
        assert requests.get(url, headers=bearer, timeout=10).status_code == 401


def test_nothing_answered_is_lost_when_the_database_is_killed(tmp_path: Path) -> None:
    folder = server_folder()
    with running_postgres(folder) as postgres, ExitStack() as stack:
        database = new_database(postgres.get_uri())
        server = stack.enter_context(running_server(tmp_path, "--gallery", database))
        for speaker in (1, 2):
            assert post(server.url, speaker, 0).ok
        kill_postgres(postgres)
        refused = post(server.url, 3, 0)
        assert refused.status_code == 503
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert "database" in refused.json()["detail"]
        assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 503
        postgres.ensure_postgres_running()
        deadline = time.monotonic() + 20
        while not requests.get(f"{server.url}/readyz", timeout=10).ok:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for speaker in (1, 2):
            answer = post(server.url, speaker, 1).json()
            assert answer["speaker_id"] == f"ast{speaker}@example.org"
        assert post(server.url, 3, 0).json()["decision"] == "registered"


def test_changes_are_learnt_before_anybody_asks_and_a_lost_notice_costs_nothing(
    database: str,
) -> None:
    with (
        find_place(database) as place,
        place.open_gallery(DEFAULT, MODEL) as ours,
        place.open_gallery(DEFAULT, MODEL) as theirs,
    ):
        ours.register("hong", "0", rows(1), 1.0)
        view: Any = theirs._view  # type: ignore[attr-defined]
        deadline = time.monotonic() + 10
        while view._snapshot.count < 1:  # nobody asked
            assert time.monotonic() < deadline
            time.sleep(0.01)
        follower, theirs._follower = theirs._follower, None  # type: ignore[attr-defined]
        follower.close()
        ours.register("kim", "0", rows(2), 1.0)
        assert view._snapshot.count == 1
        assert theirs.speaker_ids() == ["hong", "kim"]


def _made(place: Place, collection: str) -> Place:
    place.create(collection)
    return place


def test_a_collection_that_is_made_anew_elsewhere_is_another_one(database: str) -> None:
    with (
        find_place(database) as here,
        find_place(database) as there,
        _made(here, "b").open_gallery("b", MODEL) as ours,
    ):
        ours.register("hong", "0", rows(1), 1.0)
        there.unlist("b")  # and the deletion stops there, as after a kill
        assert here.names() == []
        there.create("b")
        assert ours.speaker_ids() == []
        there.unlist("b")
        assert there.remove("b")
        with pytest.raises(NoSuchCollection):
            ours.snapshot()
        with pytest.raises(NoSuchCollection):
            ours.register("kim", "0", rows(2), 1.0)


def test_a_deleted_voice_is_in_no_table(database: str) -> None:
    with (
        find_place(database) as place,
        place.open_gallery(DEFAULT, MODEL, keep_recordings=True) as gallery,
    ):
        take = [Take(rows(1), 1.0, "0", b"sound")]
        gallery.enrol_several("hong", take, "register", profile=Profile({"site": "Seoul"}))
        gallery.delete("hong")
        with psycopg.connect(database) as connection:
            for table in ("recording", "profile", "speaker"):
                query = f"SELECT * FROM speaker_gallery.{table}"
                for row in connection.execute(query).fetchall():  # type: ignore[call-overload]
                    assert "hong" not in map(str, row)
                    assert row[4] is None  # the emptied slot's centroid


def test_what_the_database_misses_is_said(postgres: str) -> None:
    database = new_database(postgres)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
    with pytest.raises(NotReady, match="CREATE EXTENSION vector"):
        find_place(database.replace("postgres:@", "reader:@")).open_gallery(DEFAULT, MODEL)
    with find_place(database) as place:
        place.open_gallery(DEFAULT, MODEL).close()
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO speaker_gallery.migration VALUES (999)")
    with pytest.raises(NotReady, match="newer server"):
        find_place(database).open_gallery(DEFAULT, MODEL)
    with pytest.raises(NotReady, match="does not answer"):
        find_place("postgresql://nobody@127.0.0.1:9/none").open_gallery(DEFAULT, MODEL)
    with pytest.raises(NotReady, match="postgresql://user@host"):
        find_place("postgresql://[")


def test_tables_of_the_first_version_become_todays_with_all_that_is_in_them(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    with psycopg.connect(database) as connection:
        schema.migrate(connection)
        connection.execute(
            "INSERT INTO speaker_gallery.recording VALUES"
            " (1, 'hong', '0', 'hong', '2026-01-01', 4.0, %s, %s, NULL, %s, NULL)",
            ("0" * 64, MODEL, encode_embeddings(rows(1))),
        )
        connection.execute(
            "INSERT INTO speaker_gallery.speaker"
            " (collection_id, speaker_id, model_id, centroid, speech_s, changed)"
            " VALUES (1, 'hong', %s, %s::vector, 4.0, 0)",
            (MODEL, str(centroid(rows(1)).tolist())),
        )
        document = '{"metadata": {"site": "서울"}, "consent": null, "updated_at": null}'
        connection.execute(
            "INSERT INTO speaker_gallery.profile VALUES (1, 'hong', %s, NULL)", (document,)
        )
    monkeypatch.undo()
    with find_place(database) as place, place.open_gallery(DEFAULT, MODEL) as gallery:
        assert gallery.search(centroid(rows(1)))[0].speaker_id == "hong"
        assert gallery.speaker("hong").profile.metadata == {"site": "서울"}
        assert gallery.delete("hong").verified_gone


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    place = find_place("postgresql://me:secret@db.example:6000/voices")
    assert place.shown == "postgresql://me@db.example:6000/voices"
    refused = run("utils.gallery", "--gallery", "postgresql://me:secret@127.0.0.1:9/x", "list")
    assert refused.returncode == 1
    assert "secret" not in refused.stdout + refused.stderr


def test_a_gallery_is_copied_either_way(database: str, tmp_path: Path) -> None:
    source, target = tmp_path / "here", tmp_path / "there"
    place = find_place(source)
    with place.open_gallery(DEFAULT, MODEL, keep_recordings=True) as gallery:
        take = [Take(rows(1), 4.0, "0", b"sound"), Take(rows(2), 5.0, "7")]
        gallery.enrol_several("홍길동", take, "register", profile=Profile({"site": "Seoul"}))
    place.create("b")
    with place.open_gallery("b", MODEL) as other:
        other.register("kim", "0", rows(3), 3.0)
    text, _ = place.keys().create("admin", DEFAULT)
    assert run("utils.gallery", "copy", str(source), database).returncode == 0
    back = run("utils.gallery", "copy", database, str(target))
    assert "2 speakers, 3 recordings, 2 collections and 1 keys" in back.stdout
    copied = find_place(target)
    assert copied.keys().find(text)
    with copied.open_gallery(DEFAULT, MODEL) as again:
        assert again.search(centroid(rows(1)))[0].speaker_id == "홍길동"
        record = again.speaker("홍길동")
        assert record.profile.metadata == {"site": "Seoul"}
        assert [again.media(one) for one in record.recordings] == [b"sound", None]
    with copied.open_gallery("b", MODEL) as again:
        assert again.speaker_ids() == ["kim"]
    twice = run("utils.gallery", "copy", str(source), database)
    assert twice.returncode == 1
    assert "empty gallery" in twice.stderr
