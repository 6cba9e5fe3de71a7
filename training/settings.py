"""A run's numbers. Imports no Keras, so that the command line may read them first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

RUNS = Path(__file__).parent / "runs"

# of the target space (`python -m training space`)
WCCN = 0.6  # to what power; 1 makes all directions vary alike between windows of one voice
CENTRING = 0.7  # of a domain's mean


@dataclass(frozen=True)
class RunSettings:
    """One run's numbers; saved beside its result."""

    steps: int = 5_000
    batch_size: int = 128
    peak_rate: float = 2e-3  # AdamW's learning rate after the warm-up
    final_rate: float = 1e-5  # reached along a half cosine
    warmup_steps: int = 200
    weight_decay: float = 0.01
    contrast_weight: float = 0.2
    contrast_scale: float = 20.0
    margin_weight: float = 0.0  # of the margin softmax; 0 leaves it out
    margin: float = 0.2
    margin_scale: float = 30.0
    sub_centres: int = 2  # directions that a training speaker may have
    class_recordings: int = 4  # fewest recordings of a speaker that is a class
    centroid_share: float = 0.0  # of the speaker's mean in a recording's target, 0 to 1
    speeds: str = ""  # such as "0.9,1.1": at these, recordings are other voices (`teach` first)
    window_share: float = 0.0  # of windows whose target is what the teacher says of them alone
    noise_chance: float = 0.7  # of noise, music, voices or hiss in a window
    room_chance: float = 0.4  # of a room
    short_chance: float = 0.1  # of a crop of 1 to 2 s, repeated to 2 s as in serving
    average_decay: float = 0.998  # of the exponential moving average of the weights, a step
    batches: str = "workers"  # made by worker processes, or on the "device" (JAX)
    precision: str = "mixed_bfloat16"
    seed: int = 1
    start_from: str = ""  # a run whose averaged weights this one begins with
    refit_batches: int = 0  # to fit the last layer to, before the first step: for other targets
    dev_every: int = 500  # steps between two looks at the dev lists; 0 for none

    @property
    def all_speeds(self) -> list[float]:
        """The recordings' own speed, then the others."""
        return [1.0, *(float(speed) for speed in self.speeds.split(",") if speed)]


def learning_rate(step: int, settings: RunSettings) -> float:
    """Linear warm-up, then half a cosine from the peak to the final rate."""
    if step < settings.warmup_steps:
        return settings.peak_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    fall = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return settings.final_rate + (settings.peak_rate - settings.final_rate) * fall
