"""Overload: a bounded queue, first come first, and a clear no beyond it."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from evaluation.server import running_server
from tests.api import application, refused
from tests.conftest import DATA
from tests.test_operations import samples
from utils.admission import Admission
from utils.errors import Overloaded


def test_turns_come_in_the_order_of_asking_and_no_more_wait_than_may() -> None:
    admission = Admission(at_once=1, most_waiting=3, wait_s=10)
    order: list[int] = []

    def work(number: int) -> None:
        with admission.turn():
            order.append(number)

    with admission.turn():
        waiting = []
        for number in range(3):
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            waiting.append(thread)
            while len(admission._queue) <= number:
                time.sleep(0.001)
        started = time.monotonic()
        with pytest.raises(Overloaded):
            work(3)
        assert time.monotonic() - started < 1.0
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2]
    work(4)
    assert order[-1] == 4


def test_whoever_waits_too_long_is_told_and_takes_no_turn_away() -> None:
    admission = Admission(at_once=1, most_waiting=3, wait_s=0.05)
    with admission.turn(), pytest.raises(Overloaded, match="try again"), admission.turn():
        pytest.fail("there is no turn")
    with admission.turn():
        assert not admission._queue


def test_a_turn_is_given_back_after_an_error_and_never_more_are_at_work() -> None:
    admission = Admission(at_once=2, most_waiting=100, wait_s=10)
    at_work, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal at_work, most
        with admission.turn():
            with lock:
                at_work += 1
                most = max(most, at_work)
            time.sleep(0.002)
            with lock:
                at_work -= 1
            if number % 3 == 0:
                raise KeyError(number)

    with ThreadPoolExecutor(30) as threads:
        results = [threads.submit(work, number) for number in range(90)]
    assert sum(isinstance(one.exception(), KeyError) for one in results) == 30
    assert (most, admission._free) == (2, 2)


def test_an_overloaded_server_says_so_at_once_and_answers_the_rest(tmp_path: Path) -> None:
    long = (DATA / "ast1@example.org-0.mp4").read_bytes()
    batch = [("audio", (f"{number}.mp4", long)) for number in range(20)]
    flags = ("--threads", "1", "--max-waiting", "2")
    with running_server(tmp_path, *flags) as server:
        url = f"{server.url}/v1/identify"
        speaker = {"speaker_id": "somebody"}
        requests.post(
            f"{server.url}/v1/speakers", data=speaker, files={"audio": long}, timeout=30
        ).raise_for_status()

        replies: list[requests.Response] = []

        def ask(where: str, files: Any) -> requests.Response:
            while True:
                reply = requests.post(where, files=files, timeout=120)
                replies.append(reply)
                if reply.status_code != 503:
                    return reply
                time.sleep(0.2)

        with ThreadPoolExecutor(13) as threads:
            huge = threads.submit(ask, f"{url}/batch", batch)
            asked = [threads.submit(ask, url, {"audio": long}) for _ in range(12)]
            quick = []
            while not all(one.done() for one in asked):
                started = time.monotonic()
                assert requests.get(f"{server.url}/readyz", timeout=30).ok
                quick.append(time.monotonic() - started)
        statuses = Counter(one.status_code for one in replies)
        assert statuses.keys() == {200, 503}
        assert statuses[200] == len(asked) + 1
        for one in replies:
            if one.status_code == 503:
                assert one.headers["Retry-After"] == "1"
                assert one.json()["title"] == "Overloaded"
        assert sorted(quick)[len(quick) // 2] < 1.0
        assert len(huge.result().text.splitlines()) == len(batch)
        assert requests.post(url, files={"audio": long}, timeout=30).ok


def test_an_upload_is_refused_before_it_is_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with application(tmp_path, max_mb=1) as client:
        before = samples(client.get("/metrics").text)
        monkeypatch.setattr(Admission, "is_full", property(lambda _: True))
        nonsense = {"data": b"no form" * 100_000, "content_type": "multipart/form-data; boundary=x"}
        body = io.BytesIO(nonsense["data"])
        reply = client.post(
            "/v1/identify",
            input_stream=body,
            content_length=len(nonsense["data"]),
            content_type=nonsense["content_type"],
            headers={"X-Request-ID": "mine"},
        )
        assert refused(reply)[:2] == (503, "Overloaded")
        assert (reply.headers["Retry-After"], reply.headers["X-Request-ID"]) == ("1", "mine")
        assert not body.read()  # a connection closed with something unread may lose the answer
        assert caplog.messages[-1].startswith("POST /v1/identify 503 ")
        counted = ("speaker_requests_total", ("POST", "/v1/identify", "5xx"))
        assert samples(client.get("/metrics").text)[counted] - before.get(counted, 0) == 1

        assert client.post("/nowhere", **nonsense).status_code == 404
        too_large = {**nonsense, "data": bytes(3 << 20)}
        assert client.post("/v1/identify", **too_large).status_code == 413
        assert client.get("/v1/speakers").status_code == 200
        assert client.post("/v1/identify", json={"audio": "!"}).status_code == 400
        monkeypatch.undo()
        assert client.post("/v1/identify", **nonsense).status_code == 400


def test_a_queue_is_full_when_nobody_more_may_wait() -> None:
    admission = Admission(at_once=1, most_waiting=0, wait_s=1.0)
    assert not admission.is_full
    with admission.turn():
        assert admission.is_full
        with pytest.raises(Overloaded), admission.turn():
            pass
    assert not admission.is_full
