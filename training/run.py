"""One training run: settings -> batches -> steps -> checkpoints -> averaged weights.

A run lives in `training/runs/NAME/`: `settings.json`, `log.tsv`, and `checkpoint.npz`: all that
taking it up again needs, and the averaged weights that `export` turns into `best_model/`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from training.batches import stream_batches
from training.fused_norm import use_fused_batch_normalization
from training.losses import distillation_loss
from training.network import NetworkSettings, build_network
from training.settings import RunSettings, learning_rate

RUNS = Path(__file__).parent / "runs"
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
) -> Path:
    """Runs from the run's checkpoint, or from the start, to the end or to a step.

    Returns:
        The run's folder.
    """
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    _keep_settings(folder / "settings.json", settings, network)
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy(settings.precision)
    use_fused_batch_normalization()
    model = build_network(network)
    if settings.start_from:
        model.set_weights(read_averaged(runs / settings.start_from)[1])
    model.compile(
        optimizer=keras.optimizers.AdamW(
            settings.peak_rate, weight_decay=settings.weight_decay, global_clipnorm=5.0
        ),
        loss=distillation_loss(settings.contrast_weight, settings.contrast_scale),
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    state = _State(model, folder / "checkpoint.npz")
    first = state.restore()
    numbers = range(first, min(settings.steps, stop_after or settings.steps))
    batches = stream_batches(
        speech, cache, numbers, workers,
        batch_size=settings.batch_size, embedding_size=network.embedding_size, seed=settings.seed,
    )  # fmt: skip
    saved_at, losses = time.monotonic(), []
    bar = tqdm(numbers, initial=first, total=settings.steps, desc=name, unit="step")
    for step, (inputs, targets) in zip(bar, batches, strict=True):
        model.optimizer.learning_rate.assign(learning_rate(step, settings))
        losses.append(float(model.train_on_batch(inputs.astype(np.float32), targets)))
        state.average(settings.average_decay, step)
        if (step + 1) % LOG_EVERY == 0:
            bar.set_postfix(loss=f"{np.mean(losses):.4f}")
            with (folder / "log.tsv").open("a") as log:
                log.write(f"{step + 1}\t{np.mean(losses):.5f}\t{bar.format_dict['elapsed']:.0f}\n")
            losses = []
        if time.monotonic() - saved_at > checkpoint_s:
            state.save(step + 1)
            saved_at = time.monotonic()
    state.save(max(first, numbers.stop))
    return folder


class _State:
    """All that changes in a run, saved and restored as one file."""

    AVERAGED_EVERY = 5  # steps: the weights are copied out of the backend, which is not free

    def __init__(self, model: keras.Model, path: Path) -> None:
        self.model = model
        self.path = path
        self.averaged = [np.array(weight) for weight in model.get_weights()]

    def average(self, decay: float, step: int) -> None:
        if (step + 1) % self.AVERAGED_EVERY:
            return
        # early on, no longer a memory than the run has steps
        keep = min(decay, (1.0 + step) / (10.0 + step)) ** self.AVERAGED_EVERY
        for mean, weight in zip(self.averaged, self.model.get_weights(), strict=True):
            mean *= keep
            mean += (1.0 - keep) * weight

    def save(self, step: int) -> None:
        partial = self.path.with_name("partial.npz")
        optimizer = [np.array(variable) for variable in self.model.optimizer.variables]
        np.savez(
            partial,
            step=step,
            **_numbered("weight", self.model.get_weights()),
            **_numbered("optimizer", optimizer),
            **_numbered("averaged", self.averaged),
        )
        partial.replace(self.path)

    def restore(self) -> int:
        """Takes up the saved state; gives the step to go on with, 0 where nothing was saved."""
        if not self.path.exists():
            return 0
        with np.load(self.path) as saved:
            self.model.set_weights(_in_order(saved, "weight"))
            variables = self.model.optimizer.variables
            for variable, value in zip(variables, _in_order(saved, "optimizer"), strict=True):
                variable.assign(value)
            self.averaged = _in_order(saved, "averaged")
            return int(saved["step"])


def read_averaged(run: Path) -> tuple[int, list[np.ndarray]]:
    """The step that a run has come to, and its averaged weights in the model's order."""
    with np.load(run / "checkpoint.npz") as saved:
        return int(saved["step"]), _in_order(saved, "averaged")


def _numbered(kind: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}_{index:03}": array for index, array in enumerate(arrays)}


def _in_order(saved: np.lib.npyio.NpzFile, kind: str) -> list[np.ndarray]:
    return [saved[name] for name in sorted(saved) if name.startswith(f"{kind}_")]


def _keep_settings(path: Path, settings: RunSettings, network: NetworkSettings) -> None:
    """Writes the settings beside the run; a run taken up again must have the same."""
    both = {"run": dataclasses.asdict(settings), "network": dataclasses.asdict(network)}
    text = json.dumps(both, indent=2) + "\n"
    if path.exists() and path.read_text() != text:
        raise SystemExit(
            f"{path} holds other settings; give the run another --name, or the old settings"
        )
    path.write_text(text)
