"""All that changes in a run, kept as one file from which it is taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from training.trainee import Trainee

KEPT = Path(__file__).parent / "weights"
AVERAGED_EVERY = 5  # steps: the weights are copied out of the backend, which is not free


class Checkpoint:
    """Weights, optimiser state and averaged weights of a run, and the step that it has come to."""

    def __init__(self, trainee: Trainee, path: Path) -> None:
        self._trainee = trainee
        self._path = path
        self.averaged = [np.array(weight) for weight in trainee.network.get_weights()]

    def average(self, decay: float, step: int) -> None:
        """Moves the network's average towards its weights, every few steps."""
        if (step + 1) % AVERAGED_EVERY:
            return
        # early on, no longer a memory than the run has steps
        keep = min(decay, (1.0 + step) / (10.0 + step)) ** AVERAGED_EVERY
        for mean, weight in zip(self.averaged, self._trainee.network.get_weights(), strict=True):
            mean *= keep
            mean += (1.0 - keep) * weight

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The network has its averaged weights meanwhile."""
        own = self._trainee.network.get_weights()
        self._trainee.network.set_weights(self.averaged)
        try:
            yield
        finally:
            self._trainee.network.set_weights(own)

    def save(self, step: int) -> None:
        partial = self._path.with_name("partial.npz")
        model = self._trainee.model
        np.savez(
            partial,
            step=step,
            **_numbered("weight", model.get_weights()),
            **_numbered(
                "optimizer", [np.array(variable) for variable in model.optimizer.variables]
            ),
            **_numbered("averaged", self.averaged),
        )
        partial.replace(self._path)

    def restore(self) -> int:
        """Takes up the saved state; gives the step to go on with, 0 where nothing was saved."""
        if not self._path.exists():
            return 0
        model = self._trainee.model
        with np.load(self._path) as saved:
            model.set_weights(_in_order(saved, "weight"))
            variables = model.optimizer.variables
            for variable, value in zip(variables, _in_order(saved, "optimizer"), strict=True):
                variable.assign(value)
            self.averaged = _in_order(saved, "averaged")
            return int(saved["step"])


def read_averaged(run: Path) -> tuple[int, list[np.ndarray]]:
    """The step that a run has come to, and its network's averaged weights in Keras' order.

    Of a run that is not here, what `keep` left of it.
    """
    kept = KEPT / f"{run.name}.npz"
    with np.load(run / "checkpoint.npz" if run.exists() or not kept.exists() else kept) as saved:
        return int(saved["step"]), [
            each.astype(np.float32) for each in _in_order(saved, "averaged")
        ]


def blend(one: Path, other: Path, share: float, run: Path) -> Path:
    """Makes a run of the means of two runs' averaged weights, of which one began with the other's.

    Such a mean is often better than either ("model soups"; Wortsman et al. 2022).

    Args:
        share: of the other's weights, 0 to 1; its settings are taken over too.

    Raises:
        ValueError: the networks are of different shapes.
    """
    (_, ones), (step, others) = read_averaged(one), read_averaged(other)
    if [each.shape for each in ones] != [each.shape for each in others]:
        raise ValueError(f"{one.name} and {other.name} are networks of different shapes")
    means = [(1.0 - share) * a + share * b for a, b in zip(ones, others, strict=True)]
    run.mkdir(parents=True, exist_ok=True)
    (run / "settings.json").write_text((other / "settings.json").read_text())
    np.savez(run / "checkpoint.npz", step=step, **_numbered("averaged", means))
    return run


def keep(run: Path) -> Path:
    """Writes a run's averaged weights, in half precision, where they are committed."""
    step, averaged = read_averaged(run)
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{run.name}.npz"
    halves = [each.astype(np.float16) for each in averaged]
    np.savez_compressed(path, step=step, **_numbered("averaged", halves))
    return path


def _numbered(kind: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}_{index:03}": array for index, array in enumerate(arrays)}


def _in_order(saved: np.lib.npyio.NpzFile, kind: str) -> list[np.ndarray]:
    return [saved[name] for name in sorted(saved) if name.startswith(f"{kind}_")]
