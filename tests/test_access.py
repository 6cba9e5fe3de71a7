"""Keys, roles, rates and coarse scores: what each request may, on a real server's application."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from evaluation.server import running_server
from tests.conftest import DATA
from utils.keys import KeyFile, Role, allows
from web import access
from web.application import create_app
from web.coarse import STEPS, coarsen
from web.loopback import host_of, is_loopback
from web.settings import Settings

ROOT = Path(__file__).parent.parent
ALL_ROLES: list[Role] = ["identify", "enrol", "admin"]
CLIP = DATA / "ast1@example.org-0.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def app(folder: Path) -> Flask:
    return create_app(Settings(decoders=0, gallery=folder, rate=10_000))


@pytest.fixture(scope="module")
def keys(folder: Path, app: Flask) -> dict[Role, str]:
    store = KeyFile(folder)
    return {role: store.create(role, "default")[0] for role in ALL_ROLES}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes(app: Flask) -> list[tuple[str, str]]:
    """Method and rule of every route there is."""
    return [
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def asked_over_http() -> list[tuple[tuple[str, str], access.Needed]]:
    """All but the WebSocket, which `tests/test_live.py` tries."""
    return [each for each in access.ROLES.items() if each[0] != ("GET", "/v1/live")]


def ask(client: FlaskClient, method: str, rule: str, headers: dict[str, str]) -> Any:
    """Asks a route for something that it refuses, if it is asked at all."""
    path = re.sub(r"<[^>]+>", "nobody", rule)
    return client.open(path, method=method, headers=headers)


# Roles


def test_every_route_has_a_role_and_no_role_is_of_no_route(app: Flask) -> None:
    assert set(routes(app)) == set(access.ROLES)


def test_the_docs_say_every_calls_role() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]+) (\S+)` \| (\w+) \|", text, re.MULTILINE)
    said = {(method, path): role for method, path, role in rows}
    assert len(said) >= 6
    for (method, rule), role in access.ROLES.items():
        if "<path:filename>" not in rule:  # files of pages
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
            assert said[(method, path)] == role


def test_every_role_is_tried_against_every_route(app: Flask, keys: dict[Role, str]) -> None:
    client = app.test_client()
    for (method, rule), needed in asked_over_http():
        for role in ALL_ROLES:
            reply = ask(client, method, rule, bearer(keys[role]))
            refused = reply.status_code == 403 and reply.get_json()["title"] == "NotAllowed"
            reply.close()
            assert refused == (needed != "open" and not allows(role, needed)), (method, rule, role)


@pytest.mark.parametrize(
    "headers",
    [{}, bearer(""), bearer("sis_00000000_" + "x" * 43), {"Authorization": "Basic Zm9v"}],
    ids=["none", "empty", "unknown", "of another kind"],
)
def test_without_a_key_that_holds_nothing_but_the_open_routes_answers(
    app: Flask, keys: dict[Role, str], headers: dict[str, str]
) -> None:
    client = app.test_client()
    for number, ((method, rule), needed) in enumerate(asked_over_http()):
        environ = {"REMOTE_ADDR": f"127.0.1.{number}"}
        path = re.sub(r"<[^>]+>", "nobody", rule)
        reply = client.open(path, method=method, headers=headers, environ_base=environ)
        assert (reply.status_code == 401) == (needed != "open"), (method, rule)
        if needed != "open":
            assert reply.get_json()["title"] == "BadKey"
            assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        reply.close()


def test_a_key_may_come_as_a_header_of_its_own(app: Flask, keys: dict[Role, str]) -> None:
    reply = app.test_client().post(
        "/Identification_Request", headers={"X-API-Key": keys["identify"]}
    )
    assert reply.status_code == 400


def test_a_revoked_key_ends_at_the_next_request(app: Flask, folder: Path) -> None:
    store = KeyFile(folder)
    text, key = store.create("admin", "default")
    client = app.test_client()
    assert client.post("/Identification_Request", headers=bearer(text)).status_code == 400
    store.revoke(key.key_id)
    assert client.post("/Identification_Request", headers=bearer(text)).status_code == 401


def test_a_key_is_for_its_collection_alone(app: Flask, folder: Path) -> None:
    text, _ = KeyFile(folder).create("admin", "other")
    reply = app.test_client().post("/Identification_Request?collection=third", headers=bearer(text))
    assert (reply.status_code, reply.get_json()["title"]) == (403, "NotAllowed")


def test_who_may_only_identify_enrols_nobody(app: Flask, keys: dict[Role, str]) -> None:
    client = app.test_client()

    def post(role: Role, number: int, **fields: str) -> Any:
        path = DATA / f"ast{number}@example.org-0.mp4"
        with path.open("rb") as file:
            return client.post(
                "/Identification_Request",
                data={"file": (file, path.name), **fields},
                headers=bearer(keys[role]),
            )

    assert post("enrol", 1).get_json()["decision"] == "registered"
    stranger = post("identify", 3)
    assert (stranger.status_code, stranger.get_json()["decision"]) == (200, "identified")
    for field in ("re_register", "add"):
        refused = post("identify", 1, **{field: "True"})
        assert (refused.status_code, refused.get_json()["title"]) == (403, "NotAllowed")
    exact = post("admin", 1, register="False").get_json()
    coarse = post("identify", 1).get_json()
    assert coarse == {**coarsen(exact), "timings_ms": coarse["timings_ms"]}
    assert coarse["candidates"][0]["score"] in {1.0, 0.95}
    assert coarse != {**exact, "timings_ms": coarse["timings_ms"]}


# Without keys


@pytest.fixture
def unlocked(tmp_path: Path) -> FlaskClient:
    return create_app(Settings(decoders=0, gallery=tmp_path)).test_client()


@pytest.mark.parametrize(
    ("headers", "address", "status"),
    [
        ({}, "127.0.0.1", 400),
        ({"Host": "127.0.0.1:5000"}, "127.0.0.1", 400),
        ({"Host": "[::1]:5000"}, "::1", 400),
        ({"Host": "localhost:5000", "Origin": "http://localhost:5000"}, "127.0.0.1", 400),
        ({"Host": "rebound.example.org"}, "127.0.0.1", 403),
        ({"Host": "localhost"}, "192.0.2.7", 403),
        ({"Host": "localhost", "Origin": "http://evil.example.org"}, "127.0.0.1", 403),
        ({"Host": "localhost", "Origin": "null"}, "127.0.0.1", 403),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, "127.0.0.1", 403),
        ({"Host": "localhost", "Sec-Fetch-Site": "same-origin"}, "127.0.0.1", 400),
    ],
)
def test_without_keys_only_programs_of_this_machine_are_answered(
    unlocked: FlaskClient, headers: dict[str, str], address: str, status: int
) -> None:
    reply = unlocked.post(
        "/Identification_Request", headers=headers, environ_base={"REMOTE_ADDR": address}
    )
    assert reply.status_code == status


def test_losing_the_keys_opens_nothing(tmp_path: Path) -> None:
    text, _ = KeyFile(tmp_path).create("admin", "default")
    client = create_app(Settings(decoders=0, gallery=tmp_path)).test_client()
    assert client.post("/Identification_Request", headers=bearer(text)).status_code == 400
    (tmp_path / "keys.json").unlink()
    assert client.post("/Identification_Request").status_code == 401


def test_a_server_without_keys_does_not_listen_to_others(tmp_path: Path) -> None:
    def start(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "app.py"), "--port", "0", "--gallery", str(tmp_path)]
        return subprocess.run(
            [*command, *flags], capture_output=True, text=True, check=False, timeout=60
        )

    refused = start("--host", "0.0.0.0")
    assert refused.returncode == 1
    assert "utils.keys" in refused.stderr
    assert "--open" in refused.stderr


def test_a_server_with_keys_asks_for_them_over_a_socket(tmp_path: Path) -> None:
    text, _ = KeyFile(tmp_path).create("identify", "default")
    with running_server(tmp_path, "--host", "0.0.0.0") as server:
        url = f"{server.url}/Identification_Request"
        assert requests.post(url, timeout=10).status_code == 401
        assert requests.post(url, headers=bearer(text), timeout=10).status_code == 400


# Rates


def test_a_key_that_asks_too_often_waits(tmp_path: Path) -> None:
    store = KeyFile(tmp_path)
    (mine, _), (other, _) = store.create("admin", "default"), store.create("admin", "default")
    client = create_app(Settings(decoders=0, gallery=tmp_path, rate=3)).test_client()
    codes = [
        client.post("/Identification_Request", headers=bearer(mine)).status_code for _ in range(5)
    ]
    assert codes == [400, 400, 400, 429, 429]
    reply = client.post("/Identification_Request", headers=bearer(mine))
    assert reply.get_json()["title"] == "TooManyRequests"
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert client.post("/Identification_Request", headers=bearer(other)).status_code == 400


def test_guessing_keys_is_slow(tmp_path: Path) -> None:
    text, _ = KeyFile(tmp_path).create("admin", "default")
    client = create_app(Settings(decoders=0, gallery=tmp_path)).test_client()
    codes = [
        client.post("/Identification_Request", headers=bearer(f"sis_{n}")).status_code
        for n in range(access.FAILED_KEYS_A_MINUTE + 2)
    ]
    assert codes == [401] * access.FAILED_KEYS_A_MINUTE + [429] * 2
    elsewhere = {"REMOTE_ADDR": "127.0.0.2"}
    reply = client.post("/Identification_Request", headers=bearer(text), environ_base=elsewhere)
    assert reply.status_code == 400


def test_no_key_reaches_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text, _ = KeyFile(tmp_path).create("admin", "default")
    client = create_app(Settings(decoders=0, gallery=tmp_path)).test_client()
    with caplog.at_level(logging.DEBUG):
        client.post("/Identification_Request", headers=bearer(text))
        client.post("/Identification_Request", headers=bearer(text[:-1]))
    assert text[:-1] not in caplog.text


# Coarse scores


numbers = st.floats(-1e3, 1e3) | st.integers(-1000, 1000)
bodies = st.recursive(
    numbers | st.text() | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*STEPS, "stranger_chance", "x"]), inner, max_size=5)
    ),
)


@given(bodies)
def test_nothing_finer_than_a_step_is_left(body: Any) -> None:
    def look(value: Any) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                number = isinstance(each, int | float) and not isinstance(each, bool)
                if number and name in STEPS:
                    steps = each / STEPS[name]
                    assert abs(steps - round(steps)) < 1e-6
                elif number and name == "stranger_chance" and each:
                    assert re.fullmatch(r"1(\.0)?|1e[-+]\d+|0\.0*1|10+\.0", repr(each)), each
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(coarsen(body))


@pytest.mark.parametrize(
    ("authority", "loopback"),
    [
        ("localhost", True), ("LOCALHOST:80", True), ("a.localhost", True), ("127.8.9.1:1", True),
        ("[::1]", True), ("[::ffff:127.0.0.1]:5", True), ("localhost.", True),
        ("127.0.0.1.example.org", False), ("10.0.0.1", False), ("localhost.example.org", False),
        ("", False), ("[", False), ("a b", False), ("a@localhost", False), ("localhost:x", False),
        ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_only_this_machines_names_are_loopback(authority: str, loopback: bool) -> None:
    assert is_loopback(host_of(authority)) == loopback
