"""One training run: settings -> batches -> steps -> checkpoints -> averaged weights.

A run lives in `training/runs/NAME/`: `settings.json`, `log.tsv` (losses), `dev.tsv` (EER on the
dev lists) and `checkpoint.npz`: all that taking it up again needs, and the averaged weights that
`export` turns into `best_model/`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.batches import BatchMaker, stream_batches
from training.checkpoint import Checkpoint, read_averaged
from training.corpus import load_corpus
from training.dev import DevLists
from training.head import refit_head
from training.network import NetworkSettings
from training.settings import RUNS, RunSettings, learning_rate
from training.targets import make_targets
from training.trainee import build_trainee

LOG_EVERY = 50  # steps


def train(
    name: str,
    settings: RunSettings,
    *,
    speech: Path,
    cache: Path,
    network: NetworkSettings = NetworkSettings(),
    workers: int = 1,
    checkpoint_s: float = 180.0,
    runs: Path = RUNS,
    stop_after: int | None = None,
    minutes: float = math.inf,
) -> Path:
    """Runs from the run's checkpoint, or from the start, to the end, to a step, or for a time.

    Returns:
        The run's folder.
    """
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    _keep_settings(folder / "settings.json", settings, network)
    corpus = load_corpus(speech, cache)
    on_device = settings.batches == "device"
    # there the teacher hears every window as it is made, and windows made ahead are not needed
    made_ahead = dataclasses.replace(settings, window_share=0.0) if on_device else settings
    targets = make_targets(corpus, made_ahead, network.embedding_size)
    trainee = build_trainee(settings, network, targets)
    if settings.start_from:
        trainee.network.set_weights(read_averaged(runs / settings.start_from)[1])
    saved = folder / "checkpoint.npz"
    if settings.refit_batches and not saved.exists():
        maker = BatchMaker(corpus, made_ahead, network.embedding_size)
        unheard = range(settings.steps, settings.steps + settings.refit_batches)
        refit_head(trainee.network, map(maker.make, tqdm(unheard, desc="fit the last layer")))
    checkpoint = Checkpoint(trainee, saved)
    dev = DevLists(speech, cache) if settings.dev_every and (speech / "trials").exists() else None
    first = checkpoint.restore()
    numbers = range(first, min(settings.steps, stop_after or settings.steps))
    if on_device:
        from training.device_batches import device_batches  # needs JAX
        from training.device_teacher import read_weights

        teacher = read_weights(cache) if settings.window_share else None
        batches = device_batches(corpus, targets, numbers, settings, teacher=teacher)
    else:
        batches = stream_batches(speech, cache, numbers, workers, settings, network.embedding_size)
    losses: list[dict[str, float]] = []
    started = saved_at = time.monotonic()
    done = first
    bar = tqdm(numbers, initial=first, total=settings.steps, desc=name, unit="step")
    for step, (inputs, wanted) in zip(bar, batches, strict=True):
        trainee.model.optimizer.learning_rate.assign(learning_rate(step, settings))
        wanted = {key: wanted[key] for key in trainee.model.output_names}
        losses.append(
            trainee.model.train_on_batch(inputs.astype(np.float32), wanted, return_dict=True)
        )
        checkpoint.average(settings.average_decay, step)
        done = step + 1
        if done % LOG_EVERY == 0:
            means = {key: float(np.mean([each[key] for each in losses])) for key in losses[0]}
            bar.set_postfix({key: f"{mean:.4f}" for key, mean in means.items()})
            row = {"step": done, "seconds": round(bar.format_dict["elapsed"]), **means}
            _append(folder / "log.tsv", row)
            losses = []
        if dev and (done % settings.dev_every == 0 or done == settings.steps):
            with checkpoint.averaged_weights():
                rates = dev.error_rates(trainee.network)
            _append(folder / "dev.tsv", {"step": done, **rates})
        if time.monotonic() - saved_at > checkpoint_s:
            checkpoint.save(done)
            saved_at = time.monotonic()
        if time.monotonic() - started > 60.0 * minutes:
            break
    checkpoint.save(done)
    return folder


def _append(path: Path, row: dict[str, float]) -> None:
    """Adds a line to a table, and the names of its columns before the first one."""
    lines: Iterable[Iterable[object]] = [row.values()] if path.exists() else [row, row.values()]
    with path.open("a") as table:
        for line in lines:
            cells = (f"{cell:.5f}" if isinstance(cell, float) else str(cell) for cell in line)
            table.write("\t".join(cells) + "\n")


def _keep_settings(path: Path, settings: RunSettings, network: NetworkSettings) -> None:
    """Writes the settings beside the run; a run taken up again must have the same."""
    both = {"run": dataclasses.asdict(settings), "network": dataclasses.asdict(network)}
    text = json.dumps(both, indent=2) + "\n"
    if path.exists() and path.read_text() != text:
        raise SystemExit(
            f"{path} holds other settings; give the run another --name, or the old settings"
        )
    path.write_text(text)
