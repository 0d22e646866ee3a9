"""Counts the work and memory traffic of a network from its ONNX file, for the roofline plot."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import shape_inference

from lipsync_core.contract import ModelContract
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER
from perf.load.results import Work

Shapes = Mapping[str, tuple[int, ...]]
SMALL_TENSOR = 64  # elements: smaller tensors hold sizes and axes, larger ones weights


def count_work(path: Path, item: Mapping[str, Sequence[int]]) -> Work:
    """Count the work of a network for one item, without running it and without reading its weights.

    Args:
        path: The file model.onnx; its external data may be missing.
        item: Dimensions of every input for one item, with the batch axis if the network has one.

    Raises:
        ValueError: a size is unknown.
    """
    network = onnx.load(path, load_external_data=False)
    weights = weight_bytes(network.graph)
    ends = {value.name for value in [*network.graph.input, *network.graph.output]}
    fix_inputs(network.graph, item)
    graph = fold_sizes(network).graph
    shapes = known_shapes(graph)
    flop = sum(COUNTERS[node.op_type](node, shapes) for node in graph.node if node.op_type in COUNTERS)
    moved = [value for value in [*graph.input, *graph.output] if value.name in ends]
    return Work(flop, weights, sum(math.prod(shape_of(value.name, shapes)) * element_bytes(value) for value in moved))


def served_work(repository: Path, contract: ModelContract, inputs: Mapping[str, np.ndarray]) -> Work | None:
    """Count the work of a served network; None for models without one, or if sizes are unknown.

    Args:
        repository: The model repository.
        contract: The model's contract.
        inputs: One item by input name, without the batch axis.
    """
    path = repository / contract.name / VERSION_FOLDER / NETWORK_FILES["onnxruntime"]
    if not path.is_file():
        return None
    batch = (1,) if contract.max_batch_size else ()
    try:
        return count_work(path, {name: (*batch, *array.shape) for name, array in inputs.items()})
    except Exception:  # noqa: BLE001  (a network that cannot be counted is measured anyway; ONNX has no base error)
        return None


def fix_inputs(graph: onnx.GraphProto, item: Mapping[str, Sequence[int]]) -> None:
    """Fix the dimensions of a graph's inputs, drop its other known sizes, and turn its weights into inputs."""
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, item[value.name], strict=True):
            dim.ClearField("dim_param")
            dim.dim_value = size
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    small = [tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL_TENSOR]
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > SMALL_TENSOR]
    graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in large
    )
    del graph.initializer[:]
    graph.initializer.extend(small)


def fold_sizes(network: onnx.ModelProto) -> onnx.ModelProto:
    """Infer all sizes from those of the inputs; ONNX Runtime folds those that the graph computes itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        folded = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return shape_inference.infer_shapes(onnx.load(folded), data_prop=True)


def known_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the known shapes by tensor; unknown dimensions are -1."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    return shapes


def shape_of(name: str, shapes: Shapes) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Raises:
        ValueError: it is not fully known.
    """
    shape = shapes.get(name)
    if shape is None or any(dim < 0 for dim in shape):
        raise ValueError(f"{name}: expected a known size, got {shape}")
    return shape


def convolution_flop(node: onnx.NodeProto, shapes: Shapes) -> float:
    """Count a convolution: each output value sums one filter, the channels of its group times the kernel."""
    filters = shape_of(node.input[1], shapes)
    return 2.0 * math.prod(shape_of(node.output[0], shapes)) * math.prod(filters[1:])


def transposed_convolution_flop(node: onnx.NodeProto, shapes: Shapes) -> float:
    """Count a transposed convolution: each input value feeds the output channels of its group times the kernel."""
    filters = shape_of(node.input[1], shapes)
    return 2.0 * math.prod(shape_of(node.input[0], shapes)) * math.prod(filters[1:])


def product_flop(node: onnx.NodeProto, shapes: Shapes) -> float:
    """Count a matrix product: each output value is a dot product."""
    left = shape_of(node.input[0], shapes)
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = left[0] if transposed else left[-1]
    return 2.0 * math.prod(shape_of(node.output[0], shapes)) * inner


COUNTERS: Mapping[str, Callable[[onnx.NodeProto, Shapes], float]] = {
    "Conv": convolution_flop,
    "ConvTranspose": transposed_convolution_flop,
    "MatMul": product_flop,
    "Gemm": product_flop,
}


def weight_bytes(graph: onnx.GraphProto) -> float:
    """Return the size of all weights, in bytes."""
    return float(
        sum(math.prod(tensor.dims) * item_size(tensor.data_type) for tensor in graph.initializer if tensor.dims)
    )


def element_bytes(value: onnx.ValueInfoProto) -> int:
    """Return the size of one element of a tensor, in bytes."""
    return item_size(value.type.tensor_type.elem_type)


def item_size(data_type: int) -> int:
    """Return the size of one element of an ONNX type, in bytes."""
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
