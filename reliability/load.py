"""Mixed traffic for half an hour at 80 % of capacity, then a minute of ten times as much.

Eight of ten requests identify, one enrols somebody new, one deletes somebody again. First the
capacity is found: eight clients that send as soon as they are answered. Then requests are due at a
steady rate, whatever the answers take, and are timed from when they were due.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests
from tqdm import tqdm

from benchmarks.report import machine
from evaluation.files import write_figures
from evaluation.server import ServerProcess, running_server
from reliability.flood import PATIENCE_S, flood
from reliability.traffic import NO_ANSWER, TIMEOUT_S, Ledger, Traffic, enrolling_clips
from reliability.watching import Watch

ROOT = Path(__file__).parent.parent
JSON = ROOT / "reliability" / "load.json"
PAGE, MARK = ROOT / "docs" / "reliability.md", "load"
CLIENTS = 8
SHARE = 0.8
CAPACITY_S = 20.0
TIMES = 10.0  # as many requests as can be answered
QUIET_S = 0.5  # an answer within it, and the overload is over


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="at 80 %% of capacity (default: %(default)s)"
    )
    parser.add_argument(
        "--overload-s", type=float, default=60.0, help="seconds (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--gallery", help="postgresql://... instead of a temporary folder")
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")


def run(arguments: argparse.Namespace) -> int:
    """`python -m reliability load`: 1 if anything failed or was lost."""
    document = measure(
        arguments.minutes, arguments.overload_s, arguments.processes, arguments.gallery
    )
    print(table(document))
    for each in document["failures"]:
        print("FAILED:", each)
    if arguments.write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 1 if document["failures"] else 0


def measure(
    minutes: float, overload_s: float, processes: int, gallery: str | None = None
) -> dict[str, Any]:
    """Runs it all; what may not be is in `failures`."""
    flags = ["--processes", str(processes), *(["--gallery", gallery] if gallery else [])]
    document: dict[str, Any] = {"machine": machine(), "processes": processes, "failures": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "gallery"
        with running_server(folder, *flags) as server, Watch(server.process.pid) as watch:
            workers = watch.workers
            capacity = Traffic(server.url, Ledger(), seed=1).closed_loop(CLIENTS, CAPACITY_S)
            document["capacity"] = round(capacity, 1)
            steady = _steady(server, watch, SHARE * capacity, 60.0 * minutes)
            document["steady"] = steady
            ledger = Ledger()
            document["overload"] = _overload(server, ledger, overload_s, capacity)
            document["failures"] += steady.pop("failures") + document["overload"].pop("failures")
            document["failures"] += ledger.missing(server.url)
            if watch.workers != workers:
                document["failures"].append("a server process ended, and another took its place")
        with running_server(folder, *flags) as again:
            document["failures"] += [f"restarted: {one}" for one in ledger.missing(again.url)]
    return document


def _steady(server: ServerProcess, watch: Watch, rate: float, seconds: float) -> dict[str, Any]:
    ledger = Ledger()
    traffic = Traffic(server.url, ledger, seed=2)
    held: list[float] = []
    with tqdm(total=round(rate * seconds), unit="request", desc="80 %") as bar:
        begin = time.monotonic()

        def tell() -> None:
            bar.update()
            while len(held) <= 10 * (time.monotonic() - begin) / seconds:
                held.append(watch.last["server"] + watch.last["decoder"])

        answered = traffic.paced(rate, CLIENTS, seconds, tell)
    p50, p95, p99 = np.percentile(ledger.times_ms, [50, 95, 99])
    failures = [f"steady: {what}: {count}" for what, count in ledger.errors.items()]
    if ledger.of_status(503):
        failures.append(f"steady: {ledger.of_status(503)} were turned away")
    failures += ledger.missing(server.url)
    return {
        "minutes": round(seconds / 60, 1),
        "requests": sum(ledger.statuses.values()),
        "per_second": round(answered, 1),
        "ms": [round(float(each), 1) for each in (p50, p95, p99)],
        "memory_mb": [round(each) for each in held],
        "failures": failures,
    }


def _overload(
    server: ServerProcess, ledger: Ledger, seconds: float, capacity: float
) -> dict[str, Any]:
    clips = enrolling_clips(server.url)
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        flooding = beside.submit(
            asyncio.run, flood(server.url, ledger, clips, TIMES * capacity, seconds, is_over)
        )
        is_over.wait()
        recovered_s = _recovery_s(server)
        sent = flooding.result()
    gone = ledger.of_status(NO_ANSWER)
    failures = [
        f"overload: {what}: {count}"
        for what, count in ledger.errors.items()
        if not what.endswith("no answer")
    ]
    return {
        "seconds": seconds,
        "times_capacity": round(sent / capacity, 1),
        "answered": ledger.of_status(200, 201),
        "refused": ledger.of_status(503),
        "gone": gone,
        "recovered_s": round(recovered_s, 2),
        "failures": failures,
    }


def _recovery_s(server: ServerProcess) -> float:
    """Seconds until a recording is answered as quickly as on a quiet day."""
    clip = (ROOT / "data" / "ast1@example.org-0.mp4").read_bytes()
    started = time.monotonic()
    while True:
        asked = time.monotonic()
        reply = requests.post(f"{server.url}/v1/embed", files={"audio": clip}, timeout=TIMEOUT_S)
        if reply.ok and time.monotonic() - asked < QUIET_S:
            return time.monotonic() - started


def table(document: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown."""
    steady, overload = document["steady"], document["overload"]
    p50, p95, p99 = steady["ms"]
    return "\n".join(
        [
            f"| {document['processes']} processes on {document['machine']['cores']} cores, which "
            "the clients share | |",
            "|---|---|",
            f"| capacity, {CLIENTS} clients | {document['capacity']} requests/s |",
            f"| {steady['minutes']:g} minutes at {SHARE:.0%} of it | {steady['requests']:,} "
            f"requests, {steady['per_second']}/s answered |",
            f"| p50 / p95 / p99, from when they were due | {p50} / {p95} / {p99} ms |",
            "| memory of all processes, eleven looks | "
            f"{' '.join(map(str, steady['memory_mb']))} MB |",
            f"| {overload['seconds']:g} s of {overload['times_capacity']} times the capacity | "
            f"{overload['answered']:,} answered, {overload['refused']:,} refused with 503, "
            f"{overload['gone']:,} went away after {PATIENCE_S:.0f} s |",
            f"| a quiet answer again after | {overload['recovered_s']} s |",
            f"| failures: other answers, processes lost, registrations or deletions lost | "
            f"{len(document['failures'])} |",
        ]
    )
