"""What /v1 says of a recording: over HTTP's front door, with the sample voices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api import STRANGER, application, clip, in_base64, name, refused, send, six_voices
from web.access import ROLES


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    with six_voices(tmp_path_factory.mktemp("gallery")) as client:
        yield client


def test_who_it_is(client: FlaskClient) -> None:
    answer = send(client, "/v1/identify", {"audio": clip(3, 1)})
    assert answer["speaker_id"] == name(3)
    assert answer["verdict"]["outcome"] == "accepted"
    assert len(answer["candidates"]) == 5
    assert answer["quality"]["speech_s"] > 3.0
    assert answer["liveness"] == "not checked"


def test_a_stranger_is_nobody(client: FlaskClient) -> None:
    answer = send(client, "/v1/identify", {"audio": clip(STRANGER, 1)})
    assert answer["speaker_id"] is None
    assert answer["verdict"]["outcome"] != "accepted"
    assert answer["candidates"]


def test_a_form_and_json_are_answered_alike(client: FlaskClient) -> None:
    by_form = send(client, "/v1/identify", {"audio": clip(2, 1)}, top_k="2")
    by_json = client.post("/v1/identify", json={"audio": in_base64(clip(2, 1)), "top_k": 2}).json
    assert by_json is not None
    for told in (by_form, by_json):
        del told["timings_ms"]
    assert by_form == by_json
    assert len(by_form["candidates"]) == 2


def test_only_candidates_are_looked_at(client: FlaskClient) -> None:
    among = [name(5), name(3)]
    answer = send(client, "/v1/identify", {"audio": clip(3, 1)}, candidates=among)
    assert [each["speaker_id"] for each in answer["candidates"]] == [name(3), name(5)]
    everybody = send(client, "/v1/identify", {"audio": clip(3, 1)})
    assert answer["verdict"]["stranger_chance"] < everybody["verdict"]["stranger_chance"]
    reply = client.post(
        "/v1/identify", json={"audio": in_base64(clip(3, 1)), "candidates": ["nobody"]}
    )
    assert refused(reply)[:2] == (404, "NotEnrolled")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "either audio or embedding"),
        ({"audio": ""}, ""),
        ({"audio": "no base64!"}, "not base64"),
        ({"audio": 5}, "base64 text"),
        ({"embedding": [0.1] * 63}, "at least 64"),
        ({"embedding": [0.0] * 64}, "no direction"),
        ({"embedding": [1e308] * 64}, "no direction"),
        ({"embedding": [0.1] * 64, "audio": "AAAA"}, "either audio or embedding"),
        ({"embedding": [0.1] * 64, "model_id": "another"}, "another network"),
        ({"embedding": [0.1] * 64, "top_k": 0}, "'top_k'"),
        ({"embedding": [0.1] * 64, "top_k": "5"}, "'top_k'"),
        ({"embedding": [0.1] * 64, "candidates": []}, "'candidates'"),
        ({"embedding": [0.1] * 64, "candidates": ["a/b"]}, "leave out '/'"),
        ({"embedding": [0.1] * 64, "topk": 5}, "no field 'topk'"),
    ],
)
def test_a_field_without_meaning(client: FlaskClient, body: dict[str, Any], sentence: str) -> None:
    status, title, detail = refused(client.post("/v1/identify", json=body))
    if body == {"audio": ""}:  # a recording of no bytes
        assert (status, title) == (422, "NotDecodable")
    else:
        assert status == 400
        assert title in {"BadField", "BadSpeakerId"}
    assert sentence in detail
    assert detail.endswith(".")


def test_a_body_of_another_kind(client: FlaskClient) -> None:
    for content, kind in [(b"[1]", "application/json"), (b"x", "audio/wav"), (b"", None)]:
        reply = client.post("/v1/identify", data=content, content_type=kind)
        assert refused(reply)[:2] == (400, "BadField")


def test_is_it_them(client: FlaskClient) -> None:
    theirs = send(client, "/v1/verify", {"audio": clip(4, 1)}, speaker_id=name(4))
    other = send(client, "/v1/verify", {"audio": clip(STRANGER, 1)}, speaker_id=name(3))
    assert (theirs["outcome"], other["outcome"]) == ("accepted", "rejected")
    assert theirs["score"] > other["score"]
    assert theirs["probability"] > 0.9 > other["probability"]
    assert theirs["stranger_chance"] < 0.01 < other["stranger_chance"]


def test_nobody_can_be_verified_who_is_not_enrolled(client: FlaskClient) -> None:
    said = {"audio": in_base64(clip(4, 1)), "speaker_id": name(STRANGER)}
    assert refused(client.post("/v1/verify", json=said))[:2] == (404, "NotEnrolled")
    del said["speaker_id"]
    reply = client.post("/v1/verify", json=said)
    assert refused(reply) == (400, "BadField", "speaker_id is missing; send it.")


def test_an_embedding_is_as_good_as_the_recording(client: FlaskClient) -> None:
    kept = send(client, "/v1/embed", {"audio": clip(3, 1)})
    assert sum(each * each for each in kept["embedding"]) == pytest.approx(1.0, abs=1e-5)
    asked = {name: kept[name] for name in ("embedding", "model_id")}
    asked["speech_s"] = kept["quality"]["speech_s"]
    heard = send(client, "/v1/identify", {"audio": clip(3, 1)})
    for path, more in (("/v1/identify", {}), ("/v1/verify", {"speaker_id": name(3)})):
        reply = client.post(path, json={**asked, **more}).json
        assert reply is not None
        assert reply["speaker_id"] == name(3)
        assert reply["quality"] is None
    again = client.post("/v1/identify", json=asked).json
    assert again is not None
    assert again["candidates"] == heard["candidates"]
    assert again["verdict"]["llr"] == pytest.approx(heard["verdict"]["llr"], abs=0.01)


def test_two_recordings_of_one_voice_or_of_two(client: FlaskClient) -> None:
    same = send(client, "/v1/compare", {"first": clip(7, 0), "second": clip(7, 1)})
    two = send(client, "/v1/compare", {"first": clip(7, 0), "second": clip(3, 1)})
    turned = send(client, "/v1/compare", {"first": clip(3, 1), "second": clip(7, 0)})
    assert (same["outcome"], two["outcome"]) == ("same", "different")
    assert (turned["score"], turned["llr"]) == (two["score"], two["llr"])
    assert (turned["first"], turned["second"]) == (two["second"], two["first"])


def test_nobody_is_enrolled(tmp_path: Path) -> None:
    with application(tmp_path) as client:
        reply = client.post("/v1/identify", json={"audio": in_base64(clip(1, 0))})
        assert refused(reply)[:2] == (409, "EmptyGallery")


def test_the_page_of_the_interface_asks_no_outside_host(client: FlaskClient) -> None:
    page = client.get("/docs", buffered=True)
    assert page.status_code == 200
    for needed in ("swagger/js/swagger-ui-bundle.js", "swagger/css/swagger-ui.css"):
        assert f"/docs/{needed}" in page.text
        assert client.get(f"/docs/{needed}", buffered=True).status_code == 200
    start = client.get("/docs/page/start.js", buffered=True).text
    assert "://" not in page.text + start
    assert 'validatorUrl: "none"' in start


def test_the_file_of_the_interface_names_what_is_there(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    assert document["openapi"] == "3.1.0"
    rules = {rule.rule for rule in client.application.url_map.iter_rules()}
    assert {path.replace("{", "<").replace("}", ">") for path in document["paths"]} <= rules
    identify = document["paths"]["/v1/identify"]["post"]
    assert set(identify["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "400", "4XX", "5XX"} == set(identify["responses"])


def test_the_file_of_the_interface_says_which_key_is_needed(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer"}
    }
    for (method, rule), needed in ROLES.items():
        path = document["paths"].get(rule.replace("<", "{").replace(">", "}"))
        if path is None:
            continue  # pages, and what no program asks
        operation = path[method.lower()]
        assert ("security" in operation) == (needed != "open")
        if needed != "open":
            assert f"a key that may {needed}" in operation["description"]
    parameters = document["paths"]["/v1/identify"]["post"]["parameters"]
    assert [each["name"] for each in parameters] == ["collection"]
