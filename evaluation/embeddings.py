"""Embeddings of many recordings under a condition, kept where the same ones are asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.audio import Audio
from evaluation.conditions import Condition, hear
from evaluation.systems import System

CACHE = Path(__file__).parent.parent / ".cache" / "embeddings"  # where the commands keep them

Rows = npt.NDArray[np.float32]


def embed_all(
    system: System,
    names: Sequence[str],
    audio: Audio,
    condition: Condition,
    *,
    as_probe: bool,
    cache: Path | None = None,
) -> Rows:
    """Embeds recordings, or takes what was kept of the same ones.

    Args:
        cache: a folder; None keeps nothing. It is for one collection of recordings.

    Returns:
        (names, size), rows of length 1.
    """
    kept: dict[str, Rows] = {}
    if not as_probe:
        condition = replace(condition, noise_db=None, codec=None)
    path = cache and cache / f"{system.name}-{system.version}-{condition.name}.npz"
    if path and path.exists():
        with np.load(path) as saved:
            kept = dict(zip(saved["names"].tolist(), saved["rows"], strict=True))
    missing = [name for name in names if name not in kept]
    for name in tqdm(
        missing, f"{system.name} {condition.name}", unit="file", leave=False, disable=not missing
    ):
        kept[name] = system.embed(hear(name, audio, condition, as_probe=as_probe))
    if path and missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, names=list(kept), rows=np.stack(list(kept.values())))
    return np.stack([kept[name] for name in names])
