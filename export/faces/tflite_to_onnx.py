"""Converts TensorFlow Lite operators to ONNX, with images in NCHW instead of NHWC and with a free batch axis.

All tensors of four axes are NCHW; tensors of other ranks keep their layout. The files were made for a batch of one:
their leading 1 becomes the batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tflite
from onnx import TensorProto

from export.faces.onnx_writer import OnnxWriter
from export.faces.tflite_graph import Operator, Tensor, TfliteGraph, options_of

Values = dict[str, str]  # TensorFlow Lite tensor name -> ONNX value name
Converter = Callable[[OnnxWriter, Operator, Values], str]

NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)
IMAGE_AXES = (0, 2, 3, 1)  # position of each NHWC axis in NCHW
ACTIVATIONS = {tflite.ActivationFunctionType.NONE: "", tflite.ActivationFunctionType.RELU: "Relu"}


def write_graph(
    writer: OnnxWriter, graph: TfliteGraph, images: str, converters: Mapping[str, Converter] | None = None
) -> Values:
    """Append a whole graph to an ONNX model under construction.

    Args:
        writer: Receives the nodes.
        graph: Operators in order; its only input is a batch of images.
        images: Name of the ONNX value for that input, float32 NCHW.
        converters: Converters of custom operators by name, in addition to the standard ones of this file.

    Returns:
        Name of the ONNX value of every computed tensor, by TensorFlow Lite name; those of four axes are NCHW.

    Raises:
        ValueError: An operator, or a form of it, is unknown here.
    """
    known = {**STANDARD_CONVERTERS, **(converters or {})}
    values: Values = {graph.inputs[0].name: images}
    for operator in graph.operators:
        if operator.kind not in known:
            raise ValueError(
                f"operator: expected one of {', '.join(sorted(known))}, got {operator.kind}."
                " Add it to export/faces/tflite_to_onnx.py"
            )
        values[operator.outputs[0].name] = known[operator.kind](writer, operator, values)
    return values


def value_of(writer: OnnxWriter, tensor: Tensor, values: Values, rank: int | None = None) -> str:
    """Return the name of a tensor's ONNX value; a constant is added first, as NCHW if it meets images (rank 4)."""
    if tensor.data is None:
        return values[tensor.name]
    data = tensor.data
    if rank == len(NHWC_TO_NCHW):
        data = data.reshape((1,) * (rank - data.ndim) + data.shape).transpose(NHWC_TO_NCHW)
    return writer.constant(data)


def _activated(writer: OnnxWriter, value: str, operator: Operator, code: int) -> str:
    if code not in ACTIVATIONS:
        raise ValueError(f"{operator.kind}: expected no fused activation or RELU, got code {code}")
    return writer.add(ACTIVATIONS[code], value) if ACTIVATIONS[code] else value


def _same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Count the zeros before and after an axis so that it shrinks by the stride only; an odd one is after it."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pads(operator: Operator, padding: int, kernel: tuple[int, int], strides: tuple[int, int]) -> list[int]:
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    sizes = operator.inputs[0].shape[1:3]
    before, after = zip(*map(_same_pads, sizes, kernel, strides), strict=True)
    return [*before, *after]


