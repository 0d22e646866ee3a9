"""Reads TensorFlow Lite files: operators in order, constants as dense arrays. Does not depend on ONNX."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from flatbuffers import flexbuffers

FILE_IDENTIFIER = b"TFL3"
# Tensor types that mediapipe's models use
DTYPES: Mapping[int, np.dtype] = {
    tflite.TensorType.FLOAT32: np.dtype(np.float32),
    tflite.TensorType.FLOAT16: np.dtype(np.float16),
    tflite.TensorType.INT32: np.dtype(np.int32),
}
OPERATOR_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
FOLDED_OPERATORS = ("DEQUANTIZE", "DENSIFY")  # these only unpack constants, which reading does


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph; `data` has the values of a constant, and is None for a computed tensor."""

    name: str
    shape: tuple[int, ...]
    data: np.ndarray | None = None


@dataclass(frozen=True)
class Operator:
    """One operator; `options` is its TensorFlow Lite options table, or a dict for a custom operator."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Any


@dataclass(frozen=True)
class TfliteGraph:
    """The first subgraph of a file, operators in an order in which they can run."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


def read_tflite(content: bytes) -> TfliteGraph:
    """Read a TensorFlow Lite model; half precision and sparse constants become dense float32.

    Raises:
        ValueError: The content is not a TensorFlow Lite model, or contains an unknown tensor type.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise ValueError(f"model: expected a TensorFlow Lite file, got one that starts with {content[:8]!r}")
    try:
        model = tflite.Model.GetRootAsModel(content, 0)
        return _read_graph(model, model.Subgraphs(0))
    except (struct.error, IndexError, TypeError, AttributeError) as error:
        # flatbuffers checks nothing: a damaged file raises any of these
        raise ValueError(f"model: expected a whole TensorFlow Lite file, got a damaged one ({error})") from error


def keep_needed(graph: TfliteGraph, output_names: Sequence[str]) -> TfliteGraph:
    """Reduce a graph to the operators that are needed to compute some tensors, which become its outputs.

    Args:
        graph: The graph.
        output_names: Names of these tensors.

    Raises:
        ValueError: No operator computes one of the names.
    """
    computed = {tensor.name: tensor for operator in graph.operators for tensor in operator.outputs}
    for name in output_names:
        if name not in computed:
            raise ValueError(f"output: expected a tensor that the graph computes, got {name!r}")
    needed = set(output_names)
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if needed.intersection(tensor.name for tensor in operator.outputs):
            needed.update(tensor.name for tensor in operator.inputs)
            kept.append(operator)
    outputs = tuple(computed[name] for name in output_names)
    return TfliteGraph(graph.inputs, outputs, tuple(reversed(kept)))


def options_of(operator: Operator, table: type[Any]) -> Any:
    """Read an operator's options as the given table of the `tflite` package."""
    options = table()
    options.Init(operator.options.Bytes, operator.options.Pos)
    return options


def _read_graph(model: Any, subgraph: Any) -> TfliteGraph:
    tensors = [_read_tensor(model, subgraph.Tensors(index)) for index in range(subgraph.TensorsLength())]
    operators: list[Operator] = []
    for position in range(subgraph.OperatorsLength()):
        raw = subgraph.Operators(position)
        kind = _kind(model.OperatorCodes(raw.OpcodeIndex()))
        inputs, outputs = _indices(raw, "Inputs"), _indices(raw, "Outputs")
        source = tensors[inputs[0]]
        if kind in FOLDED_OPERATORS and source.data is not None:
            target = tensors[outputs[0]]
            tensors[outputs[0]] = Tensor(target.name, target.shape, source.data.astype(np.float32))
            continue
        operators.append(Operator(kind, _pick(tensors, inputs), _pick(tensors, outputs), _raw_options(raw, kind)))
    return TfliteGraph(
        _pick(tensors, _indices(subgraph, "Inputs")),
        _pick(tensors, _indices(subgraph, "Outputs")),
        tuple(operators),
    )


def _pick(tensors: Sequence[Tensor], indices: Iterable[int]) -> tuple[Tensor, ...]:
    return tuple(tensors[index] for index in indices)


def _indices(table: Any, field: str) -> list[int]:
    count = getattr(table, f"{field}Length")()
    return [int(getattr(table, field)(position)) for position in range(count)]


def _kind(code: Any) -> str:
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # older files set only the second
    if builtin == tflite.BuiltinOperator.CUSTOM:
        return str(code.CustomCode().decode())
    return OPERATOR_NAMES.get(builtin, f"operator {builtin}")


def _raw_options(raw: Any, kind: str) -> Any:
    if kind in OPERATOR_NAMES.values():
        return raw.BuiltinOptions()
    packed = bytes(raw.CustomOptions(position) for position in range(raw.CustomOptionsLength()))
    return flexbuffers.Loads(packed) if packed else {}


def _read_tensor(model: Any, raw: Any) -> Tensor:
    name = raw.Name().decode()
    shape = tuple(int(raw.Shape(axis)) for axis in range(raw.ShapeLength()))
    buffer = model.Buffers(raw.Buffer())
    if not buffer.DataLength():
        return Tensor(name, shape)
    if raw.Type() not in DTYPES:
        raise ValueError(f"{name}: expected float32, float16 or int32, got TensorFlow Lite type {raw.Type()}")
    values = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[raw.Type()])
    sparsity = raw.Sparsity()
    dense = values.reshape(shape) if sparsity is None else _densify(values, shape, sparsity, name)
    return Tensor(name, shape, dense)


def _densify(values: np.ndarray, shape: tuple[int, ...], sparsity: Any, name: str) -> np.ndarray:
    """Expand a constant in TensorFlow Lite's sparse format; values that are not stored are zero.

    Each level of the format is one axis: a dense level multiplies the cells, a compressed one (segments and indices, as
    in CSR matrices) keeps the listed positions only.
    """
    order = [int(sparsity.TraversalOrder(level)) for level in range(sparsity.TraversalOrderLength())]
    if sparsity.BlockMapLength() or order != list(range(len(shape))):
        raise ValueError(f"{name}: expected a sparse constant without blocks, in axis order, got {order}")
    cells = np.zeros(1, np.int64)  # flat index of each cell that the previous levels keep
    for level, size in enumerate(shape):
        level_format = sparsity.DimMetadata(level)
        if level_format.Format() == tflite.DimensionType.DENSE:
            parents, positions = np.repeat(cells, size), np.tile(np.arange(size), len(cells))
        else:
            segments = _sparse_index(level_format.ArraySegments(), level_format.ArraySegmentsType())
            parents = np.repeat(cells, np.diff(segments))
            positions = _sparse_index(level_format.ArrayIndices(), level_format.ArrayIndicesType())
        cells = parents * size + positions
    dense = np.zeros(int(np.prod(shape)), values.dtype)
    dense[cells] = values[: len(cells)]
    return dense.reshape(shape)


def _sparse_index(union: Any, kind: int) -> np.ndarray:
    tables = {
        tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
        tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
        tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
    }
    vector = tables[kind]()
    vector.Init(union.Bytes, union.Pos)
    return np.array([vector.Values(position) for position in range(vector.ValuesLength())], np.int64)
