"""Converts the attention landmark model's custom operators to ONNX, and puts its refined lips into the mesh.

The model examines the mouth twice: it samples a rotated rectangle around the coarse lips from a feature map, and a
small head locates the lips in it. TensorRT has importers for all operators used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from export.faces.onnx_writer import OnnxWriter
from export.faces.tflite_graph import Operator, TfliteGraph
from export.faces.tflite_to_onnx import Converter, Values

X_COLUMN, Y_COLUMN, OFFSET_COLUMN = 0, 1, 3  # in the operators' 4x4 matrices; z stays as it is


def lip_indices(graph: TfliteGraph, lips: str) -> list[int]:
    """List the indices of the mesh points that the lip head refines, in its order, as stored in the file.

    Args:
        graph: The whole attention model.
        lips: Name of the tensor with the refined lips, [1, points, 2].

    Raises:
        ValueError: The graph does not compute the lips with the custom operators.
    """
    made_by = {tensor.name: operator for operator in graph.operators for tensor in operator.outputs}
    operator = made_by.get(lips)
    while operator is not None and operator.kind != "Landmarks2TransformMatrix":
        operator = made_by.get(operator.inputs[1 if operator.kind == "TransformLandmarks" else 0].name)
    if operator is None:
        raise ValueError(f"{lips}: expected a tensor made by Landmarks2TransformMatrix, got none")
    return [int(index) for index in operator.options["subset_idxs"]]


def refine_lips(writer: OnnxWriter, mesh: str, lips: str, indices: Sequence[int], points: int) -> str:
    """Replace x and y of the mesh's lip points by the refined ones; z stays.

    Args:
        writer: Receives the nodes.
        mesh: Name of a value, float32 [N, points, 3].
        lips: Name of a value, float32 [N, len(indices), 2], in the units of the mesh.
        indices: Index of the mesh point of each lip point.
        points: Number of points of the mesh.

    Returns:
        Name of the refined mesh's value, float32 [N, points, 3].
    """
    source = np.arange(points)
    source[list(indices)] = points + np.arange(len(indices))
    coarse = writer.columns(mesh, 0, 2, axis=2)
    both = writer.add("Concat", coarse, lips, axis=1)
    refined = writer.add("Gather", both, writer.constant(source, np.int64), axis=1)
    return writer.add("Concat", refined, writer.columns(mesh, 2, 3, axis=2), axis=2)


def _landmarks_to_matrix(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    """Compute the matrix from the output grid to the rotated rectangle around some landmarks, [N, 4, 4]."""
    options = operator.options
    if options["target_rotation_radians"] != 0:
        raise ValueError(f"{operator.kind}: expected no target rotation, got {options['target_rotation_radians']}")
    grid = np.array([options["output_width"], options["output_height"]], np.float32)
    scale = np.array([options["scale_x"], options["scale_y"]], np.float32) / grid
    landmarks = writer.columns(values[operator.inputs[0].name], 0, 2, axis=2)
    rotation = _rotation(writer, landmarks, options["left_rotation_idx"], options["right_rotation_idx"])

    indices = writer.constant(options["subset_idxs"], np.int64)
    subset = writer.add("Gather", landmarks, indices, axis=1)
    upright = writer.add("MatMul", subset, rotation)  # rows times R rotate each point back
    low = writer.add("ReduceMin", upright, axes=[1], keepdims=1)
    high = writer.add("ReduceMax", upright, axes=[1], keepdims=1)
    size = writer.add("Mul", writer.add("Sub", high, low), writer.constant(scale))
    middle = writer.add("Mul", writer.add("Add", high, low), writer.constant(0.5))

    # offset = R * (middle - size * grid / 2), linear part = R * diag(size)
    corner = writer.add("Sub", middle, writer.add("Mul", size, writer.constant(grid / 2)))
    offset = writer.add("MatMul", rotation, writer.add("Transpose", corner, perm=(0, 2, 1)))
    linear = writer.add("Mul", rotation, size)
    unused = writer.add("Mul", offset, writer.constant(0.0))
    rows = writer.add("Concat", linear, unused, offset, axis=2)
    return writer.add("Pad", rows, writer.shape(0, 0, 0, 0, 2, 0))


def _rotation(writer: OnnxWriter, landmarks: str, left: int, right: int) -> str:
    """Compute the rotation of the x axis to the direction from one landmark to another, [N, 2, 2]."""
    start = writer.columns(landmarks, left, left + 1, axis=1)
    along = writer.add("Sub", writer.columns(landmarks, right, right + 1, axis=1), start)
    # A face that is shrunk to a point has no direction: keep the division finite
    length = writer.add("Max", writer.add("ReduceL2", along, axes=[2], keepdims=1), writer.constant(1e-6))
    cos_sin = writer.add("Div", along, length)
    # The row (cos, sin) times this is (cos, -sin, sin, cos), the matrix row by row
    spread = writer.constant([[1, 0, 0, 1], [0, -1, 1, 0]])
    return writer.add("Reshape", writer.add("MatMul", cos_sin, spread), writer.shape(0, 2, 2))


def _linear_and_offset(writer: OnnxWriter, matrix: str) -> tuple[str, str]:
    """Take the parts of a 4x4 matrix that transform x and y of points in rows: [N, 2, 2] and [N, 1, 2]."""
    rows = writer.add("Transpose", writer.columns(matrix, 0, 2, axis=1), perm=(0, 2, 1))
    linear = writer.columns(rows, X_COLUMN, Y_COLUMN + 1, axis=1)
    return linear, writer.columns(rows, OFFSET_COLUMN, OFFSET_COLUMN + 1, axis=1)


def _sample_features(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    """Sample the rectangle of a matrix from a feature map, bilinearly; positions outside the map are zero."""
    features, matrix = operator.inputs
    height, width = operator.options["output_height"], operator.options["output_width"]
    _, map_height, map_width, _ = features.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    centres = np.stack([columns, rows], axis=-1).reshape(1, -1, 2) + 0.5
    linear, offset = _linear_and_offset(writer, values[matrix.name])
    turned = writer.add("MatMul", writer.constant(centres), linear)
    places = writer.add("Add", turned, writer.add("Sub", offset, writer.constant(0.5)))

    last = writer.constant([map_width - 1, map_height - 1])
    doubled = writer.add("Mul", writer.add("Div", places, last), writer.constant(2.0))
    centred = writer.add("Sub", doubled, writer.constant(1.0))  # -1 to 1 over the map, as GridSample takes it
    grid = writer.add("Reshape", centred, writer.shape(0, height, width, 2))
    # GridSample fades to zero across the border, but this operator stops at it: sample inside, then mask
    sampled = writer.add(
        "GridSample", values[features.name], grid, mode="bilinear", padding_mode="border", align_corners=1
    )
    distance = writer.add("ReduceMax", writer.add("Abs", grid), axes=[3], keepdims=0)
    inside = writer.add("LessOrEqual", distance, writer.constant(1.0))
    mask = writer.add("Unsqueeze", writer.add("Cast", inside, to=TensorProto.FLOAT), writer.constant([1], np.int64))
    return writer.add("Mul", sampled, mask)


def _transform_landmarks(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    landmarks, matrix = operator.inputs
    linear, offset = _linear_and_offset(writer, values[matrix.name])
    return writer.add("Add", writer.add("MatMul", values[landmarks.name], linear), offset)


ATTENTION_CONVERTERS: Mapping[str, Converter] = {
    "Landmarks2TransformMatrix": _landmarks_to_matrix,
    "TransformLandmarks": _transform_landmarks,
    "TransformTensorBilinear": _sample_features,
}
