"""`/v1/live`: a WebSocket that says who speaks while they do, on a real server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from simple_websocket import Client, ConnectionClosed

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from utils.audio import decode
from utils.keys import KeyFile

START = {"type": "start", "format": "pcm_s16le", "sample_rate": 16_000}
PIECE = 3_200  # bytes: 0.1 s
GONE = (ConnectionClosed, OSError)
"""What sending raises once the server has closed, or while it does."""


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


def enrol(server: ServerProcess, speaker: int) -> None:
    with clip(speaker, 0).open("rb") as file:
        requests.post(
            f"{server.url}/v1/speakers",
            data={"speaker_id": f"s{speaker}"},
            files={"audio": file},
            timeout=30,
        ).raise_for_status()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("live") / "gallery") as running:
        for speaker in (1, 3, 4):
            enrol(running, speaker)
        yield running


def pcm(path: Path) -> bytes:
    return (decode(path) * 32767).astype("<i2").tobytes()


def opus(path: Path) -> bytes:
    """As a browser's recorder writes it: webm, Opus at 48 kHz."""
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48_000)
        samples = decode(path)[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "flt", "mono")
        frame.sample_rate = 16_000
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return target.getvalue()


def wav(data: bytes) -> io.BytesIO:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(data)
    target.seek(0)
    return target


def connect(server: ServerProcess, **options: Any) -> Client:
    return Client(server.url.replace("http", "ws") + "/v1/live", **options)


def listen(socket: Client) -> list[dict[str, Any]]:
    """All that comes until the server closes."""
    told = []
    try:
        while True:
            message = socket.receive(timeout=20)
            assert message is not None, "the server says nothing"
            told.append(json.loads(message))
    except ConnectionClosed as closed:
        told.append({"type": "closed", "code": int(closed.reason or 0)})
    hang_up(socket)
    return told


def hang_up(socket: Client) -> None:
    with contextlib.suppress(*GONE):
        socket.close()
    socket.sock.close()


def speak(
    server: ServerProcess, data: bytes, piece: int = PIECE, pause_s: float = 0.0, **start: Any
) -> list[dict[str, Any]]:
    socket = connect(server)
    with contextlib.suppress(*GONE):  # a refusal may come before all is said
        socket.send(json.dumps({**START, **start}))
        for at in range(0, len(data), piece):
            socket.send(data[at : at + piece])
            time.sleep(pause_s)
        socket.send(json.dumps({"type": "end"}))
    return listen(socket)


def test_the_answer_firms_up_and_ends_as_identify_has_it(server: ServerProcess) -> None:
    data = pcm(clip(1, 1))
    *told, last, closed = speak(server, data)
    assert closed["code"] == 1000
    waiting = [one for one in told if one["type"] == "waiting"]
    running = [one for one in told if one["type"] == "answer"]
    assert waiting
    assert waiting[0]["needed_s"] == 1.0
    assert len(told) >= len(data) / 32_000 / 0.5 - 2
    assert [one["seconds"] for one in told] == sorted(one["seconds"] for one in told)
    assert not any(one["final"] for one in running)
    assert last["final"]
    assert last["speaker_id"] == "s1"
    assert last["verdict"]["llr"] > running[0]["verdict"]["llr"]
    files = {"audio": ("a.wav", wav(data))}
    same = requests.post(f"{server.url}/v1/identify", files=files, timeout=30).json()
    for name in ("speaker_id", "quality"):
        assert last[name] == same[name]
    assert [one["speaker_id"] for one in last["candidates"]] == [
        one["speaker_id"] for one in same["candidates"]
    ]
    # windows are embedded in other batches: the last digits differ
    assert last["candidates"][0]["score"] == pytest.approx(same["candidates"][0]["score"], abs=1e-5)
    assert last["verdict"]["llr"] == pytest.approx(same["verdict"]["llr"], abs=2e-3)


