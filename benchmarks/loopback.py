"""Asking a server over a real socket: one client, many clients, the baseline as a process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).parent.parent
ROUTE = "/Identification_Request"
READY_WITHIN_S = 120.0  # TensorFlow's import alone takes 5 to 10 s
STOP_WITHIN_S = 10.0
ANSWER_WITHIN_S = 120.0


class Client:
    """One connection, kept open as long as the server does. Not to be shared between threads.

    Python's own HTTP client: `requests` would add more than a millisecond of its own to each
    request, as much as a tenth of what is measured.
    """

    def __init__(self, port: int, fields: Mapping[str, str], route: str = ROUTE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
        self._route = route
        self._body = urlencode(fields).encode()
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self) -> tuple[float, Any]:
        """Sends the request; gives the milliseconds until the answer was read, and the answer.

        Raises:
            RuntimeError: no answer, or one whose status is not 200.
        """
        started = time.perf_counter()
        try:
            self._connection.request("POST", self._route, self._body, self._headers)
            reply = self._connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeError(f"no answer to {self._route}: {error!r}") from error
        ms = 1e3 * (time.perf_counter() - started)
        if reply.status != 200:
            raise RuntimeError(f"{reply.status} {content[:500]!r}")
        return ms, json.loads(content)


@dataclass
class Load:
    """What many clients got out of a server."""

    seconds: float = 0.0
    ms: list[float] = field(default_factory=list)  # of each request

    def add(self, more: Load) -> None:
        self.seconds += more.seconds
        self.ms += more.ms

    @property
    def requests_per_s(self) -> float:
        return len(self.ms) / self.seconds


def ask_at_once(port: int, fields: Mapping[str, str], clients: int, seconds: float) -> Load:
    """Has clients ask again and again, each on a connection of its own, all at the same time.

    The last request of each is waited for, and counts with the time it takes.
    """

    def keep_asking(client: Client) -> list[float]:
        ms = []
        while time.perf_counter() < started + seconds:
            ms.append(client.ask()[0])
        return ms

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(clients) as pool:
        connected = [stack.enter_context(Client(port, fields)) for _ in range(clients)]
        list(pool.map(Client.ask, connected))  # opens the connections
        started = time.perf_counter()
        ms = [one for answers in pool.map(keep_asking, connected) for one in answers]
        return Load(time.perf_counter() - started, ms)


@contextlib.contextmanager
def running_baseline(gallery: Path, log: Path) -> Iterator[int]:
    """`benchmarks.baseline` over the files of a gallery; gives its port, stops it at the end.

    Raises:
        RuntimeError: it did not start; with its log's last lines.
    """
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.baseline", "--port", str(port), "--gallery",
               str(gallery / "voice_gallery")]  # fmt: skip
    # no GPU: the CPU engine is what it is compared with
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log_file, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(port, process, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until something listens: the application does when its network is loaded."""
    until = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the baseline did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
