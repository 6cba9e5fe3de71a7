"""An ONNX graph, node by node: what the network's writer and the speech detector's share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Shape = Sequence[int | str]


class GraphWriter:
    """Collects nodes and their constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def model(
        self, name: str, inputs: dict[str, Shape], outputs: dict[str, Shape]
    ) -> onnx.ModelProto:
        """The whole, checked; inputs and outputs are float32 of the shapes given."""
        given, found = (
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in each]
            for each in (inputs.items(), outputs.items())
        )
        graph = helper.make_graph(self.nodes, name, given, found, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 9
        onnx.checker.check_model(model, full_check=True)
        return model
