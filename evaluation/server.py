"""Runs the real server as a process of its own, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests

ROOT = Path(__file__).parent.parent
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 40.0


class ServerProcess:
    """`python app.py` on a free loopback port."""

    def __init__(self, gallery: Path, flags: Sequence[str] = (), log: Path | None = None) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log or gallery / "server.log"
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(self.port)]
        gallery.mkdir(parents=True, exist_ok=True)
        plain = {k: v for k, v in os.environ.items() if not k.startswith("SPEAKER_")}
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(
                [*command, "--gallery", str(gallery), *flags],
                cwd=ROOT,
                env=plain,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be killed with it
            )

    def wait_until_ready(self) -> float:
        """Gives the seconds that it took.

        Raises:
            RuntimeError: the server ended, or was not ready in time; with its log's last lines.
        """
        started = time.monotonic()
        while time.monotonic() - started < READY_WITHIN_S:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/readyz", timeout=5).ok:
                    return time.monotonic() - started
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> int:
        """Asks it to end and waits; gives its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it and its workers at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


@contextlib.contextmanager
def running_server(gallery: Path, *flags: str, log: Path | None = None) -> Iterator[ServerProcess]:
    """A server that is ready, stopped at the end."""
    server = ServerProcess(gallery, flags, log)
    server.wait_until_ready()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
