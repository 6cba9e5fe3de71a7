"""The network: its size, its freedom from neighbours and back ends, and its two engines."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from utils.audio import decode
from utils.embedding import BEST_MODEL, ModelFiles, OnnxEngine, load_engine
from utils.errors import NotReady
from utils.features import log_mel_windows

ROOT = Path(__file__).parent.parent

# One process a back end: Keras takes its back end once, when it is imported.
RUN_UNDER_BACKEND = """
import sys
import numpy as np
from utils.embedding import KerasEngine, ModelFiles, BEST_MODEL
windows = np.load(sys.argv[1])
np.save(sys.argv[2], KerasEngine(ModelFiles(BEST_MODEL)).embed(windows))
"""


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """(windows, 200, 64): real speech of all seven sample speakers."""
    clips = [DATA / f"ast{speaker}@example.org-1.mp4" for speaker in range(1, 8)]
    return np.concatenate([log_mel_windows(decode(clip)) for clip in clips])


@pytest.fixture(scope="module")
def onnx_engine() -> OnnxEngine:
    return OnnxEngine(ModelFiles(BEST_MODEL))


def test_embeddings_have_64_numbers_and_length_1(
    onnx_engine: OnnxEngine, windows: np.ndarray
) -> None:
    embeddings = onnx_engine.embed(windows)
    assert embeddings.shape == (len(windows), 64)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)


def test_a_window_does_not_feel_its_neighbours(
    onnx_engine: OnnxEngine, windows: np.ndarray
) -> None:
    among = onnx_engine.embed(windows)
    alone = np.concatenate([onnx_engine.embed(window[None]) for window in windows])
    np.testing.assert_allclose(among, alone, atol=1e-5)


def test_windows_of_one_voice_are_nearer_than_of_two(onnx_engine: OnnxEngine) -> None:
    voices = [
        onnx_engine.embed(log_mel_windows(decode(DATA / f"ast{speaker}@example.org-2.mp4")))
        for speaker in (4, 5)
    ]
    same = np.mean([np.triu(voice @ voice.T, 1).sum() for voice in voices])
    pairs = np.mean([len(voice) * (len(voice) - 1) / 2 for voice in voices])
    assert same / pairs > (voices[0] @ voices[1].T).mean() + 0.2


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_engines_and_back_ends_agree(
    backend: str, onnx_engine: OnnxEngine, windows: np.ndarray, tmp_path: Path
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    given, found = tmp_path / "windows.npy", tmp_path / "embeddings.npy"
    np.save(given, windows)
    subprocess.run(
        [sys.executable, "-c", RUN_UNDER_BACKEND, str(given), str(found)],
        cwd=ROOT, check=True, capture_output=True, timeout=150,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    np.testing.assert_allclose(np.load(found), onnx_engine.embed(windows), atol=1e-4)


def test_eight_bits_say_nearly_the_same(onnx_engine: OnnxEngine, windows: np.ndarray) -> None:
    small = load_engine("int8")
    assert small.name == "int8"
    assert small.model_id == onnx_engine.model_id
    cosines = np.sum(small.embed(windows) * onnx_engine.embed(windows), axis=1)
    assert cosines.min() > 0.995
    assert np.median(cosines) > 0.999


def test_the_network_keeps_its_budget() -> None:
    manifest = json.loads((BEST_MODEL / "model.json").read_text())
    assert manifest["parameters"] <= 1_500_000
    assert manifest["multiply_adds_2s"] <= 150_000_000


def test_the_cpu_engine_needs_no_tensorflow() -> None:
    code = (
        "import sys; from utils.embedding import load_engine; load_engine('onnx'); import app;"
        "print(sorted(name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def copy_of_best_model(folder: Path) -> Path:
    for path in BEST_MODEL.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("engine", ["onnx", "int8", "keras"])
def test_an_altered_file_is_not_loaded(engine: str, tmp_path: Path) -> None:
    folder = copy_of_best_model(tmp_path)
    path = folder / json.loads((folder / "model.json").read_text())["files"][engine]["name"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(NotReady, match=r"SHA-256 .* restore both"):
        load_engine(engine, folder=folder)


@pytest.mark.parametrize("missing", ["model.json", "speaker_crnn_attention.onnx"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    folder = copy_of_best_model(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(NotReady, match=f"{missing} is missing"):
        load_engine("onnx", folder=folder)
