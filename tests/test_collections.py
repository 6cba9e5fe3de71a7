"""Collections: galleries beside each other that know nothing of each other's voices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from evaluation.server import running_server
from tests.conftest import DATA
from utils.keys import KeyFile
from web.application import create_app
from web.settings import Settings


def client_over(folder: Path) -> FlaskClient:
    app = create_app(Settings(decoders=0, gallery=folder))
    app.validate_response = True
    return app.test_client()


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return client_over(tmp_path)


def send(client: FlaskClient, speaker: int, collection: str, **fields: str) -> Any:
    path = DATA / f"ast{speaker}@example.org-0.mp4"
    with path.open("rb") as file:
        data = {"file": (file, path.name), **fields}
        return client.post(f"/Identification_Request?collection={collection}", data=data)


def names(client: FlaskClient) -> dict[str, int]:
    listed = client.get("/v1/collections").get_json()["collections"]
    return {one["name"]: one["speakers"] for one in listed}


def test_voices_of_two_collections_do_not_meet(client: FlaskClient, tmp_path: Path) -> None:
    assert client.post("/v1/collections", json={"name": "site-b"}).status_code == 201
    assert send(client, 1, "default").get_json()["decision"] == "registered"
    assert send(client, 1, "site-b").get_json()["decision"] == "registered"
    assert send(client, 2, "site-b").get_json()["duplicate_of"] is None
    assert names(client) == {"default": 1, "site-b": 2}
    assert len(list((tmp_path / "voice_gallery").iterdir())) == 1
    asked = send(client, 2, "default", register="False").get_json()
    assert asked["speaker_id"] == "ast1@example.org"


@pytest.mark.parametrize("name", ["", "UPPER", "../up", "a/b", "-a", "x" * 65, "홍"])
def test_a_bad_name_makes_nothing(client: FlaskClient, tmp_path: Path, name: str) -> None:
    reply = client.post("/v1/collections", json={"name": name})
    assert (reply.status_code, reply.get_json()["title"]) == (400, "BadField")
    assert not (tmp_path / "collections").exists()
    assert send(client, 1, name).status_code == 404


def test_a_collection_is_made_once(client: FlaskClient) -> None:
    for name, status in [("b", 201), ("b", 409), ("default", 409)]:
        assert client.post("/v1/collections", json={"name": name}).status_code == status


def test_a_deleted_collection_is_gone_with_a_receipt(client: FlaskClient, tmp_path: Path) -> None:
    client.post("/v1/collections", json={"name": "b"})
    send(client, 1, "b")
    send(client, 2, "b")
    receipt = client.delete("/v1/collections/b").get_json()
    assert receipt["verified_gone"] is True
    assert [len(one["files"]) for one in receipt["speakers"]] == [1, 1]
    assert not (tmp_path / "collections" / "b").exists()
    assert send(client, 1, "b").status_code == 404
    assert client.delete("/v1/collections/b").status_code == 404
    assert client.delete("/v1/collections/default").status_code == 400
    client.post("/v1/collections", json={"name": "b"})
    assert names(client) == {"default": 0, "b": 0}


def test_another_process_sees_what_is_made_and_deleted(tmp_path: Path) -> None:
    here, there = client_over(tmp_path), client_over(tmp_path)
    here.post("/v1/collections", json={"name": "b"})
    assert send(there, 1, "b").get_json()["decision"] == "registered"
    assert names(here) == {"default": 0, "b": 1}
    here.delete("/v1/collections/b")
    assert send(there, 1, "b").status_code == 404
    here.post("/v1/collections", json={"name": "b"})
    assert send(there, 2, "b").get_json()["decision"] == "registered"
    assert names(here) == {"default": 0, "b": 1}


def test_a_key_asks_its_own_collection_and_ends_with_it(tmp_path: Path) -> None:
    store = KeyFile(tmp_path)
    (admin, _), (b_admin, b_key) = store.create("admin", "default"), store.create("admin", "b")

    def bearer(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    client = client_over(tmp_path)
    client.post("/v1/collections", json={"name": "b"}, headers=bearer(admin))
    path = DATA / "ast1@example.org-0.mp4"
    with path.open("rb") as file:
        data = {"file": (file, path.name)}
        reply = client.post("/Identification_Request", data=data, headers=bearer(b_admin))
    assert reply.get_json()["decision"] == "registered"
    assert client.get("/v1/collections", headers=bearer(b_admin)).status_code == 403
    listed = client.get("/v1/collections", headers=bearer(admin)).get_json()["collections"]
    assert [one["speakers"] for one in listed] == [0, 1]
    receipt = client.delete("/v1/collections/b", headers=bearer(admin)).get_json()
    assert receipt["keys_revoked"] == [b_key.key_id]
    assert client.get("/v1/collections", headers=bearer(b_admin)).status_code == 401


def test_collections_survive_a_restart(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        requests.post(f"{server.url}/v1/collections", json={"name": "b"}, timeout=10)
    with running_server(tmp_path) as server:
        listed = requests.get(f"{server.url}/v1/collections", timeout=10).json()
        assert [one["name"] for one in listed["collections"]] == ["default", "b"]
