"""Request.py and its subcommands, as a user runs them, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import RequestFailed, V1Client
from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from utils.audio import decode
from utils.keys import KeyFile

ROOT = Path(__file__).parent.parent


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("client") / "gallery") as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[V1Client]:
    with V1Client(server.url) as opened:
        for record in opened.speakers():
            opened.delete(record["speaker_id"])
        yield opened


def command(
    server: ServerProcess, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    name, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, str(ROOT / "Request.py"), name, "--server", server.url, *rest],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_enrol_ask_list_rename_and_delete(
    server: ServerProcess, client: V1Client, tmp_path: Path
) -> None:
    enrolled = command(
        server, "enrol", "홍 길동", clip(1, 0), clip(1, 2), "--consent-by", "by letter",
        "--until", "2999-01-01", "--metadata", '{"site": "Seoul"}',
    )  # fmt: skip
    assert enrolled.stdout.startswith("홍 길동: 2 recordings")
    command(server, "enrol", "park", clip(4, 0))
    assert command(server, "identify", clip(1, 1)).stdout.startswith("홍 길동 (accepted")
    among = command(server, "identify", clip(1, 1), "--candidate", "park", "--json").stdout
    assert [one["speaker_id"] for one in json.loads(among)["candidates"]] == ["park"]
    assert command(server, "verify", "park", clip(4, 1)).returncode == 0
    rejected = command(server, "verify", "park", clip(1, 1))
    assert rejected.returncode == 1
    assert rejected.stdout.partition(":")[0] in {"rejected", "inconclusive"}
    assert command(server, "compare", clip(1, 1), clip(1, 2)).stdout.startswith("same")
    assert len(json.loads(command(server, "embed", clip(1, 1)).stdout)["embedding"]) == 64
    assert command(server, "add", "park", clip(4, 2)).stdout.startswith("park: 2 recordings")
    listed = command(server, "speakers").stdout
    assert "2999-01-01" in listed
    assert "park" in listed
    renamed = command(server, "rename", "park", "lee")
    assert renamed.stdout == "park is lee from now on\n"
    assert command(server, "re-register", "lee", clip(4, 3)).stdout.startswith("lee: 1 recordings")
    assert json.loads(command(server, "show", "홍 길동").stdout)["metadata"] == {"site": "Seoul"}
    archive = tmp_path / "all.zip"
    assert "bytes" in command(server, "export", archive).stdout
    receipt = json.loads(command(server, "delete", "홍 길동").stdout)
    assert receipt["verified_gone"] is True
    assert "1 skipped" in command(server, "import", archive, "--on-conflict", "skip").stdout
    assert "speakers" in command(server, "health").stdout
    assert sorted(one["speaker_id"] for one in client.speakers()) == ["lee", "홍 길동"]


def test_many_files_are_answered_as_they_are_done(
    server: ServerProcess, client: V1Client, tmp_path: Path
) -> None:
    client.enrol("kim", [clip(1, 0)])
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no recording")
    done = command(server, "batch", clip(1, 1), bad, clip(1, 2))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        clip(1, 1).name, "bad.mp4", clip(1, 2).name,
    ]  # fmt: skip
    assert "NotDecodable" in lines[1]


def test_who_spoke_when_as_a_table_and_as_rttm(server: ServerProcess, client: V1Client) -> None:
    client.enrol("kim", [clip(1, 0)])
    assert "kim" in command(server, "segments", clip(1, 1)).stdout
    rttm = command(server, "segments", clip(1, 1), "--rttm").stdout
    assert rttm.startswith("SPEAKER ")


def test_a_file_is_sent_as_it_is_spoken(
    server: ServerProcess, client: V1Client, tmp_path: Path
) -> None:
    client.enrol("kim", [clip(1, 0)])
    sound = tmp_path / "a.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((decode(clip(1, 1)) * 32767).astype("<i2").tobytes())
    lines = command(server, "live", sound, "--fast").stdout.splitlines()
    assert len(lines) > 3
    assert "kim (accepted" in lines[-1]
    assert lines[-1].endswith("(final)")
    stereo = command(server, "live", clip(1, 1))
    assert (stereo.returncode, stereo.stderr.count("\n")) == (1, 1)


def test_a_failure_is_one_line_and_exit_status_1(server: ServerProcess, tmp_path: Path) -> None:
    for arguments in (
        ("show", "nobody"),
        ("identify", tmp_path / "missing.mp4"),
        ("enrol", "a/b", clip(1, 0)),
    ):
        failed = command(server, *arguments)
        assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    with V1Client("http://127.0.0.1:9") as nowhere, pytest.raises(RequestFailed, match="running"):
        nowhere.ready()
    with V1Client(server.url) as client, pytest.raises(RequestFailed) as failure:
        client.speaker("nobody")
    assert (failure.value.status, failure.value.title) == (404, "NotEnrolled")


def test_a_key_and_a_collection_are_said_once_and_too_many_requests_waited_for(
    tmp_path: Path,
) -> None:
    store = KeyFile(tmp_path)
    text, _ = store.create("admin", "default")
    with running_server(tmp_path, "--rate", "6") as server:
        refused = command(server, "speakers", SPEAKER_KEY="")
        assert "BadKey" in refused.stderr
        assert command(server, "speakers", SPEAKER_KEY=text).returncode == 0
        assert command(server, "speakers", "--key", text, "--collection", "b").returncode == 1
        with V1Client(server.url, key=text) as client:
            titles = [refusal(client) for _ in range(10)]
        assert "CollectionExists" in titles
        assert titles[-1] == "TooManyRequests"  # a change is not sent again


def refusal(client: V1Client) -> str | None:
    """Why a change is refused."""
    try:
        client.connection.ask("POST", "/v1/collections", json={"name": "default"})
    except RequestFailed as error:
        return error.title
    return None
