"""One request on a warm server, beside the original way of answering it (`benchmarks.baseline`).

A mp4 of 3 s is named by its folder, as the first client did; both servers read it from the disk,
search the same gallery and must answer the same speaker. Times are a client's, over loopback on a
connection that stays open where the server lets it: from sending to the whole answer read. The
parts are what each server says of itself; `http` is the rest. The two are measured in turns, some
requests of one, some of the other, so that whatever else the machine does falls on both; the first
request of each turn is not counted. Then a number of clients asks at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.inputs import cut_recording, fill_gallery
from benchmarks.loopback import ROOT, Client, Load, ask_at_once, running_baseline
from benchmarks.report import machine, percentiles, table
from evaluation.server import running_server
from utils.audio import decode
from utils.embedding import Engine, EngineName, load_engine
from utils.errors import NotReady
from utils.features import log_mel_windows
from utils.scoring import centroid

SPEAKER = "ast1@example.org"
ENROLLED, ASKED = (f"{SPEAKER}-{number}.mp4" for number in (0, 1))
SECONDS = 3.0
LEAST_COSINE = 0.99  # of the two embeddings of one recording
TURNS = 10
WARM_UP = 3  # requests before the first turn
LOAD_TURNS = 3  # each with new connections, which may fall unevenly on the processes


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    speakers: tuple[int, ...] = (100, 10_000)
    requests: int = 200
    baseline_requests: int = 30
    seconds: float = 240.0
    clients: int = 8
    clients_seconds: float = 12.0
    processes: int = 2
    threads: int = 4
    engine: EngineName = "onnx"

    def with_changes(self, **changes: Any) -> Plan:
        if "speakers" in changes:
            changes["speakers"] = tuple(dict.fromkeys(changes["speakers"]))
        return dataclasses.replace(self, **changes)


QUICK = Plan(speakers=(20,), requests=4, baseline_requests=2, clients=2, clients_seconds=0.5,
             processes=1)  # fmt: skip


class Series:
    """What one server took for the counted requests."""

    def __init__(self, port: int, fields: dict[str, str]) -> None:
        self.port = port
        self.fields = fields
        self.ms: list[float] = []
        self.parts_ms: dict[str, list[float]] = {}

    def take_turn(self, requests: int) -> None:
        """Asks so often, and once before, which is not counted."""
        with Client(self.port, self.fields) as client:
            for number in range(requests + 1):
                ms, answer = client.ask()
                if answer["speaker_id"] != SPEAKER:
                    raise RuntimeError(f"the answer is {answer['speaker_id']}, not {SPEAKER}")
                if number > 0:
                    self._count(ms, answer["timings_ms"])

    def _count(self, ms: float, timings_ms: dict[str, float]) -> None:
        self.ms.append(ms)
        parts_ms = {part: part_ms for part, part_ms in timings_ms.items() if part != "total"}
        parts_ms["http"] = ms - timings_ms["total"]
        for part, part_ms in parts_ms.items():
            self.parts_ms.setdefault(part, []).append(part_ms)


def run(plan: Plan, json_path: Path | None) -> int:
    """`python -m benchmarks request`."""
    try:
        result = measure(plan)
    except (RuntimeError, NotReady) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(table(result))
    if json_path:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(plan: Plan) -> dict[str, Any]:
    """Measures what is planned.

    Returns:
        Under `galleries`, for each number of speakers: p50_ms, p95_ms, baseline_p50_ms,
        baseline_p95_ms, ratio (of the medians), parts_ms and baseline_parts_ms. Under
        `clients_<n>`: requests_per_s and baseline_requests_per_s. And what they hold for.

    Raises:
        RuntimeError: a server did not start, failed, or did not answer right.
        NotReady: the trained network is missing.
    """
    engine = load_engine(plan.engine)
    galleries: dict[str, Any] = {}
    result: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_id": engine.model_id,
        "recording": {"seconds": SECONDS, "cut_from": f"data/{ASKED}"},
        "machine": machine(),
        "server": {"engine": engine.name, "processes": plan.processes, "threads": plan.threads},
        "galleries": galleries,
    }
    with tempfile.TemporaryDirectory() as folder:
        recordings = Path(folder) / "upload"
        recordings.mkdir()
        for name in (ENROLLED, ASKED):
            cut_recording(ROOT / "data" / name, recordings / name, SECONDS)
        for speakers in plan.speakers:
            gallery = Path(folder) / f"gallery-{speakers}"
            with _both_servers(plan, speakers, recordings, gallery) as (ours, baseline):
                cosine = _agreement(engine, recordings / ASKED, baseline)
                _take_turns(plan, ours, baseline, f"{speakers:,} speakers")
                figures = _figures(ours, baseline)
                galleries[str(speakers)] = {**figures, "embedding_cosine": round(cosine, 6)}
                if plan.clients_seconds > 0 and speakers == plan.speakers[0]:
                    result[f"clients_{plan.clients}"] = _many_clients(plan, ours, baseline)
    return result


@contextmanager
def _both_servers(
    plan: Plan, speakers: int, recordings: Path, gallery: Path
) -> Iterator[tuple[Series, Series]]:
    """Our server and the baseline over one gallery, in which the recording's speaker is one."""
    _say(f"{speakers:,} speakers: writing the gallery, starting both servers")
    fill_gallery(gallery, speakers - 1)
    flags = ("--upload-root", str(recordings), "--engine", plan.engine, "--min-enrol-s", "1",
             "--processes", str(plan.processes), "--threads", str(plan.threads))  # fmt: skip
    ask = {"name": ASKED, "path_dir": str(recordings), "re_register": "False"}
    with running_server(gallery, *flags) as server:
        with Client(server.port, {**ask, "name": ENROLLED}) as client:
            decision = client.ask()[1]["decision"]
        if decision != "registered":
            raise RuntimeError(f"{SPEAKER} was {decision}, not registered")
        with running_baseline(gallery, gallery / "baseline.log") as baseline_port:
            yield Series(server.port, ask), Series(baseline_port, ask)


