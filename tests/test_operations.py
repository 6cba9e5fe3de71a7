"""What an operator sees: the log, the metrics, and nothing of who it was."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from utils.keys import KeyFile
from web.application import create_app
from web.logs import HEADER, set_up
from web.settings import Settings

NAME = "peculiar-Person.77@example.org"


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


def post(url: str, path: Path, name: str, **more: Any) -> requests.Response:
    with path.open("rb") as file:
        return requests.post(
            f"{url}/Identification_Request", files={"file": (name, file)}, timeout=30, **more
        )


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its labels' values in the order of their names."""
    return {
        (one.name, tuple(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


# Metrics


@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_counts_and_whichever_is_asked_adds_up(
    tmp_path: Path, processes: int
) -> None:
    folders = set(Path(tempfile.gettempdir()).glob("speaker-metrics-*"))
    with running_server(tmp_path / "gallery", "--processes", str(processes)) as server:
        for number in range(3):
            post(server.url, clip(1, number), f"{NAME}-{number}.mp4").raise_for_status()
        for _ in range(6):
            assert requests.get(f"{server.url}/nothing/{NAME}", timeout=10).status_code == 404
        reply = requests.get(f"{server.url}/metrics", timeout=10)
        assert reply.headers["Content-Type"].startswith("text/plain")
        told = samples(reply.text)
    seed = "/Identification_Request"
    assert told[("speaker_requests_total", ("POST", seed, "2xx"))] == 3
    assert told[("speaker_requests_total", ("GET", "none", "4xx"))] == 6
    assert told[("speaker_decisions_total", ("registered", "none"))] == 1
    assert told[("speaker_decisions_total", ("identified", "accepted"))] == 2
    assert told[("speaker_stage_seconds_count", ("embedding",))] == 3
    assert told[("speaker_request_seconds_count", (seed,))] == 3
    assert told[("speaker_gallery_speakers", ("default",))] == 1
    assert NAME not in reply.text
    assert set(Path(tempfile.gettempdir()).glob("speaker-metrics-*")) == folders


def test_the_docs_name_every_metric(tmp_path: Path) -> None:
    client = create_app(Settings(decoders=0, gallery=tmp_path)).test_client()
    told = client.get("/metrics").get_data(as_text=True)
    names = set(re.findall(r"^# TYPE (speaker_\w+)(?<!_created) ", told, re.MULTILINE))
    text = (DATA.parent / "docs" / "operating.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(speaker_\w+)` \|", text, re.MULTILINE))
    assert rows == names


# The log


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "gallery", "--log-format", "json") as running:
        yield running


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]


def test_each_request_has_a_line_with_the_id_that_its_answer_has(server: ServerProcess) -> None:
    mine = post(server.url, clip(1, 0), "a-0.mp4", headers={HEADER: "my-id.7"})
    assert mine.headers[HEADER] == "my-id.7"
    made = requests.get(f"{server.url}/nowhere", headers={HEADER: "bad id\t"}, timeout=10)
    assert re.fullmatch("[0-9a-f]{16}", made.headers[HEADER])
    told = lines(server)
    [line] = [one for one in told if one["request_id"] == "my-id.7" and "route" in one]
    assert (line["method"], line["route"], line["status"]) == (
        "POST",
        "/Identification_Request",
        200,
    )
    assert line["ms"] > 0
    [decided] = [one for one in told if one["logger"] == "web.decided"]
    assert decided["request_id"] == "my-id.7"
    assert decided["message"].startswith("registered: ")
    [missing] = [one for one in told if one["request_id"] == made.headers[HEADER]]
    assert (missing["route"], missing["status"]) == (None, 404)


def test_nobody_is_named_in_the_log(server: ServerProcess) -> None:
    base, api = server.url, f"{server.url}/v1"
    post(base, clip(1, 0), f"{NAME}-47114711471147114711.mp4")
    post(base, clip(1, 1), f"{NAME}-4712.mp4")
    requests.get(f"{api}/speakers/{NAME}", timeout=10)
    requests.get(f"{api}/speakers?query={NAME}", timeout=10)
    requests.post(f"{api}/verify", json={"speaker_id": NAME, "embedding": [0.5] * 64}, timeout=10)
    requests.delete(f"{api}/speakers/{NAME}", timeout=10)
    text = server.log.read_text(encoding="utf-8")
    assert len(lines(server)) > 8
    # longer than a request ID, which may hold any shorter number
    for word in (NAME, "peculiar", "47114711471147114711", ".mp4", "%40"):
        assert word not in text, word


def test_a_fault_is_logged_whole_but_for_its_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings(decoders=0, gallery=tmp_path))
    app.add_url_rule("/readyz/fault", view_func=lambda: {}[NAME])
    from web import access

    handlers = logging.getLogger().handlers[:]
    try:
        set_up("json")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(access, "ROLES", {**access.ROLES, ("GET", "/readyz/fault"): "open"})
            reply = app.test_client().get("/readyz/fault")
    finally:
        logging.getLogger().handlers[:] = handlers
    assert reply.status_code == 500
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    [fault] = [one for one in told if "traceback" in one]
    assert fault["request_id"] == reply.headers[HEADER]
    assert fault["traceback"].endswith("builtins.KeyError")
    assert "test_operations.py" in fault["traceback"]
    assert NAME not in json.dumps(told)


def test_keys_are_named_by_their_id_alone(tmp_path: Path) -> None:
    text, key = KeyFile(tmp_path / "gallery").create("identify", "default")
    with running_server(tmp_path / "gallery", "--log-format", "json") as server:
        headers = {"Authorization": f"Bearer {text}"}
        requests.post(f"{server.url}/v1/identify", headers=headers, json={}, timeout=10)
        told = lines(server)
        [line] = [one for one in told if one.get("route") == "/v1/identify"]
        assert line["key"] == key.key_id
        assert text not in server.log.read_text(encoding="utf-8")


# Stopping


def test_what_was_taken_is_answered_after_a_stop(tmp_path: Path) -> None:
    """A streamed batch too."""
    with running_server(tmp_path / "gallery") as server:
        post(server.url, clip(1, 0), "a-0.mp4").raise_for_status()
        files = [("audio", (f"{n}.mp4", clip(1, n % 10).read_bytes())) for n in range(40)]
        told: list[dict[str, Any]] = []

        def ask() -> None:
            reply = requests.post(
                f"{server.url}/v1/identify/batch", files=files, timeout=60, stream=True
            )
            for line in reply.iter_lines():
                told.append(json.loads(line))
                begun.set()

        begun = threading.Event()
        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(30)
        os.kill(server.process.pid, signal.SIGTERM)
        asking.join(60)
        assert [one["status"] for one in told] == [200] * 40
        assert server.process.wait(30) == 0