def _convolution(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    options = options_of(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
    image, weight, bias = operator.inputs
    if weight.data is None or bias.data is None:
        raise ValueError(f"{operator.kind}: expected constant weights, got computed ones for {image.name}")
    # Depthwise weights are [1, h, w, channels], others [out, h, w, in]
    kernel = weight.data.transpose((3, 0, 1, 2) if depthwise else NHWC_TO_NCHW)
    strides = (options.StrideH(), options.StrideW())
    if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
        raise ValueError(f"{operator.kind}: expected no dilation, got one for {image.name}")
    size = (kernel.shape[2], kernel.shape[3])
    value = writer.add(
        "Conv",
        values[image.name],
        writer.constant(kernel),
        writer.constant(bias.data),
        kernel_shape=size,
        strides=strides,
        pads=_pads(operator, options.Padding(), size, strides),
        group=kernel.shape[0] if depthwise else 1,
    )
    return _activated(writer, value, operator, options.FusedActivationFunction())


def _max_pool(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    options = options_of(operator, tflite.Pool2DOptions)
    kernel = (options.FilterHeight(), options.FilterWidth())
    strides = (options.StrideH(), options.StrideW())
    pads = _pads(operator, options.Padding(), kernel, strides)
    value = writer.add("MaxPool", values[operator.inputs[0].name], kernel_shape=kernel, strides=strides, pads=pads)
    return _activated(writer, value, operator, options.FusedActivationFunction())


def _elementwise(op_type: str, table: type) -> Converter:
    def convert(writer: OnnxWriter, operator: Operator, values: Values) -> str:
        rank = len(operator.outputs[0].shape)
        operands = (value_of(writer, tensor, values, rank) for tensor in operator.inputs)
        value = writer.add(op_type, *operands)
        return _activated(writer, value, operator, options_of(operator, table).FusedActivationFunction())

    return convert


def _prelu(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    """Write PReLU as slope * x + (1 - slope) * relu(x), with which ONNX Runtime runs the network 3.3 times as fast.

    The operator PRelu forces ONNX Runtime out of its blocked image layout, and its kernel takes longer than all
    convolutions together.
    """
    image, slope = operator.inputs
    if slope.data is None:
        raise ValueError(f"PRELU: expected a constant slope, got a computed one for {image.name}")
    value, factor = values[image.name], slope.data.reshape(-1, 1, 1)
    positive = writer.add("Mul", writer.add("Relu", value), writer.constant(1 - factor))
    return writer.add("Add", writer.add("Mul", value, writer.constant(factor)), positive)


def _relu(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    return writer.add("Relu", values[operator.inputs[0].name])


def _pad(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    image, amounts = operator.inputs
    if amounts.data is None or amounts.data.shape != (len(NHWC_TO_NCHW), 2):
        raise ValueError(f"PAD: expected constant amounts for an image, got {amounts.shape} for {image.name}")
    before_and_after = amounts.data[list(NHWC_TO_NCHW)].T.ravel()
    return writer.add("Pad", values[image.name], writer.shape(*before_and_after))


def _reshape(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    source, shape = operator.inputs[0], operator.outputs[0].shape
    if len(shape) == len(NHWC_TO_NCHW) or shape[0] != 1:
        raise ValueError(f"RESHAPE: expected a flat shape that keeps the batch of 1, got {shape}")
    value = values[source.name]
    if len(source.shape) == len(NHWC_TO_NCHW):
        value = writer.add("Transpose", value, perm=NCHW_TO_NHWC)
    return writer.add("Reshape", value, writer.shape(0, *shape[1:]))


def _concatenation(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    options = options_of(operator, tflite.ConcatenationOptions)
    rank = len(operator.outputs[0].shape)
    axis = options.Axis() % rank
    parts = (value_of(writer, tensor, values, rank) for tensor in operator.inputs)
    value = writer.add("Concat", *parts, axis=IMAGE_AXES[axis] if rank == len(IMAGE_AXES) else axis)
    return _activated(writer, value, operator, options.FusedActivationFunction())


def _resize_bilinear(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    options = options_of(operator, tflite.ResizeBilinearOptions)
    source, target = operator.inputs[0].shape, operator.outputs[0].shape
    scales = [1.0, 1.0, target[1] / source[1], target[2] / source[2]]
    mode = "half_pixel" if options.HalfPixelCenters() else "asymmetric"
    if options.AlignCorners():
        mode = "align_corners"
    return writer.add(
        "Resize",
        values[operator.inputs[0].name],
        "",
        writer.constant(scales),
        mode="linear",
        coordinate_transformation_mode=mode,
    )


def _depth_to_space(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    block = options_of(operator, tflite.DepthToSpaceOptions).BlockSize()
    return writer.add("DepthToSpace", values[operator.inputs[0].name], blocksize=block, mode="DCR")


STANDARD_CONVERTERS: Mapping[str, Converter] = {
    "ADD": _elementwise("Add", tflite.AddOptions),
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEPTH_TO_SPACE": _depth_to_space,
    "MAX_POOL_2D": _max_pool,
    "MUL": _elementwise("Mul", tflite.MulOptions),
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _relu,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize_bilinear,
}


def normalised_images(writer: OnnxWriter, images: str, scale: float, offset: float) -> str:
    """Convert uint8 NHWC images to float32 NCHW, value * scale + offset.

    The cast is first, as TensorRT accepts uint8 inputs in no other operator.

    Args:
        writer: Receives the nodes.
        images: Name of a value, uint8 [N, H, W, C].
        scale: Factor.
        offset: Summand.

    Returns:
        Name of a value, float32 [N, C, H, W].
    """
    floats = writer.add("Cast", images, to=TensorProto.FLOAT)
    turned = writer.add("Transpose", floats, perm=NHWC_TO_NCHW)
    scaled = writer.add("Mul", turned, writer.constant(scale))
    return writer.add("Add", scaled, writer.constant(offset)) if offset else scaled
