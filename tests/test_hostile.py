"""What `python -m reliability` found, and the figures that it wrote."""

from __future__ import annotations

import importlib
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from evaluation.server import running_server
from tests import api
from utils.errors import RecordingNotFound
from utils.keys import KeyFile
from web import uploads
from web.coarse import coarsen

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("command", ["climb", "media", "requests"])
def test_the_figures_shown_are_what_was_measured(command: str) -> None:
    measured = json.loads((ROOT / "reliability" / f"{command}.json").read_text(encoding="utf-8"))
    shown = importlib.import_module(f"reliability.{command}").table(measured)
    assert shown in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["/Identification_Request", "/v1/verify"])
def test_json_that_is_nested_too_deep_is_no_json(tmp_path: Path, path: str) -> None:
    with api.application(tmp_path) as client:
        for body in (b"[" * 200_000, b'{"name":' * 50_000):
            reply = client.post(path, data=body, content_type="application/json")
            assert api.refused(reply)[:2] == (400, "BadField")


def test_a_body_in_chunks_of_no_size_is_refused(tmp_path: Path) -> None:
    head = b"POST /Identification_Request HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running_server(tmp_path, "--decoders", "0") as server:
        for body in (b"zz\r\nnonsense\r\n", b"-5\r\nnonsense\r\n0\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(head + body)
                assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_clients_that_do_not_go_on_are_not_waited_for(tmp_path: Path) -> None:
    flags = ("--threads", "1", "--max-waiting", "0", "--max-live", "1", "--max-upload-s", "1")
    head = b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\n"
    form = head + b"Content-Type: multipart/form-data; boundary=b\r\n"
    sized = form + b"Content-Length: 9999\r\n\r\n--b"
    chunked = form + b"Transfer-Encoding: chunked\r\n\r\n3\r\n--b"
    with running_server(tmp_path, "--decoders", "0", *flags) as server, ExitStack() as stack:
        silent = []
        for beginning in [head, sized, chunked] * 5:  # more than it has threads
            address = ("127.0.0.1", server.port)
            silent.append(stack.enter_context(socket.create_connection(address, timeout=20)))
            silent[-1].sendall(beginning)
        assert requests.get(f"{server.url}/readyz", timeout=20).ok
        for number, one in enumerate(silent):
            answer = one.recv(100)
            assert answer.startswith(b"HTTP/1.1 408 ") if number % 3 else answer == b""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_that_takes_a_recordings_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    outside.mkdir()
    for place in (root / "in", outside):
        (place / "a-0.mp4").write_bytes(b"a recording")
    with uploads.open_recording(str(root / "in"), "a-0.mp4", [root]) as file:
        assert file.read() == b"a recording"

    def swapped(path: Path) -> bool:
        """At the last moment: after it was looked at, before it is opened."""
        if what == "file":
            path.unlink()
            path.symlink_to(outside / "a-0.mp4")
        else:
            (root / "in").rename(root / "away")
            (root / "in").symlink_to(outside)
        return True

    monkeypatch.setattr(uploads, "_is_regular", swapped)
    with pytest.raises(RecordingNotFound):
        uploads.open_recording(str(root / "in"), "a-0.mp4", [root])


def test_ordinary_keys_send_no_embeddings(tmp_path: Path) -> None:
    store = KeyFile(tmp_path)
    admin, ordinary = (store.create(role, "default")[0] for role in ("admin", "enrol"))
    with api.application(tmp_path) as client:
        asked = {"speaker_id": "kim", "embedding": [0.1] * 64}
        for key, status in ((admin, 404), (ordinary, 403)):
            headers = {"Authorization": f"Bearer {key}"}
            assert client.post("/v1/verify", json=asked, headers=headers).status_code == status


def test_what_is_far_from_everybody_is_shown_as_no_more_than_that() -> None:
    far = {"score": -0.2, "probability": 0.01, "llr": -4.2, "stranger_chance": 0.2}
    shown = {"score": 0.5, "probability": 0.5, "llr": 0.0, "stranger_chance": 1.0}
    assert coarsen(far) == shown
