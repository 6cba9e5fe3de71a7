"""The graph that is written for the speech detector computes what its parts say, chunk by chunk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from training.speech_detector import WEIGHTS, Weights, detector_graph, read_weights, write_detector
from utils.speech import CHUNK, CONTEXT, DETECTOR, DETECTOR_LICENSE, STATE_SHAPE

CHUNKS = 7
SHAPES = {
    "stft.forward_basis_buffer": (258, 1, 256),
    "encoder.0.weight": (128, 129, 3),
    "encoder.0.bias": (128,),
    "encoder.1.weight": (64, 128, 3),
    "encoder.1.bias": (64,),
    "encoder.2.weight": (64, 64, 3),
    "encoder.2.bias": (64,),
    "encoder.3.weight": (128, 64, 3),
    "encoder.3.bias": (128,),
    "lstm_w": (1, 512, 128),
    "lstm_r": (1, 512, 128),
    "lstm_b": (1, 1024),
    "output.weight": (1, 128, 1),
    "output.bias": (1,),
}


@pytest.fixture
def weights() -> Weights:
    rng = np.random.default_rng(8)
    return {
        name: (rng.standard_normal(shape) * 0.1).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def convolution(x: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """(channels, time) -> (outputs, time), by the definition."""
    x = np.pad(x, ((0, 0), (pad, pad)))
    size = kernel.shape[-1]
    places = range(0, x.shape[1] - size + 1, stride)
    return np.stack([np.einsum("oik,ik->o", kernel, x[:, at : at + size]) for at in places], axis=1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def probabilities(wave: np.ndarray, weights: Weights) -> list[float]:
    """One chunk after the other, as Silero describes its network."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = cell = np.zeros(128)
    found = []
    padded = np.pad(wave, (CONTEXT, 0))
    for start in range(0, wave.size, CHUNK):
        x = np.pad(padded[start : start + CONTEXT + CHUNK], (0, 64), mode="reflect")[None]
        spectrum = convolution(x, w["stft.forward_basis_buffer"], 128, 0)
        x = np.hypot(spectrum[:129], spectrum[129:])
        for layer, stride in enumerate((1, 2, 2, 1)):
            bias = w[f"encoder.{layer}.bias"][:, None]
            x = np.maximum(convolution(x, w[f"encoder.{layer}.weight"], stride, 1) + bias, 0.0)
        assert x.shape == (128, 1)
        gates = w["lstm_w"][0] @ x[:, 0] + w["lstm_r"][0] @ hidden
        i, o, f, c = np.split(gates + w["lstm_b"][0, :512] + w["lstm_b"][0, 512:], 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        logit = w["output.weight"][0, :, 0] @ np.maximum(hidden, 0.0) + w["output.bias"][0]
        found.append(float(sigmoid(logit)))
    return found


def test_the_graph_is_the_network_chunk_by_chunk(weights: Weights) -> None:
    wave = np.random.default_rng(9).uniform(-1, 1, CHUNKS * CHUNK).astype(np.float32)
    session = onnxruntime.InferenceSession(detector_graph(weights).SerializeToString())
    zeros = np.zeros(STATE_SHAPE, np.float32)
    past = np.zeros(CONTEXT, np.float32)
    given = {"wave": wave, "past": past, "hidden": zeros, "cell": zeros}
    found = session.run(["probability"], given)[0]
    expected = probabilities(wave, weights)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


def silero_like(weights: Weights) -> bytes:
    """A graph that names its constants as Silero's does: those of the LSTM by number."""
    names = {"lstm_w": "onnx::LSTM_209", "lstm_r": "onnx::LSTM_210", "lstm_b": "onnx::LSTM_211"}
    constants = [numpy_helper.from_array(v, names.get(k, k)) for k, v in weights.items()]
    lstm = helper.make_node("LSTM", ["x", *names.values()], ["y"], hidden_size=128)
    graph = helper.make_graph([lstm], "silero", [], [], constants)
    return helper.make_model(graph).SerializeToString()


def test_weights_come_out_of_the_wheel(weights: Weights, tmp_path: Path) -> None:
    content = silero_like(weights)
    read = read_weights(content)
    assert read.keys() == weights.keys()
    wheel = tmp_path / "silero_vad-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(WEIGHTS, content)
        archive.writestr("silero_vad-0.dist-info/licenses/LICENSE", "MIT License\n")
    said = write_detector(wheel, tmp_path / "out")
    assert "is not the one" in said  # other weights than those that are served
    written = (tmp_path / "out" / DETECTOR).read_bytes()
    assert written == detector_graph(weights).SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(written), full_check=True)
    assert "MIT License" in (tmp_path / "out" / DETECTOR_LICENSE).read_text()
