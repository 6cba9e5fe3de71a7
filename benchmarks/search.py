"""The time to find the nearest speakers: in a server's memory, and by the database itself.

A PostgreSQL with pgvector is started in a temporary folder and filled with random voices, the
hardest ones for an index of near neighbours, since none is nearer to another than chance has it.
Each question is an enrolled voice heard again, at a cosine of 0.7. In the same run: a server's own
search over all centroids, which is exact; pgvector's exact search; pgvector's HNSW index, with how
many of the five nearest it finds. Besides, what a server needs before its first answer: reading
everything, and memory.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from tqdm import tqdm

from benchmarks.report import machine, percentiles
from evaluation.files import write_figures
from evaluation.postgres import new_database, running_postgres
from utils.gallery.snapshot import Snapshot
from utils.place import DEFAULT, find_place
from utils.scoring import EMBEDDING_SIZE, cosine_scores, top_candidates

ROOT = Path(__file__).parent.parent
JSON = ROOT / "benchmarks" / "search.json"
PAGE, MARK = ROOT / "docs" / "scale.md", "search"
SIZES = (10_000, 100_000, 1_000_000)
MODEL = "benchmark"
TOP = 5
HEARD_AGAIN = 0.7  # cosine of a question to the voice that it is of
HNSW_MOST = 100_000  # speakers: the index over a million takes the better part of an hour to build
EF_SEARCH = (40, 200, 400)
_NEAREST = (
    "SELECT speaker_id FROM speaker_gallery.speaker WHERE model_id = %s"
    " ORDER BY centroid <#> %s LIMIT %s"
)


def run(sizes: list[int], questions: int, write: bool) -> int:
    """`python -m benchmarks search`."""
    speakers: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder,
        running_postgres(Path(folder)) as server,
    ):
        for size in sizes:
            speakers[str(size)] = _measure(new_database(server.get_uri()), size, questions)
    document = {"machine": machine(), "questions": questions, "speakers": speakers}
    print(table(document))
    if write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 0


def table(document: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown, a line a way of searching."""
    sizes = document["speakers"]
    lines = [
        f"| {document['questions']} questions, {document['machine']['cores']} cores | "
        + " | ".join(f"{int(size):,} speakers" for size in sizes)
        + " |",
        "|---|" + "---|" * len(sizes),
    ]
    names = list(dict.fromkeys(name for figures in sizes.values() for name in figures))
    for name in names:
        lines.append(f"| {name} | " + " | ".join(str(sizes[s].get(name, "")) for s in sizes) + " |")
    return "\n".join(lines)


