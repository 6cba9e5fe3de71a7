"""Many recordings in one request: each has its line, as soon as it is done."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from evaluation.server import running_server
from tests.api import STRANGER, clip, in_base64, name, refused, six_voices
from utils.keys import KeyFile
from web.coarse import coarsen
from web.v1.batch import MOST_FILES


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    with six_voices(tmp_path_factory.mktemp("gallery")) as client:
        yield client


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_recording_has_its_line(client: FlaskClient, tmp_path: Path) -> None:
    broken = tmp_path / "깨진.mp4"
    broken.write_bytes(b"no recording")
    sent = [clip(3, 1), broken, clip(STRANGER, 1), clip(5, 1)]
    files = [(io.BytesIO(each.read_bytes()), each.name) for each in sent]
    reply = client.post("/v1/identify/batch", data={"audio": files, "top_k": "1"}, buffered=True)
    assert (reply.status_code, reply.mimetype) == (200, "application/x-ndjson")
    told = lines(reply.text)
    assert [each["file"] for each in told] == [each.name for each in sent]
    assert [each["status"] for each in told] == [200, 422, 200, 200]
    assert told[1]["title"] == "NotDecodable"
    assert [told[place]["speaker_id"] for place in (0, 2, 3)] == [name(3), None, name(5)]
    assert len(told[0]["candidates"]) == 1


def test_json_has_places_for_names(client: FlaskClient) -> None:
    body = {"audio": [in_base64(clip(3, 1)), "AAAA"], "candidates": [name(3)]}
    told = lines(client.post("/v1/identify/batch", json=body, buffered=True).text)
    assert [(each["file"], each["status"]) for each in told] == [("0", 200), ("1", 422)]


def test_a_request_without_meaning_has_no_lines(client: FlaskClient) -> None:
    for body in ({}, {"audio": []}, {"audio": "AAAA"}, {"audio": ["AAAA"] * (MOST_FILES + 1)}):
        assert refused(client.post("/v1/identify/batch", json=body))[:2] == (400, "BadField")


def test_ordinary_keys_see_lines_in_steps(tmp_path: Path) -> None:
    body = {"audio": [in_base64(clip(3, 1))]}
    with six_voices(tmp_path) as client:
        (exact,) = lines(client.post("/v1/identify/batch", json=body, buffered=True).text)
        key, _ = KeyFile(tmp_path).create("identify", "default")
        headers = {"Authorization": f"Bearer {key}"}
        reply = client.post("/v1/identify/batch", json=body, headers=headers, buffered=True)
        (coarse,) = lines(reply.text)
    assert coarse["candidates"] == coarsen(exact["candidates"]) != exact["candidates"]
    assert coarse["verdict"] == coarsen(exact["verdict"]) != exact["verdict"]


def test_answers_come_as_they_are_done(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        with clip(3, 0).open("rb") as file:
            asked = {"file": (clip(3, 0).name, file)}
            requests.post(f"{server.url}/Identification_Request", files=asked, timeout=60)
        files = [("audio", (f"{place}.mp4", clip(3, 1).read_bytes())) for place in range(8)]
        arrived, told = [], []
        with requests.post(
            f"{server.url}/v1/identify/batch", files=files, timeout=60, stream=True
        ) as reply:
            for line in reply.iter_lines(chunk_size=1):
                arrived.append(time.monotonic())
                told.append(json.loads(line))
    assert [each["speaker_id"] for each in told] == [name(3)] * 8
    worked_s = sum(each["timings_ms"]["total"] for each in told[1:]) / 1e3
    assert arrived[-1] - arrived[0] > 0.5 * worked_s, "the first did not wait for the others"
