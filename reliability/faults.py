"""Breaks what the server stands on, under traffic, and looks whether anything answered is lost.

Processes are killed, the disk is filled and made read-only, the clock jumps, the database dies.
While a fault lasts, requests may be refused with a reason (503, or 422 of a decoder that died) or
lose their connection; nothing else. Afterwards everything answered must be there, and whatever was
deleted must be gone. Needs root for the disks and a C compiler for the clock; what cannot be tried
is told.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from benchmarks.report import machine
from evaluation.files import write_figures
from evaluation.server import ServerProcess, running_server
from reliability.traffic import DATA, NO_ANSWER, TIMEOUT_S, Ledger, Traffic
from reliability.watching import Watch

ROOT = Path(__file__).parent.parent
JSON = ROOT / "reliability" / "faults.json"
PAGE, MARK = ROOT / "docs" / "reliability.md", "faults"
CLIENTS = 6
BACK_WITHIN_S = 30.0
DISK_MB = 24
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, now);
    FILE *file = id == CLOCK_REALTIME ? fopen(getenv("CLOCK_SHIFT"), "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
        fclose(file);
    }
    return status;
}
"""
YEAR_S = 365 * 24 * 3600
ALLOWED = {NO_ANSWER, 503}


class CannotBeTried(Exception):
    """This machine has not what the fault takes."""


@dataclass
class Outcome:
    """What came of one fault."""

    times: int = 0  # it happened so often
    ledger: Ledger = field(default_factory=Ledger)
    failures: list[str] = field(default_factory=list)
    allowed: set[int] = field(default_factory=lambda: set(ALLOWED))

    def judge(self, url: str) -> None:
        for (what, status), count in sorted(self.ledger.statuses.items()):
            if not 200 <= status < 300 and status not in self.allowed:
                self.failures.append(f"{what} was answered {status}, {count} times")
        self.failures += self.ledger.missing(url)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of traffic, each (default: %(default)s)"
    )
    parser.add_argument("--only", choices=sorted(FAULTS), help="one of them alone")
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")


def run(arguments: argparse.Namespace) -> int:
    """`python -m reliability faults`: 1 if anything was lost or answered wrongly."""
    names = [arguments.only] if arguments.only else list(FAULTS)
    document = try_faults(names, arguments.seconds)
    print(table(document))
    failures = [
        f"{name}: {each}" for name, one in document["faults"].items() for each in one["failures"]
    ]
    for each in failures:
        print("FAILED:", each)
    if arguments.write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 1 if failures else 0


