"""Collects ONNX nodes and constants, and closes them into a checked model. Knows no TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

OPSET = 17  # GridSample needs 16; every operator used here has a TensorRT importer at 17
IR_VERSION = 8  # the file format that came with opset 17, so that runtimes of its age load it too
BATCH_AXIS = "batch"


class OnnxWriter:
    """An ONNX graph under construction: `add` appends a node and names its output."""

    def __init__(self) -> None:
        """Start with an empty graph."""
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def add(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node with one output and return that output's name."""
        output = name or f"{op_type}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"constant_{len(self._initializers)}"
        array = np.ascontiguousarray(np.asarray(values, dtype))
        self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def shape(self, *dims: int) -> str:
        """Add a target shape for Reshape; a 0 keeps the input's axis, such as the batch."""
        return self.constant(dims, np.int64)

    def columns(self, value: str, first: int, last: int, axis: int) -> str:
        """Cut [first, last) out of one axis."""
        bounds = (self.constant([number], np.int64) for number in (first, last, axis))
        return self.add("Slice", value, *bounds)

    def declare_input(self, name: str, dtype: np.dtype, dims: Sequence[int]) -> str:
        """Add a graph input of shape [batch, *dims]."""
        self._inputs.append(_value_info(name, dtype, dims))
        return name

    def declare_output(self, value: str, name: str, dtype: np.dtype, dims: Sequence[int]) -> None:
        """Give a computed value to the outside as output `name` of shape [batch, *dims]."""
        self.add("Identity", value, name=name)
        self._outputs.append(_value_info(name, dtype, dims))

    def build(self, name: str, description: str) -> onnx.ModelProto:
        """Close the graph into a model that has passed ONNX's full check, shape inference included."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lipsync export",
            doc_string=description,
        )
        checker.check_model(model, full_check=True)
        return model


def _value_info(name: str, dtype: np.dtype, dims: Sequence[int]) -> onnx.ValueInfoProto:
    element_type = TensorProto.UINT8 if dtype == np.uint8 else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, element_type, [BATCH_AXIS, *dims])
