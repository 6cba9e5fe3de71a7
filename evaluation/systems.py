"""What can be evaluated: our network, and its peers where they install."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evaluation.teachers import load_teachers
from utils.embedding import Engine, load_engine
from utils.features import log_mel_windows
from utils.scoring import centroid

Wave = npt.NDArray[np.float32]

PEERS = ("campplus", "resnet34", "se_res2net50", "resemblyzer")
SYSTEMS = ("ours", *PEERS)


class System(Protocol):
    """What turns a waveform into one embedding."""

    name: str
    version: str
    """Names the weights: embeddings of one version may be kept."""

    def embed(self, waveform: Wave) -> npt.NDArray[np.float32]:
        """(samples,) at 16 kHz -> (size,) of length 1."""


class Ours:
    """The network as the server uses it: the mean direction of all windows."""

    name = "ours"

    def __init__(self, engine: Engine) -> None:
        self.version = engine.model_id
        self._engine = engine

    def embed(self, waveform: Wave) -> npt.NDArray[np.float32]:
        windows = log_mel_windows(waveform, self._engine.features)
        return centroid(self._engine.embed(windows))


class Peer:
    """A network of the corpus folder's `teachers.py`."""

    def __init__(self, name: str, teachers: Any) -> None:
        self.name = name
        self.version = str(teachers.NETWORKS[name].sha256[:16])
        self._shortest = int(teachers.SHORTEST)
        self._teacher = teachers.Teacher(name)

    def embed(self, waveform: Wave) -> npt.NDArray[np.float32]:
        if waveform.size < self._shortest:  # as ours, repeated until it is long enough
            waveform = np.resize(waveform, self._shortest)
        embedding: npt.NDArray[np.float32] = self._teacher.embed(waveform)
        return embedding


def load_system(name: str, speech: Path) -> System:
    """Loads one of `SYSTEMS`.

    Args:
        speech: the corpus folder; only peers need it.

    Raises:
        SystemExit: a peer's code or weights are not to be had.
    """
    if name == "ours":
        return Ours(load_engine("onnx"))
    teachers = load_teachers(speech)
    if teachers is None:
        raise SystemExit(f"{name} needs {speech / 'teachers.py'}, which is missing")
    try:
        return Peer(name, teachers)
    except Exception as error:
        raise SystemExit(f"{name} does not install: {error}") from error


def load_systems(names: Sequence[str], speech: Path) -> list[System]:
    """Those that install; of the others a line says why not."""
    systems = []
    for name in names:
        try:
            systems.append(load_system(name, speech))
        except SystemExit as reason:
            print(f"left out: {reason}")
    return systems