def try_faults(names: list[str], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in tqdm(names, unit="fault"):
        with tempfile.TemporaryDirectory(prefix="fault-") as folder:
            try:
                outcome = FAULTS[name](Path(folder), seconds)
            except CannotBeTried as error:
                found[name] = {"not_tried": str(error), "failures": []}
                continue
        ledger = outcome.ledger
        found[name] = {
            "times": outcome.times,
            "answered": len(ledger.times_ms),
            "refused": ledger.of_status(503, 422),
            "unanswered": ledger.of_status(NO_ANSWER),
            "failures": outcome.failures,
        }
    return {"machine": machine(), "seconds": seconds, "faults": found}


def table(document: Mapping[str, Any]) -> str:
    lines = [
        f"| {document['seconds']:g} s of traffic each | times | answered | refused with a reason | "
        "connection lost | answered wrongly, or lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in document["faults"].items():
        if "not_tried" in one:
            lines.append(f"| {name} | not tried: {one['not_tried']} | | | | |")
        else:
            counts = [one["times"], one["answered"], one["refused"], one["unanswered"]]
            shown = " | ".join(map(str, [*counts, len(one["failures"])]))
            lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


# The faults


def workers_killed(folder: Path, seconds: float) -> Outcome:
    outcome = Outcome()
    with running_server(folder / "gallery", "--processes", "2") as server:
        watch = Watch(server.process.pid)

        def kill_one() -> None:
            for pid in sorted(watch.workers)[:1]:
                _kill(pid)
                outcome.times += 1

        _under_traffic(server, outcome, seconds, kill_one, every_s=2.0)
        _judge_when_back(server, outcome)
    return outcome


def decoders_killed(folder: Path, seconds: float) -> Outcome:
    outcome = Outcome(allowed=ALLOWED | {422})
    with running_server(folder / "gallery", "--decoders", "2") as server:
        watch = Watch(server.process.pid)

        def kill_one() -> None:
            for pid in watch.decoders[:1]:
                _kill(pid)
                outcome.times += 1

        _under_traffic(server, outcome, seconds, kill_one, every_s=0.3)
        _judge_when_back(server, outcome)
    return outcome


def everything_killed(folder: Path, seconds: float) -> Outcome:
    """As by a power cut, but for what the disk itself would lose."""
    outcome = Outcome()
    for _ in range(4):
        server = ServerProcess(folder / "gallery", ["--processes", "2"])
        server.wait_until_ready()
        traffic = Traffic(server.url, outcome.ledger, seed=outcome.times)
        killer = threading.Timer(seconds / 4, server.kill)
        killer.start()
        traffic.closed_loop(CLIENTS, seconds / 4 + 1.0)
        killer.join()
        outcome.times += 1
    with running_server(folder / "gallery") as again:
        outcome.judge(again.url)
    return outcome


def disk_full(folder: Path, seconds: float) -> Outcome:
    outcome = Outcome()
    with (
        _disk(folder) as disk,
        running_server(disk / "gallery", log=folder / "server.log") as server,
    ):
        filler = disk / "filler"

        def fill_or_empty() -> None:
            if filler.exists():
                filler.unlink()
                return
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(b"\0" * 4096)
                    file.flush()
            outcome.times += 1

        _under_traffic(server, outcome, seconds, fill_or_empty, every_s=2.0)
        filler.unlink(missing_ok=True)
        _judge_when_back(server, outcome)
    return outcome


def disk_read_only(folder: Path, seconds: float) -> Outcome:
    outcome = Outcome()
    with (
        _disk(folder) as disk,
        running_server(disk / "gallery", log=folder / "server.log") as server,
    ):
        gallery = str(disk / "gallery")

        def turn() -> None:
            """What is opened from then on cannot be written; what is open already, can."""
            if outcome.times % 2 == 0:
                _mount("--bind", gallery, gallery)
                _mount("-o", "remount,bind,ro", gallery)
            else:
                subprocess.run(["umount", "--lazy", gallery], check=True)
            outcome.times += 1

        _under_traffic(server, outcome, seconds, turn, every_s=1.0)
        if outcome.times % 2:
            turn()
        _judge_when_back(server, outcome)
        outcome.times //= 2
    return outcome


def clock_jumps(folder: Path, seconds: float) -> Outcome:
    """A year forward and back; who agreed until tomorrow is not found in a year."""
    outcome = Outcome()
    shift = folder / "shift"
    shift.write_text("0\n")
    environment = {"LD_PRELOAD": str(_clock_library(folder)), "CLOCK_SHIFT": str(shift)}
    with _environment(environment), running_server(folder / "gallery") as server:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        _enrol_with_consent(server, tomorrow)
        jumps = [YEAR_S, -YEAR_S, 0]

        def jump() -> None:
            shift.write_text(f"{jumps[outcome.times % len(jumps)]}\n")
            outcome.times += 1

        _under_traffic(server, outcome, seconds, jump, every_s=1.5)
        for seconds_off, expected in {YEAR_S: False, 0: True}.items():
            shift.write_text(f"{seconds_off}\n")
            time.sleep(0.2)
            if _is_found(server) != expected:
                outcome.failures.append(
                    f"{seconds_off} s off, the consent does not count as it should"
                )
        outcome.judge(server.url)
    return outcome


def database_killed(folder: Path, seconds: float) -> Outcome:
    try:
        from evaluation.postgres import kill_postgres, new_database, running_postgres
    except ImportError as error:
        raise CannotBeTried("the packages of the tests' tier are not installed") from error
    outcome = Outcome()
    with running_postgres(folder / "pg") as postgres:
        database = new_database(postgres.get_uri())
        flags = ("--gallery", database, "--processes", "2")
        with running_server(folder / "gallery", *flags) as server:

            def kill_and_start() -> None:
                kill_postgres(postgres)
                outcome.times += 1
                time.sleep(0.5)
                postgres.ensure_postgres_running()

            _under_traffic(server, outcome, seconds, kill_and_start, every_s=5.0)
            _judge_when_back(server, outcome)
    return outcome


FAULTS: dict[str, Callable[[Path, float], Outcome]] = {
    "server processes killed": workers_killed,
    "decoding processes killed": decoders_killed,
    "everything killed, and started again": everything_killed,
    "disk full, and free again": disk_full,
    "disk read-only, and writable again": disk_read_only,
    "clock a year ahead, a year behind, and right": clock_jumps,
    "database killed, and started again": database_killed,
}


def _under_traffic(
    server: ServerProcess,
    outcome: Outcome,
    seconds: float,
    fault: Callable[[], None],
    every_s: float,
) -> None:
    done = threading.Event()

    def disturb() -> None:
        while not done.wait(every_s):
            fault()

    disturber = threading.Thread(target=disturb)
    traffic = Traffic(server.url, outcome.ledger, seed=1)
    disturber.start()
    try:
        traffic.closed_loop(CLIENTS, seconds)
    finally:
        done.set()
        disturber.join()


def _judge_when_back(server: ServerProcess, outcome: Outcome) -> None:
    until = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < until:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{server.url}/readyz", timeout=5).ok:
                outcome.judge(server.url)
                return
        time.sleep(0.1)
    outcome.failures.append(f"the server is not ready {BACK_WITHIN_S:g} s after the fault")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A small disk in memory."""
    disk = folder / "disk"
    disk.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)):
        raise CannotBeTried("mounting a small disk takes root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def _mount(*arguments: str) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True)
    return done.returncode == 0


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _clock_library(folder: Path) -> Path:
    """What is loaded before libc, and moves the time of day by what a file says."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotBeTried("a clock of its own takes a C compiler")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    return library


def _enrol_with_consent(server: ServerProcess, until: str) -> None:
    with (DATA / "ast4@example.org-0.mp4").open("rb") as file:
        requests.post(
            f"{server.url}/v1/speakers",
            data={
                "speaker_id": "until tomorrow",
                "consent_given_by": "the speaker",
                "consent_given_at": "2026-01-01",
                "consent_until": until,
            },
            files={"audio": file},
            timeout=TIMEOUT_S,
        ).raise_for_status()


def _is_found(server: ServerProcess) -> bool:
    with (DATA / "ast4@example.org-1.mp4").open("rb") as file:
        reply = requests.post(
            f"{server.url}/v1/verify",
            data={"speaker_id": "until tomorrow"},
            files={"audio": file},
            timeout=TIMEOUT_S,
        )
    return reply.ok
