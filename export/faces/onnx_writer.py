"""Collects ONNX nodes and constants, and builds a checked model of them. Does not depend on TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

OPSET = 17  # GridSample needs 16; every operator used here has a TensorRT importer at 17
IR_VERSION = 8  # file format introduced with opset 17, so that runtimes of that age load it too
BATCH_AXIS = "batch"


class OnnxWriter:
    """An ONNX graph under construction; values are known by their names."""

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
        """Add a target shape for Reshape and return its name; 0 keeps an axis of the input, such as the batch."""
        return self.constant(dims, np.int64)

    def columns(self, value: str, first: int, last: int, axis: int) -> str:
        """Slice [first, last) along one axis."""
        bounds = (self.constant([number], np.int64) for number in (first, last, axis))
        return self.add("Slice", value, *bounds)

    def declare_input(self, name: str, dtype: np.dtype, dims: Sequence[int]) -> str:
        """Add a graph input of shape [batch, *dims]."""
        self._inputs.append(_value_info(name, dtype, dims))
        return name

    def declare_output(self, value: str, name: str, dtype: np.dtype, dims: Sequence[int]) -> None:
        """Make a computed value of shape [batch, *dims] the graph output `name`."""
        self.add("Identity", value, name=name)
        self._outputs.append(_value_info(name, dtype, dims))

    def build(self, name: str, description: str) -> onnx.ModelProto:
        """Build a model of the graph that has passed ONNX's full check, including shape inference."""
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
