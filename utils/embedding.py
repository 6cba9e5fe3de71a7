"""Engines: log-mel windows in, embeddings out. Two of them run the same trained network.

`OnnxEngine` (ONNX Runtime, CPU) is the default, and runs the network in float32 or, asked for
`int8`, in half the time with 8-bit convolutions; `KerasEngine` runs the `.keras` file itself and
is taken when a GPU is visible or when it is asked for. Which files belong together, and what they
must hash to, stands in `best_model/model.json`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import threading
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from utils.errors import NotReady
from utils.features import FeatureSettings

Array = npt.NDArray[np.float32]
EngineName = Literal["auto", "onnx", "int8", "keras"]
FileKind = Literal["keras", "onnx", "int8"]

BEST_MODEL = Path(__file__).parent.parent / "best_model"
MANIFEST = "model.json"

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What turns windows into embeddings, and what it needs them to be."""

    name: str
    model_id: str
    """Names the trained network, whichever engine runs it: embeddings of two are never compared."""
    features: FeatureSettings

    def embed(self, windows: Array) -> Array:
        """Embeds log-mel windows.

        Args:
            windows: (windows, frames, n_mels), as `utils.features` makes them.

        Returns:
            (windows, 64) float32, rows of length 1.
        """


class ModelFiles:
    """The trained network's folder: its manifest, and its files once their hash is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        try:
            self._manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotReady(
                f"{path} is missing; restore best_model/ from the repository, or make it with "
                "`python -m training export`."
            ) from error
        self.model_id: str = self._manifest["model_id"]
        self.features = FeatureSettings(**self._manifest["features"])

    def read(self, kind: FileKind) -> bytes:
        """Gives the file's content.

        Raises:
            NotReady: it is missing, or its SHA-256 is not the manifest's.
        """
        entry = self._manifest["files"][kind]
        path: Path = self.folder / entry["name"]
        try:
            content: bytes = path.read_bytes()
        except FileNotFoundError as error:
            raise NotReady(f"{path} is missing; restore it from the repository.") from error
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise NotReady(
                f"{path} has SHA-256 {found[:12]}..., {MANIFEST} asks for "
                f"{entry['sha256'][:12]}...; restore both from the repository."
            )
        return content

    def path(self, kind: FileKind) -> Path:
        """The file's path, for readers that take no bytes; its hash is checked as in `read`."""
        self.read(kind)
        path: Path = self.folder / self._manifest["files"][kind]["name"]
        return path


class OnnxEngine:
    """Runs an exported graph on CPU; safe to share between threads."""

    def __init__(
        self, files: ModelFiles, threads: int = 1, kind: Literal["onnx", "int8"] = "onnx"
    ) -> None:
        import onnxruntime

        self.name: str = kind
        self.model_id = files.model_id
        self.features = files.features
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            files.read(kind), options, providers=["CPUExecutionProvider"]
        )

    def embed(self, windows: Array) -> Array:
        embeddings: Array = self._session.run(None, {"log_mel": windows})[0]
        return embeddings


class KerasEngine:
    """Runs the Keras network under any of its backends, on a GPU where the backend has one."""

    name = "keras"

    def __init__(self, files: ModelFiles) -> None:
        import keras

        self.model_id = files.model_id
        self.features = files.features
        self._model = keras.saving.load_model(files.path("keras"), compile=False)
        self._lock = threading.Lock()  # Keras makes no promise for threads
        # the first call compiles, which a request should not wait for
        self.embed(np.zeros((1, self.features.frames, self.features.n_mels), np.float32))

    def embed(self, windows: Array) -> Array:
        with self._lock:
            return np.asarray(self._model.predict_on_batch(windows), np.float32)


def load_engine(
    name: EngineName = "auto", *, folder: Path = BEST_MODEL, threads: int = 1
) -> Engine:
    """Loads the trained network into an engine.

    Args:
        name: `auto` is Keras where a GPU can be used, ONNX Runtime in float32 elsewhere.
        threads: for one window batch, CPU engine only.

    Raises:
        NotReady: a file is missing or altered, or Keras is asked for and not installed.
    """
    files = ModelFiles(folder)
    if name == "keras" and importlib.util.find_spec("keras") is None:
        raise NotReady("Keras is not installed; `pip install -r requirements.txt` brings it.")
    if name == "keras" or (name == "auto" and _gpu_is_usable()):
        return KerasEngine(files)
    return OnnxEngine(files, threads, "int8" if name == "int8" else "onnx")


def _gpu_is_usable() -> bool:
    """Whether TensorFlow sees a GPU; only imported where the machine has an NVIDIA driver."""
    if not Path("/dev/nvidiactl").exists() or importlib.util.find_spec("tensorflow") is None:
        return False
    import tensorflow

    found = bool(tensorflow.config.list_physical_devices("GPU"))
    if not found:
        _log.warning("An NVIDIA driver is here, but TensorFlow sees no GPU: using ONNX Runtime.")
    return found
