"""The time of one embedding: 2 s of speech, one thread, ours beside its peers in one run.

All run in ONNX Runtime on CPU; what is timed is the network alone, from its features to its
embedding. The networks take turns, so that a busy moment of the machine meets all of them. The
peers come from `teachers.py` in the speech folder; without it ours are timed alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tqdm import tqdm

from benchmarks.report import machine, percentiles
from evaluation.teachers import load_teachers
from utils.audio import SAMPLE_RATE
from utils.embedding import BEST_MODEL, ModelFiles, OnnxEngine
from utils.features import log_mel_windows

PEERS = ("campplus", "resnet34", "resemblyzer", "se_res2net50")
WARM_UP = 5

Network = Callable[[], object]


def run(speech: Path, rounds: int, json_path: Path | None) -> int:
    """`python -m benchmarks embedding`."""
    wave = np.random.default_rng(0).normal(size=2 * SAMPLE_RATE).astype(np.float32) * 0.1
    networks = {**_ours(wave), **_peers(speech, wave)}
    times = take_turns(networks, rounds)
    figures = {name: percentiles(ms) for name, ms in times.items()}
    result = {"machine": machine(), "rounds": rounds, "networks": figures}
    for own in figures.values():
        own["times_ours"] = round(own["p50_ms"] / figures["ours"]["p50_ms"], 2)
        own["times_ours_int8"] = round(own["p50_ms"] / figures["ours_int8"]["p50_ms"], 2)
    print(_table(figures))
    if json_path:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def _ours(wave: npt.NDArray[np.float32]) -> dict[str, Network]:
    files = ModelFiles(BEST_MODEL)
    windows = log_mel_windows(wave, files.features)
    engines = {"ours": OnnxEngine(files), "ours_int8": OnnxEngine(files, kind="int8")}
    return {name: partial(engine.embed, windows) for name, engine in engines.items()}


def _peers(speech: Path, wave: npt.NDArray[np.float32]) -> dict[str, Network]:
    teachers = load_teachers(speech)
    if teachers is None:
        print(f"no teachers.py in {speech}: ours alone")
        return {}
    networks: dict[str, Network] = {}
    for name in PEERS:
        network = teachers.NETWORKS[name]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(teachers.fetch(name)), options, providers=["CPUExecutionProvider"]
        )
        inputs = network.features(wave[None])
        flat = inputs.reshape(-1, *inputs.shape[2:])  # some see 2 s as several windows
        first, *weights = [each.name for each in session.get_inputs()]
        feeds = {first: flat, **{each: np.ones(flat.shape[:2], np.float32) for each in weights}}
        networks[name] = partial(session.run, None, feeds)
    return networks


def take_turns(networks: dict[str, Network], rounds: int) -> dict[str, Sequence[float]]:
    """Milliseconds of every call, by network."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in tqdm(range(WARM_UP + rounds), desc="rounds", unit="round"):
        for name, call in networks.items():
            started = time.perf_counter()
            call()
            if number >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - started))
    return dict(times)


def _table(figures: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'network':14}{'p50 ms':>9}{'p95 ms':>9}{'x ours':>9}{'x ours, int8':>14}"]
    lines += [
        f"{name:14}{each['p50_ms']:9.2f}{each['p95_ms']:9.2f}{each['times_ours']:9.1f}"
        f"{each['times_ours_int8']:14.1f}"
        for name, each in figures.items()
    ]
    return "\n".join(lines)
