"""From a run's averaged weights to what is served: the `.keras` file, the same as ONNX, and 8 bits.

The ONNX graph is written node by node from the Keras weights: batch normalisation is folded into
the layer before (or after) it, and the recurrent layer becomes one GRU node, which Keras' own
export makes a loop of. Batch and time stay dynamic.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import onnx

from training.batches import BatchMaker
from training.checkpoint import read_averaged
from training.corpus import load_corpus
from training.degrade import DegradationSettings
from training.head import fit_head
from training.network import build_network, multiply_adds, network_settings
from training.onnx_graph import GraphWriter
from training.quantise import quantise
from training.settings import RUNS, RunSettings
from utils.embedding import MANIFEST
from utils.features import FeatureSettings

STEM = "speaker_crnn_attention"
SUFFIXES = {"keras": "keras", "onnx": "onnx", "int8": "int8.onnx"}
CALIBRATION_BATCHES = 2


def export_run(name: str, folder: Path, *, speech: Path, cache: Path, shrinkage: float) -> None:
    """Fits the head of a run's averaged network and writes both its files and the manifest."""
    run = RUNS / name
    settings = json.loads((run / "settings.json").read_text())
    network = network_settings(settings["network"])
    model = build_network(network)
    step, averaged = read_averaged(run)
    model.set_weights(averaged)
    maker = BatchMaker(
        load_corpus(speech, cache),
        RunSettings(**settings["run"]),
        network.embedding_size,
        degradations=DegradationSettings(),  # whatever the run heard, this is what callers send
    )
    fit_head(model, maker, shrinkage)
    provenance = {"name": name, "step": step, "head_shrinkage": shrinkage, **settings}
    windows = np.concatenate([maker.make(number)[0] for number in range(CALIBRATION_BATCHES)])
    write_best_model(model, windows, folder, provenance)


