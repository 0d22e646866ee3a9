"""Mediapipe's face networks: their files in its wheel, pinned by hash, and their conversion to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from export.faces.attention import ATTENTION_CONVERTERS, lip_indices, refine_lips
from export.faces.onnx_writer import OnnxWriter
from export.faces.tflite_graph import keep_needed, read_tflite
from export.faces.tflite_to_onnx import normalised_images, write_graph
from export.shared.wheel import PinnedWheel, read_members
from export.shared.wheel_command import WheelLicence

MEDIAPIPE = PinnedWheel(
    requirement="mediapipe==0.10.21",
    file_name="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    python_version="3.11",
    platform="manylinux_2_28_x86_64",
)
LICENCE = WheelLicence(
    line="licence: Apache-2.0, MediaPipe 0.10.21, The MediaPipe Authors",
    member="mediapipe-0.10.21.dist-info/LICENSE",
    sha256="8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    file_name="LICENSE.mediapipe",
)

MESH_POINTS = 468
CENTRED = (2 / 255, -1.0)  # bytes to -1 to 1
UNIT = (1 / 255, 0.0)  # bytes to 0 to 1


@dataclass(frozen=True)
class TfliteNetwork:
    """One of mediapipe's networks.

    Attributes:
        member: Path of its .tflite file in the wheel.
        sha256: Hash of that file.
        size: Edge length of the input image, in pixels.
        scale_offset: Factor and summand that turn bytes into the values that the network takes.
        outputs: Name of an output in config.pbtxt -> name of the tensor in the file, and dims without the batch axis.
        lips: Name of the tensor with the refined lips, or "" where there is none.
    """

    member: str
    sha256: str
    size: int
    scale_offset: tuple[float, float]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    lips: str = ""


SHORT_RANGE_DETECTOR = TfliteNetwork(
    member="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    size=128,
    scale_offset=CENTRED,
    outputs={"regressors": ("regressors", (896, 16)), "logits": ("classificators", (896,))},
)
ATTENTION_LANDMARKS = TfliteNetwork(
    member="mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
    sha256="e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    size=192,
    scale_offset=UNIT,
    outputs={"landmarks": ("output_mesh", (MESH_POINTS, 3)), "presence_logits": ("conv_faceflag", (1,))},
    lips="transform_landmarks_v2",
)

SERVED: Mapping[str, TfliteNetwork] = {"face_detector": SHORT_RANGE_DETECTOR, "face_landmarks": ATTENTION_LANDMARKS}


def convert(content: bytes, network: TfliteNetwork) -> onnx.ModelProto:
    """Convert one of mediapipe's .tflite files to a checked ONNX model with a free batch axis.

    The model takes `images`, uint8 RGB [N, size, size, 3], and scales them itself. A detector's outputs stay raw, as
    only the few above the threshold are decoded; landmarks are in pixels of the image.

    Args:
        content: The .tflite file.
        network: The network that it holds.

    Raises:
        ValueError: The content is not a TensorFlow Lite file, or contains an unknown operator.
    """
    graph = read_tflite(content)
    wanted = [tensor for tensor, _ in network.outputs.values()] + ([network.lips] if network.lips else [])
    writer = OnnxWriter()
    images = writer.declare_input("images", np.dtype(np.uint8), (network.size, network.size, 3))
    floats = normalised_images(writer, images, *network.scale_offset)
    values = write_graph(writer, keep_needed(graph, wanted), floats, ATTENTION_CONVERTERS)
    for name, (tensor, dims) in network.outputs.items():
        value = writer.add("Reshape", values[tensor], writer.shape(0, *dims))
        if network.lips and name == "landmarks":
            value = refine_lips(writer, value, values[network.lips], lip_indices(graph, network.lips), MESH_POINTS)
        writer.declare_output(value, name, np.dtype(np.float32), dims)
    title = Path(network.member).stem
    return writer.build(title, f"{title} of {MEDIAPIPE.requirement}; {LICENCE.line}")


def convert_from_wheel(wheel: Path, networks: Sequence[TfliteNetwork]) -> list[onnx.ModelProto]:
    """Convert networks from the wheel to ONNX; the hash of each file is checked.

    Args:
        wheel: Path of mediapipe's wheel.
        networks: Networks to convert.

    Raises:
        ValueError: A file is missing, is not the pinned one, or cannot be converted.
    """
    contents = read_members(wheel, {network.member: network.sha256 for network in networks})
    return [convert(contents[network.member], network) for network in networks]