def test_opus_is_decoded_as_it_arrives(server: ServerProcess) -> None:
    data = opus(clip(3, 1))
    *told, last, _ = speak(server, data, piece=len(data) // 12, pause_s=0.2, format="opus")
    assert any(one["type"] == "answer" and not one["final"] for one in told)
    assert (last["final"], last["speaker_id"]) == (True, "s3")


def test_only_some_may_be_meant(server: ServerProcess) -> None:
    *_, last, _ = speak(server, pcm(clip(4, 1)), candidates=["s3", "s4"], top_k=1)
    assert [one["speaker_id"] for one in last["candidates"]] == ["s4"]


@pytest.mark.parametrize(
    ("messages", "title"),
    [
        ([b"\0" * 100], "BadField"),
        (["no JSON"], "BadField"),
        ([json.dumps({"type": "start", "format": "mp9"})], "BadField"),
        ([json.dumps({**START, "sample_rate": 4})], "BadField"),
        ([json.dumps({**START, "other": 1})], "BadField"),
        ([json.dumps(START), "end"], "BadField"),
        ([json.dumps(START), json.dumps({"type": "end"})], "NotDecodable"),
        ([json.dumps(START), b"\0" * 64_000, json.dumps({"type": "end"})], "NoSpeech"),
        ([json.dumps({**START, "format": "opus"}), b"\0" * 9, json.dumps({"type": "end"})],
         "NotDecodable"),
        ([json.dumps({**START, "candidates": ["nobody"]}), pcm(clip(1, 0))[:200_000],
          json.dumps({"type": "end"})], "NotEnrolled"),
    ],
)  # fmt: skip
def test_what_is_no_session_is_refused_with_a_reason(
    server: ServerProcess, messages: list[str | bytes], title: str
) -> None:
    socket = connect(server)
    with contextlib.suppress(*GONE):
        for message in messages:
            socket.send(message)
    *_, error, closed = listen(socket)
    assert (error["type"], error["title"]) == ("error", title)
    assert error["detail"]
    assert closed["code"] == 1008


def test_a_session_has_a_bounded_length(server: ServerProcess) -> None:
    socket = connect(server)
    socket.send(json.dumps({**START, "sample_rate": 48_000}))
    with contextlib.suppress(*GONE):
        for _ in range(100):
            socket.send(b"\0" * 200_000)
            time.sleep(0.01)
    *_, error, _ = listen(socket)
    assert error["title"] in {"TooLarge", "TooLong"}


def test_so_many_are_listened_to_at_once_and_others_are_still_answered(
    server: ServerProcess,
) -> None:
    sessions = [connect(server) for _ in range(2)]
    for session in sessions:
        session.send(json.dumps(START))
    late = connect(server)
    late.send(json.dumps(START))
    error, closed = listen(late)
    assert (error["title"], closed["code"]) == ("NotReady", 1013)
    assert requests.get(f"{server.url}/readyz", timeout=10).ok
    for session in sessions:
        hang_up(session)
    deadline = time.monotonic() + 10
    while speak(server, pcm(clip(1, 2))[:100_000])[0]["type"] == "error":
        assert time.monotonic() < deadline, "the seats are not free again"


def test_a_key_comes_as_a_header_or_as_a_protocol_and_scores_are_coarse(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    store = KeyFile(folder)
    (text, _), (admin, _) = store.create("identify", "default"), store.create("admin", "default")
    with running_server(folder) as server:
        with clip(1, 0).open("rb") as file:
            requests.post(
                f"{server.url}/v1/speakers",
                data={"speaker_id": "s1"},
                files={"audio": file},
                headers={"X-API-Key": admin},
                timeout=30,
            ).raise_for_status()
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "Sec-WebSocket-Version": "13",
        }
        reply = requests.get(f"{server.url}/v1/live", headers=upgrade, timeout=10)
        assert (reply.status_code, reply.json()["title"]) == (401, "BadKey")
        for options in (
            {"headers": {"Authorization": f"Bearer {text}"}},
            {"subprotocols": ["speaker", f"key.{text}"]},
        ):
            socket = connect(server, **options)
            socket.send(json.dumps(START))
            socket.send(pcm(clip(1, 1))[:150_000])
            socket.send(json.dumps({"type": "end"}))
            *_, last, _ = listen(socket)
            assert last["verdict"]["llr"] == round(last["verdict"]["llr"])
            assert text not in server.log.read_text(encoding="utf-8")


def test_a_stop_ends_a_session_with_its_last_answer(tmp_path: Path) -> None:
    with running_server(tmp_path / "gallery") as server:
        enrol(server, 1)
        socket = connect(server)
        socket.send(json.dumps(START))
        socket.send(pcm(clip(1, 1))[:150_000])
        told: list[dict[str, Any]] = []
        listening = threading.Thread(target=lambda: told.extend(listen(socket)))
        listening.start()
        time.sleep(1.0)
        os.kill(server.process.pid, signal.SIGTERM)
        listening.join(20)
        assert told[-1]["code"] == 1001
        assert told[-2]["final"]
        assert server.process.wait(20) == 0


def test_a_session_may_pause_for_longer_than_an_upload_may_take(tmp_path: Path) -> None:
    with running_server(tmp_path, "--max-upload-s", "1") as server:
        enrol(server, 1)
        socket = connect(server)
        socket.send(json.dumps(START))
        for data in np.array_split(np.frombuffer(pcm(clip(1, 0)), np.int16), 2):
            time.sleep(1.5)
            socket.send(data.tobytes())
        socket.send(json.dumps({"type": "end"}))
        told = listen(socket)
        assert told[-1] == {"type": "closed", "code": 1000}
