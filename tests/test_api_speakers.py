"""Speakers and whole collections under /v1: enrol, list, change, delete, out and in again."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import DATA
from utils.keys import KeyFile
from web.application import create_app
from web.settings import Settings

ODD_ID = "홍 길동%2F+@예.kr"  # everything that a URL has another meaning for


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


def client_over(folder: Path, **settings: Any) -> FlaskClient:
    app = create_app(Settings(decoders=0, gallery=folder, **settings))
    app.validate_response = True  # answers are held to their schemas
    return app.test_client()


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return client_over(tmp_path)


def send(client: FlaskClient, method: str, path: str, *clips: Path, **fields: str) -> TestResponse:
    files = [(io.BytesIO(each.read_bytes()), each.name) for each in clips]
    return client.open(path, method=method, data={"audio": files, **fields})


def enrol(client: FlaskClient, speaker: int, *numbers: int, **fields: str) -> TestResponse:
    fields.setdefault("speaker_id", f"s{speaker}")
    return send(client, "POST", "/v1/speakers", *(clip(speaker, n) for n in numbers), **fields)


def identified(client: FlaskClient, speaker: int, number: int) -> str | None:
    reply = send(client, "POST", "/v1/identify", clip(speaker, number))
    return reply.get_json().get("speaker_id")


def title(reply: TestResponse) -> tuple[int, str]:
    return reply.status_code, reply.get_json()["title"]


def test_a_speaker_is_enrolled_with_several_recordings_and_found(client: FlaskClient) -> None:
    reply = enrol(client, 1, 0, 2, metadata='{"site": "Seoul"}')
    assert reply.status_code == 201
    said = reply.get_json()
    assert said["speaker_id"] == "s1"
    assert [one["number"] for one in said["recordings"]] == ["0", "1"]
    assert len(said["heard"]) == 2
    assert (said["duplicate_of"], said["matches_before"]) == (None, None)
    assert said["metadata"] == {"site": "Seoul"}
    assert said["speech_s"] == pytest.approx(
        sum(one["speech_s"] for one in said["heard"]), abs=0.02
    )
    shown = client.get(reply.headers["Location"]).get_json()
    assert shown == {name: said[name] for name in shown}
    assert identified(client, 1, 1) == "s1"
    assert title(enrol(client, 1, 0)) == (409, "AlreadyEnrolled")


def test_an_id_may_have_any_characters(client: FlaskClient) -> None:
    reply = enrol(client, 1, 0, speaker_id=ODD_ID)
    assert reply.status_code == 201
    location = reply.headers["Location"]
    assert client.get(location).get_json()["speaker_id"] == ODD_ID
    assert client.delete(location).get_json()["speaker_id"] == ODD_ID
    assert client.get(location).status_code == 404


def test_json_with_base64_does_the_same(client: FlaskClient) -> None:
    text = base64.b64encode(clip(1, 0).read_bytes()).decode()
    body = {"speaker_id": "s1", "audio": [text], "metadata": {"n": 7}}
    reply = client.post("/v1/speakers", json=body)
    assert (reply.status_code, reply.get_json()["metadata"]) == (201, {"n": 7})


def test_a_bad_recording_enrols_none_of_them(client: FlaskClient, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no recording")
    reply = send(client, "POST", "/v1/speakers", clip(1, 0), bad, speaker_id="s1")
    assert title(reply) == (422, "NotDecodable")
    assert client.get("/v1/speakers/s1").status_code == 404
    too_many = enrol(client, 1, *range(6))
    assert title(too_many) == (409, "TooManyRecordings")


def test_a_voice_that_is_enrolled_under_another_id_is_reported(client: FlaskClient) -> None:
    enrol(client, 1, 0)
    assert enrol(client, 1, 1, speaker_id="again").get_json()["duplicate_of"] == "s1"


def test_recordings_are_added_replaced_and_removed(client: FlaskClient) -> None:
    enrol(client, 1, 0)
    path = "/v1/speakers/s1/recordings"
    added = send(client, "POST", path, clip(1, 1), clip(1, 2)).get_json()
    assert [one["number"] for one in added["recordings"]] == ["0", "1", "2"]
    assert added["matches_before"] is True
    receipt = client.delete(f"{path}/1").get_json()
    assert (len(receipt["files"]), receipt["verified_gone"]) == (1, True)
    assert title(client.delete(f"{path}/1")) == (404, "NoSuchRecording")
    replaced = send(client, "PUT", path, clip(4, 0)).get_json()
    assert replaced["matches_before"] is False
    assert len(replaced["recordings"]) == 1
    assert identified(client, 4, 1) == "s1"
    [left] = replaced["recordings"]
    assert title(client.delete(f"{path}/{left['number']}")) == (409, "LastRecording")
    for method in ("POST", "PUT"):
        reply = send(client, method, "/v1/speakers/nobody/recordings", clip(1, 0))
        assert title(reply) == (404, "NotEnrolled")


def test_speakers_are_listed_by_page_and_name(client: FlaskClient) -> None:
    for speaker in (1, 2, 3):
        enrol(client, speaker, 0)
    page = client.get("/v1/speakers?limit=2&offset=1").get_json()
    assert [one["speaker_id"] for one in page["speakers"]] == ["s2", "s3"]
    assert (page["total"], page["offset"], page["limit"]) == (3, 1, 2)
    found = client.get("/v1/speakers?query=S3").get_json()
    assert [one["speaker_id"] for one in found["speakers"]] == ["s3"]
    for bad in ("limit=0", "limit=x", "offset=-1"):
        assert title(client.get(f"/v1/speakers?{bad}")) == (400, "BadField")


def test_metadata_consent_and_id_are_changed(client: FlaskClient) -> None:
    enrol(client, 1, 0, metadata='{"site": "Seoul"}')
    consent = {"given_by": "by letter", "given_at": "2026-01-31", "until": "2999-01-31"}
    changed = client.patch("/v1/speakers/s1", json={"consent": consent}).get_json()
    assert changed["metadata"] == {"site": "Seoul"}
    assert changed["consent"]["until"] == "2999-01-31T23:59:59.999+00:00"
    renamed = client.patch("/v1/speakers/s1", json={"speaker_id": "kim", "metadata": {}}).get_json()
    assert (renamed["speaker_id"], renamed["metadata"]) == ("kim", {})
    assert renamed["consent"] == changed["consent"]
    assert identified(client, 1, 1) == "kim"
    assert client.patch("/v1/speakers/kim", json={"consent": None}).get_json()["consent"] is None
    enrol(client, 2, 0)
    assert title(client.patch("/v1/speakers/s2", json={"speaker_id": "kim"})) == (
        409,
        "AlreadyEnrolled",
    )
    assert title(client.patch("/v1/speakers/s1", json={})) == (404, "NotEnrolled")
    for bad in ({"metadata": {"a": []}}, {"consent": {"given_by": "x"}}, {"other": 1}):
        assert title(client.patch("/v1/speakers/kim", json=bad)) == (400, "BadField")


def test_whose_consent_ends_answers_no_more_and_is_purged(client: FlaskClient) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    given = {"given_by": "x", "given_at": "2026-01-01"}
    enrol(client, 1, 0, consent_until=later, **{f"consent_{k}": v for k, v in given.items()})
    enrol(client, 2, 0)
    soon = (datetime.now(UTC) + timedelta(seconds=2.0)).isoformat()
    client.patch("/v1/speakers/s1", json={"consent": {**given, "until": soon}})
    assert client.get("/v1/gallery").get_json()["speakers"] == 2
    time.sleep(2.0)
    assert client.get("/v1/gallery").get_json()["speakers"] == 1
    assert client.get("/v1/speakers/s1").get_json()["is_expired"] is True
    assert identified(client, 1, 1) != "s1"
    path = "/v1/speakers/s1/recordings"
    assert title(send(client, "PUT", path, clip(1, 2))) == (409, "ConsentExpired")
    [receipt] = client.post("/v1/gallery/purge").get_json()["receipts"]
    assert (receipt["speaker_id"], receipt["verified_gone"]) == ("s1", True)
    half = enrol(client, 3, 0, consent_given_by="x")
    assert title(half) == (400, "BadField")


def test_a_deleted_speaker_is_gone_from_the_disk(client: FlaskClient, tmp_path: Path) -> None:
    enrol(client, 1, 0, 1)
    receipt = client.delete("/v1/speakers/s1").get_json()
    assert receipt["verified_gone"] is True
    assert {one["name"] for one in receipt["files"]} == {
        "voice_gallery/s1-0.npy", "voice_gallery/s1-1.npy",
    }  # fmt: skip
    assert list((tmp_path / "voice_gallery").iterdir()) == []
    assert title(client.delete("/v1/speakers/s1")) == (404, "NotEnrolled")


def test_look_alikes_are_named(client: FlaskClient) -> None:
    assert client.get("/v1/gallery/look-alikes").get_json() == {"pairs": []}
    enrol(client, 1, 0)
    enrol(client, 1, 1, speaker_id="again")
    enrol(client, 3, 0)
    pairs = client.get("/v1/gallery/look-alikes?limit=2").get_json()["pairs"]
    assert len(pairs) == 2
    assert (pairs[0]["first"], pairs[0]["second"]) == ("again", "s1")
    assert pairs[0]["likely_duplicate"] is True


def test_a_collection_goes_out_and_comes_in(tmp_path: Path) -> None:
    here = client_over(tmp_path / "a", keep_recordings=True)
    there = client_over(tmp_path / "b")
    enrol(here, 1, 0, metadata='{"site": "Seoul"}')
    enrol(here, 2, 0)
    with here.get("/v1/gallery/export") as reply:
        assert reply.mimetype == "application/zip"
        archive = reply.data
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert sum(name.startswith("sound/") for name in names) == 2

    def bring_in(data: bytes, **fields: str) -> TestResponse:
        body = {"archive": (io.BytesIO(data), "a.zip"), **fields}
        return there.post("/v1/gallery/import", data=body)

    assert bring_in(archive).get_json()["speakers"] == 2
    mine, theirs = (each.get("/v1/speakers").get_json()["speakers"] for each in (here, there))
    dropped = ("updated_at",)  # of a profile: when it was brought in
    assert [{k: v for k, v in one.items() if k not in dropped} for one in mine] == [
        {k: v for k, v in one.items() if k not in dropped} for one in theirs
    ]
    assert identified(there, 2, 1) == "s2"
    assert title(bring_in(archive)) == (409, "AlreadyEnrolled")
    assert bring_in(archive, on_conflict="skip").get_json()["skipped"] == ["s1", "s2"]
    assert title(bring_in(archive[:100])) == (422, "BadArchive")
    text = base64.b64encode(archive).decode()
    reply = there.post("/v1/gallery/import", json={"archive": text, "on_conflict": "replace"})
    assert reply.get_json()["recordings"] == 2


def test_another_id_needs_an_admin_key(tmp_path: Path) -> None:
    client = client_over(tmp_path)
    enrol(client, 1, 0)
    text, _ = KeyFile(tmp_path).create("enrol", "default")
    headers = {"Authorization": f"Bearer {text}"}
    body = json.dumps({"metadata": {"site": "Seoul"}})
    kind = "application/json"
    changed = client.patch("/v1/speakers/s1", data=body, content_type=kind, headers=headers)
    assert changed.status_code == 200
    body = json.dumps({"speaker_id": "kim"})
    refused = client.patch("/v1/speakers/s1", data=body, content_type=kind, headers=headers)
    assert title(refused) == (403, "NotAllowed")