def _agreement(engine: Engine, recording: Path, baseline: Series) -> float:
    """The cosine between our embedding of a recording and the baseline's.

    Raises:
        RuntimeError: they differ so much that the baseline does another thing.
    """
    ours = centroid(engine.embed(log_mel_windows(decode(recording), engine.features)))
    with Client(baseline.port, baseline.fields, "/embedding") as client:
        theirs = np.asarray(client.ask()[1])
    cosine = float(ours @ theirs / np.linalg.norm(theirs))
    _say(f"embeddings of the same recording: cosine {cosine:.5f}")
    if cosine <= LEAST_COSINE:
        raise RuntimeError(f"the baseline's embedding is another than ours: cosine {cosine:.3f}")
    return cosine


def _take_turns(plan: Plan, ours: Series, baseline: Series, what: str) -> None:
    """Measures both in turns, until there is enough or the time is over."""
    turns = min(TURNS, plan.baseline_requests)
    until = time.monotonic() + plan.seconds
    for series in (ours, baseline):
        for _ in range(WARM_UP):
            series.take_turn(0)
    for _ in tqdm(range(turns), what, unit="turn", disable=None):
        ours.take_turn(math.ceil(plan.requests / turns))
        baseline.take_turn(math.ceil(plan.baseline_requests / turns))
        if time.monotonic() > until:
            _say(f"stopped after {plan.seconds:g} s; the figures are of what was measured by then")
            break


def _many_clients(plan: Plan, ours: Series, baseline: Series) -> dict[str, Any]:
    """Has many clients ask both servers, in turns."""
    loads = {ours.port: Load(), baseline.port: Load()}
    seconds = plan.clients_seconds / LOAD_TURNS
    for _ in tqdm(range(LOAD_TURNS), f"{plan.clients} clients", unit="turn", disable=None):
        for port, load in loads.items():
            load.add(ask_at_once(port, ours.fields, plan.clients, seconds))
    our_load, baseline_load = loads.values()
    return {
        "clients": plan.clients,
        "speakers": plan.speakers[0],
        "requests_per_s": round(our_load.requests_per_s, 2),
        **percentiles(our_load.ms),
        "baseline_requests_per_s": round(baseline_load.requests_per_s, 2),
        **percentiles(baseline_load.ms, "baseline_"),
        "ratio": round(our_load.requests_per_s / baseline_load.requests_per_s, 1),
    }


def _figures(ours: Series, baseline: Series) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "requests": len(ours.ms),
        "baseline_requests": len(baseline.ms),
        **percentiles(ours.ms),
        **percentiles(baseline.ms, "baseline_"),
    }
    figures["ratio"] = round(figures["baseline_p50_ms"] / figures["p50_ms"], 1)
    for name, series in (("parts_ms", ours), ("baseline_parts_ms", baseline)):
        figures[name] = {part: percentiles(ms) for part, ms in series.parts_ms.items()}
    return figures


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
