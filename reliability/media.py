"""Sends the real server recordings that are broken in every way we know, and watches it.

Every file follows from `--seed` and its number, so that one that does harm can be made again:
`--only NUMBER` sends just that, and keeps it under out/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from benchmarks.report import machine, percentiles
from evaluation.files import write_figures
from evaluation.server import ServerProcess, running_server
from reliability.hostile_media import DATA, Hostile, make
from reliability.watching import Watch
from utils.audio import decode
from utils.audio.cage import Cage

ROOT = Path(__file__).parent.parent
JSON = ROOT / "reliability" / "media.json"
PAGE, MARK = ROOT / "docs" / "reliability.md", "media"
KEPT = ROOT / "out" / "media"
AT_ONCE = 4
FLAGS = ("--threads", str(AT_ONCE), "--max-mb", "40", "--max-decode-s", "5")
TIMEOUT_S = 60.0
CLIPS = 200  # decoded with and without the cage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this file alone")
    parser.add_argument(
        "--cage", action="store_true", help="measure the cage's cost anew, and keep what else was"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into the docs")


def run(arguments: argparse.Namespace) -> int:
    """`python -m reliability media`: 1 if any file did harm."""
    numbers: Iterable[int] = range(arguments.files)
    if arguments.only is not None:
        numbers = [arguments.only]
    if arguments.cage:
        measured = json.loads(JSON.read_text(encoding="utf-8"))
        document = {**measured, "cage": _cost_of_the_cage()}
    else:
        document = try_files(arguments.seed, list(numbers), keep=arguments.only is not None)
    print(table(document))
    for finding in document["findings"]:
        print("HARM:", finding)
    if arguments.write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 1 if document["findings"] else 0


def try_files(seed: int, numbers: list[int], *, keep: bool = False) -> dict[str, Any]:
    """Sends them, and gives what came of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder) / "gallery", *FLAGS) as server,
        Watch(server.process.pid) as watch,
    ):
        _enrol(server)
        workers, started = watch.workers, time.monotonic()
        trial = _Trial(server, keep)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            made = (make(seed, number) for number in numbers)
            bar = tqdm(total=len(numbers), unit="file")
            for batch in _in_batches(made, 50):
                list(threads.map(trial.send, batch))
                bar.update(len(batch))
            bar.close()
        seconds = time.monotonic() - started
        if watch.workers != workers:
            trial.findings.append("a server process ended, and another took its place")
        if not _still_answers(server):
            trial.findings.append("afterwards the server does not answer as it did before")
        lost = server.log.read_text(errors="replace").count("a decoding process was lost")
    return {
        "machine": machine(),
        "seed": seed,
        "files": len(numbers),
        "seconds": round(seconds),
        "kinds": {kind: dict(counts) for kind, counts in sorted(trial.kinds.items())},
        "decoders_lost": lost,
        "latency": percentiles(trial.times_ms),
        "slowest_ms": round(max(trial.times_ms)),
        "memory_mb": {
            "server": _rounded(watch.first["server"], watch.peak["server"], watch.last["server"]),
            "largest_decoder": round(watch.largest_decoder),
        },
        "cage": _cost_of_the_cage(),
        "findings": trial.findings,
    }


class _Trial:
    """What came of the files so far."""

    def __init__(self, server: ServerProcess, keep: bool) -> None:
        self._server = server
        self._keep = keep
        self.kinds: dict[str, Counter[str]] = {}
        self.times_ms: list[float] = []
        self.findings: list[str] = []

    def send(self, hostile: Hostile) -> None:
        started = time.perf_counter()
        try:
            reply = requests.post(
                f"{self._server.url}/v1/identify",
                files={"audio": ("a.mp4", hostile.data)},
                timeout=TIMEOUT_S,
            )
        except requests.RequestException as error:
            outcome = f"no answer: {type(error).__name__}"
        else:
            outcome = f"{reply.status_code // 100}xx"
        self.times_ms.append(1e3 * (time.perf_counter() - started))
        self.kinds.setdefault(hostile.kind, Counter())[outcome] += 1
        if outcome not in {"2xx", "4xx"}:
            what = f"{hostile.kind}, {hostile.form}"
            self.findings.append(f"file {hostile.number} ({what}): {outcome}")
        if self._keep or outcome not in {"2xx", "4xx"}:
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{hostile.number}.bin").write_bytes(hostile.data)


def table(document: Mapping[str, Any]) -> str:
    """The figures as tables in Markdown."""
    held = document["memory_mb"]
    lines = [
        f"{document['files']:,} files of seed {document['seed']} in {document['seconds']} s on "
        f"{document['machine']['cores']} cores: {len(document['findings'])} harmful, no answer or "
        f"5xx among them. {document['decoders_lost']} decoding processes were lost and replaced, "
        "each with its own request answered 4xx.",
        "",
        "| kind of file | sent | answered | refused, 4xx |",
        "|---|---|---|---|",
    ]
    for kind, counts in document["kinds"].items():
        sent = sum(counts.values())
        lines.append(f"| {kind} | {sent} | {counts.get('2xx', 0)} | {counts.get('4xx', 0)} |")
    cage = document["cage"]
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| answer, p50 / p95 / slowest | {document['latency']['p50_ms']:.0f} / "
        f"{document['latency']['p95_ms']:.0f} / {document['slowest_ms']:,} ms |",
        f"| memory of the server's own process, before / most / after | "
        f"{' / '.join(map(str, held['server']))} MB |",
        f"| memory of the largest decoding process | {held['largest_decoder']} MB |",
        f"| decoding a sample clip, p50, in the cage / in the server's process | "
        f"{cage['caged_ms']} / {cage['plain_ms']} ms |",
    ]
    return "\n".join(lines)


def _in_batches(made: Iterable[Hostile], size: int) -> Iterable[list[Hostile]]:
    iterator = iter(made)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _enrol(server: ServerProcess) -> None:
    for number in (1, 4):
        with (DATA / f"ast{number}@example.org-0.mp4").open("rb") as file:
            requests.post(
                f"{server.url}/v1/speakers",
                data={"speaker_id": f"ast{number}@example.org"},
                files={"audio": file},
                timeout=TIMEOUT_S,
            ).raise_for_status()


def _still_answers(server: ServerProcess) -> bool:
    with (DATA / "ast4@example.org-1.mp4").open("rb") as file:
        reply = requests.post(f"{server.url}/v1/identify", files={"audio": file}, timeout=TIMEOUT_S)
    listed = requests.get(f"{server.url}/v1/speakers", timeout=TIMEOUT_S).json()["total"]
    return reply.ok and reply.json()["speaker_id"] == "ast4@example.org" and listed == 2


def _cost_of_the_cage() -> dict[str, float]:
    """Milliseconds to decode a sample clip, p50, in turns with and without."""
    clip = (DATA / "ast1@example.org-0.mp4").read_bytes()
    cage = Cage(1)
    ways: dict[str, Callable[[bytes], object]] = {"plain_ms": decode, "caged_ms": cage.decode}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(CLIPS):
        for name, way in ways.items():
            started = time.perf_counter()
            way(clip)
            times[name].append(1e3 * (time.perf_counter() - started))
    cage.close()
    return {name: round(percentiles(each)["p50_ms"], 2) for name, each in times.items()}


def _rounded(*values: float) -> list[int]:
    return [round(value) for value in values]