def write_best_model(
    model: keras.Model, windows: np.ndarray, folder: Path, provenance: dict
) -> None:
    """Writes a network's three files and the manifest that holds them together.

    Args:
        windows: log-mel windows from which the 8-bit file takes its ranges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = onnx_graph(model).SerializeToString()
    paths = {kind: folder / f"{STEM}.{suffix}" for kind, suffix in SUFFIXES.items()}
    model.save(paths["keras"])
    paths["onnx"].write_bytes(graph)
    paths["int8"].write_bytes(quantise(graph, windows))
    manifest = {
        "model_id": _model_id(model),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {
            kind: {"name": path.name, "sha256": _sha256(path)} for kind, path in paths.items()
        },
        "features": dataclasses.asdict(FeatureSettings()),
        "parameters": model.count_params(),
        "multiply_adds_2s": multiply_adds(model),
        "provenance": provenance,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _model_id(model: keras.Model) -> str:
    """Names the weights: the same network exported again is the same network."""
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()[:16]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def onnx_graph(model: keras.Model) -> onnx.ModelProto:
    """Writes the network of `build_network` as an ONNX model.

    Its input is `log_mel`, float32 (windows, frames, n_mels); its output `embedding`, float32
    (windows, embedding_size), rows of length 1.
    """
    graph = _Graph(model)
    x = graph.add("Unsqueeze", "log_mel", graph.constant("axis_1", np.array([1])))  # (n, 1, t, m)
    x = graph.relu(graph.convolution(x, "stem"))
    stages = sum(layer.name.endswith("_add") for layer in model.layers)
    for number in range(1, stages + 1):
        name = f"stage{number}"
        y = graph.relu(graph.convolution(x, f"{name}_a"))
        y = graph.convolution(y, f"{name}_b")
        x = graph.relu(graph.add("Add", y, graph.convolution(x, f"{name}_shortcut")))
    x = graph.relu(graph.projection(x, "projection"))  # (n, units, t, 1)
    x = graph.add("Squeeze", x, graph.constant("axis_3", np.array([3])))
    x = graph.add("Transpose", x, perm=[2, 0, 1])  # (t, n, units): time first, as GRU wants it
    rows = graph.bidirectional_gru(x, "recurrent")  # (n, t, 2 * units)
    pooled = graph.attentive_statistics(rows)
    kernel, bias = graph.weights("embedding")
    scale, shift = graph.norm("pooling_norm")
    x = graph.dense(pooled, "embedding", scale[:, None] * kernel, shift @ kernel + bias)
    norm = graph.add("ReduceL2", x, axes=[1], keepdims=1)
    norm = graph.add("Max", norm, graph.constant("tiny", np.float32(1e-12)))
    graph.add("Div", x, norm, output="embedding")
    return graph.model(
        STEM,
        {"log_mel": ["windows", "frames", model.input_shape[-1]]},
        {"embedding": ["windows", model.output_shape[-1]]},
    )


class _Graph(GraphWriter):
    """Writes the network's layers."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.layers = {layer.name: layer for layer in model.layers}
        self.mels_left = model.get_layer("rows").input.shape[2]

    def weights(self, layer: str) -> list[np.ndarray]:
        return [np.asarray(weight, np.float32) for weight in self.layers[layer].get_weights()]

    def norm(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """A batch normalisation as x * scale + shift."""
        gamma, beta, mean, variance = self.weights(layer)
        scale = gamma / np.sqrt(variance + self.layers[layer].epsilon)
        return scale, beta - mean * scale

    def folded(self, layer: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of a layer without bias, and of the normalisation behind it, in one."""
        (kernel,) = self.weights(layer)
        scale, shift = self.norm(norm)
        return kernel * scale, shift

    def relu(self, x: str) -> str:
        return self.add("Relu", x)

    def dense(self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray | None = None) -> str:
        x = self.add("MatMul", x, self.constant(f"{name}_kernel", kernel))
        return x if bias is None else self.add("Add", x, self.constant(f"{name}_bias", bias))

    def convolution(self, x: str, name: str) -> str:
        kernel, bias = self.folded(f"{name}_conv", f"{name}_norm")
        kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))  # (out, in, time, mels)
        return self.add(
            "Conv",
            x,
            self.constant(f"{name}_kernel", kernel),
            self.constant(f"{name}_bias", bias),
            auto_pad="SAME_UPPER",  # as Keras pads
            strides=list(self.layers[f"{name}_conv"].strides),
        )

    def projection(self, x: str, name: str) -> str:
        """The dense layer over a frame's bins and channels, as a convolution over all its bins.

        It spares the copy that laying them out in Keras' order would cost. (n, c, t, m) -> (n,
        units, t, 1)
        """
        kernel, bias = self.folded(name, f"{name}_norm")  # rows in Keras' order: bin, channel
        channels = self.layers[name].input.shape[-1] // self.mels_left
        kernel = kernel.reshape(self.mels_left, channels, -1).transpose(2, 1, 0)[:, :, None]
        return self.add(
            "Conv",
            x,
            self.constant(f"{name}_kernel", np.ascontiguousarray(kernel)),
            self.constant(f"{name}_bias", bias),
        )

    def bidirectional_gru(self, x: str, name: str) -> str:
        """(t, n, in) -> (n, t, 2 * units). Keras' order of the gates (z, r, h) is ONNX's."""
        layer = self.layers[name]
        directions = (layer.forward_layer, layer.backward_layer)
        each = [[np.asarray(w, np.float32) for w in one.get_weights()] for one in directions]
        kernels, recurrent, biases = zip(*each, strict=True)
        y = self.add(
            "GRU",
            x,
            self.constant(f"{name}_w", np.stack([kernel.T for kernel in kernels])),
            self.constant(f"{name}_r", np.stack([kernel.T for kernel in recurrent])),
            self.constant(f"{name}_b", np.stack([bias.reshape(-1) for bias in biases])),
            hidden_size=layer.forward_layer.units,
            direction="bidirectional",
            linear_before_reset=1,
        )  # (t, 2, n, units)
        y = self.add("Transpose", y, perm=[2, 0, 1, 3])
        return self.add("Reshape", y, self.constant(f"{name}_shape", np.array([0, 0, -1])))

    def attentive_statistics(self, rows: str) -> str:
        def mean_over_time(values: str) -> str:
            return self.add("ReduceMean", values, axes=[1], keepdims=1)

        plain = self.add("Concat", *self._moments(rows, mean_over_time), axis=2)
        hidden = self.dense(rows, "attention_rows", *self.weights("attention_rows"))
        context = self.dense(plain, "attention_context", *self.weights("attention_context"))
        hidden = self.add("Tanh", self.add("Add", hidden, context))
        logits = self.dense(hidden, "attention_logits", *self.weights("attention_logits"))
        attention = self.add("Softmax", logits, axis=1)
        axis = self.constant("time_axis", np.array([1]))

        def weighted(values: str) -> str:
            return self.add("ReduceSum", self.add("Mul", values, attention), axis, keepdims=1)

        pooled = self.add("Concat", *self._moments(rows, weighted), axis=2)
        return self.add("Squeeze", pooled, axis)

    def _moments(self, rows: str, average) -> tuple[str, str]:
        mean = average(rows)
        difference = self.add("Sub", rows, mean)
        variance = average(self.add("Mul", difference, difference))
        floor = self.constant(f"floor_{len(self.nodes)}", np.float32(1e-5))
        return mean, self.add("Sqrt", self.add("Add", variance, floor))
