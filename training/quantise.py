"""The exported graph in 8-bit integers, for the quick half of it: convolutions and what joins them.

Static quantisation (Jacob et al. 2018) with ONNX Runtime's tool: activations unsigned, kernels
signed and scaled by channel, ranges taken from degraded training windows. The first convolution,
whose input of 256 levels would cost more than all behind it, the recurrent layer, which has no
8-bit kernel, the pooling and the head stay in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

BATCH = 16


def quantise(graph: bytes, windows: np.ndarray) -> bytes:
    """Gives the graph in 8 bits, with the same input and output.

    Args:
        graph: an ONNX file whose input is `log_mel`.
        windows: (windows, frames, n_mels), such as the network will hear.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        plain.write_bytes(graph)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        kept = _name_what_stays(prepared)
        quantize_static(
            prepared,
            small,
            _Windows(windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu", "Add"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=kept,
        )
        return small.read_bytes()


def _name_what_stays(path: Path) -> list[str]:
    """Names all nodes of a graph, and gives the first convolution and those from the GRU on."""
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    onnx.save(model, path)
    operators = [node.op_type for node in model.graph.node]
    stays = {operators.index("Conv"), *range(operators.index("GRU"), len(operators))}
    return [model.graph.node[number].name for number in sorted(stays)]


class _Windows(CalibrationDataReader):
    def __init__(self, windows: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(
            windows[first : first + BATCH].astype(np.float32)
            for first in range(0, len(windows), BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"log_mel": batch}
