"""Whether it pays to embed the windows of several requests together.

A request of 4 s has three windows. Those of one request, of two, four and eight are embedded at
once, on a processor by one thread; what a window costs is compared in one run. On a GPU:
`--engine keras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding import Network, take_turns
from benchmarks.report import machine, percentiles
from evaluation.files import write_figures
from utils.audio import SAMPLE_RATE
from utils.embedding import EngineName, load_engine
from utils.features import log_mel_windows

ROOT = Path(__file__).parent.parent
JSON = ROOT / "benchmarks" / "batching.json"
PAGE, MARK = ROOT / "docs" / "scale.md", "batching"
TOGETHER = (1, 2, 4, 8)  # requests
SECONDS = 4


def run(engine_name: EngineName, rounds: int, write: bool) -> int:
    """`python -m benchmarks batching`."""
    engine = load_engine(engine_name)
    wave = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE, np.float32)
    windows = log_mel_windows(wave, engine.features)
    batches: dict[str, Network] = {
        str(number): partial(engine.embed, np.tile(windows, (number, 1, 1))) for number in TOGETHER
    }
    times = take_turns(batches, rounds)
    document = {
        "machine": machine(),
        "engine": engine.name,
        "rounds": rounds,
        "windows": len(windows),
        "requests": {
            name: percentiles([each / (int(name) * len(windows)) for each in ms])
            for name, ms in times.items()
        },
    }
    print(table(document))
    if write:
        write_figures(JSON, document, PAGE, MARK, table(document))
    return 0


def table(document: Mapping[str, Any]) -> str:
    """The figures as a table in Markdown, a column a number of requests."""
    figures = document["requests"]
    alone = figures["1"]["p50_ms"]
    title = f"engine {document['engine']}, {document['rounds']} rounds"
    rows = {
        f"{title}; requests together": list(figures),
        "windows at once": [str(int(name) * document["windows"]) for name in figures],
        "ms a window, p50": [f"{each['p50_ms']:.2f}" for each in figures.values()],
        "of one request's": [f"{each['p50_ms'] / alone:.2f}" for each in figures.values()],
    }
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([lines[0], "|---" * (len(figures) + 1) + "|", *lines[1:]])