def _measure(address: str, size: int, questions: int) -> dict[str, str]:
    voices, asked = _make_voices(size, questions)
    _fill(address, voices)
    exact = [_best(voices, probe) for probe in asked]
    figures = _in_a_server(address, asked, exact)
    with psycopg.connect(address, autocommit=True) as connection:
        register_vector(connection)
        connection.execute("SET max_parallel_workers_per_gather = 0")  # one core, as a server's
        few = asked[: max(5, questions // 10)]
        times, _ = _ask(few, exact, lambda probe: _in_database(connection, probe))
        figures["pgvector, exact, p50 ms"] = _shown(times)
        if size <= HNSW_MOST:
            started = time.monotonic()
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute(
                "CREATE INDEX ON speaker_gallery.speaker USING hnsw (centroid vector_ip_ops)"
            )
            figures["HNSW index, s to build"] = f"{time.monotonic() - started:.0f}"
            for ef_search in EF_SEARCH:
                connection.execute(f"SET hnsw.ef_search = {ef_search}")
                times, recall = _ask(asked, exact, lambda probe: _in_database(connection, probe))
                name = f"HNSW, ef_search {ef_search}, p50 ms (recall at {TOP})"
                figures[name] = f"{_shown(times)} ({recall:.3f})"
    return figures


def _make_voices(size: int, questions: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (size, 64) random directions, and (questions, 64) near to some of them."""
    random = np.random.default_rng(size)
    voices = _unit(random.standard_normal((size, EMBEDDING_SIZE), np.float32))
    which = random.integers(0, size, questions)
    noise = _unit(random.standard_normal((questions, EMBEDDING_SIZE), np.float32))
    other = np.sqrt(1.0 - HEARD_AGAIN**2)
    return voices, _unit(np.float32(HEARD_AGAIN) * voices[which] + np.float32(other) * noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _best(voices: np.ndarray, probe: np.ndarray) -> set[str]:
    return {f"speaker{row}" for row in np.argsort(voices @ probe)[-TOP:].tolist()}


def _fill(address: str, voices: np.ndarray) -> None:
    """Puts centroids into the table, without the recordings that they would come from."""
    with find_place(address) as place:
        place.open_gallery(DEFAULT, MODEL).close()  # makes the tables
    columns = "collection_id, speaker_id, model_id, centroid, speech_s, changed"
    with psycopg.connect(address) as connection:
        register_vector(connection)
        with connection.cursor().copy(
            f"COPY speaker_gallery.speaker ({columns}) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["int8", "text", "text", "vector", "float8", "int8"])
            for row, voice in enumerate(tqdm(voices, desc="filling", unit="speaker")):
                copy.write_row((1, f"speaker{row}", MODEL, voice, 8.0, 1))
        connection.execute("UPDATE speaker_gallery.collection SET change = change + 1")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE speaker_gallery.speaker")


def _in_a_server(address: str, asked: np.ndarray, exact: list[set[str]]) -> dict[str, str]:
    """What a process of its own takes, so that its memory is its own, as `app.py` sets it up."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_serve, (address, asked, exact))


def _serve(address: str, asked: np.ndarray, exact: list[set[str]]) -> dict[str, str]:
    with find_place(address) as place:
        before, started = _resident_mb(), time.monotonic()
        with place.open_gallery(DEFAULT, MODEL) as gallery:
            opened = time.monotonic() - started
            resident = _resident_mb() - before
            snapshot = gallery.snapshot()
            times, recall = _ask(
                asked, exact, lambda p: {one.speaker_id for one in snapshot.search(p, TOP)}
            )
            assert recall == 1.0, "the server's search is exact"
            plain, _ = _ask(asked[: len(asked) // 2], exact, lambda p: _one_pass(snapshot, p))
            new, _ = _ask(asked, exact, lambda _: {str(gallery.snapshot().count)})
    return {
        "reading all at the start, s": f"{opened:.1f}",
        "a server's memory for it, MB": f"{resident:.0f}",
        "in memory, exact, p50 ms": _shown(times),
        "one pass over all float32 instead, p50 ms": _shown(plain),
        "asking for what is new, p50 ms": _shown(new),
    }


def _one_pass(snapshot: Snapshot, probe: np.ndarray) -> set[str]:
    scores = cosine_scores(probe, snapshot.centroids, check_rows=False)
    return {one.speaker_id for one in top_candidates(scores, snapshot.ids, TOP)}


def _in_database(connection: psycopg.Connection, probe: np.ndarray) -> set[str]:
    return {row[0] for row in connection.execute(_NEAREST, (MODEL, probe, TOP)).fetchall()}


def _ask(
    asked: np.ndarray, exact: list[set[str]], search: Callable[[np.ndarray], set[str]]
) -> tuple[list[float], float]:
    """Milliseconds of each question, and the share of the nearest that was found."""
    search(asked[0])
    times, found = [], 0
    for probe, best in zip(asked, exact, strict=False):
        started = time.perf_counter()
        answer = search(probe)
        times.append(1e3 * (time.perf_counter() - started))
        found += len(answer & best)
    return times, found / (TOP * len(times))


def _shown(times: list[float]) -> str:
    return f"{percentiles(times)['p50_ms']:.3g}"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
