"""Makes `mouth_cover`, which tells covered mouths, from the landmark network's own features of the lips.

The network looks at the lips with a small head. The last features of this head before it turns to positions, 128 x 2 x
2, differ where no lips are seen: a logistic regression on them is the judgement. Its coefficients lie beside this file
with their licence, mouth_cover.LICENSE.md; docs/specs/face.md, "Covered mouths", has its errors.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from export.faces.mediapipe import ATTENTION_LANDMARKS, LICENCE, MEDIAPIPE
from export.faces.onnx_writer import OnnxWriter
from export.faces.tflite_graph import Operator, TfliteGraph, keep_needed, read_tflite
from export.faces.tflite_to_onnx import Values, normalised_images, write_graph
from export.shared.wheel import read_members
from lipsync_core.mouth import MOUTH_PLACES, MOUTH_WINDOW_SIZE

MODEL = "mouth_cover"
COEFFICIENTS = Path(__file__).with_name("mouth_cover.npz")  # weights float32 [512], bias float32 []
COEFFICIENTS_LICENCE = "cover_logits fitted on GRID (Cooke et al. 2006, doi:10.5281/zenodo.3625687), CC BY 4.0"
LIP_FEATURES = "p_re_lu_30"
SAMPLING = "TransformTensorBilinear"
PLACES = "places"


def convert_cover(content: bytes) -> onnx.ModelProto:
    """Convert the first layers of the landmark network and its lip head, with the judgement on top.

    The model takes `images`, uint8 RGB [N, 96, 96, 3], and `places`, float32 [N, 16, 16, 2], as `mouth_windows` gives
    them. It returns `cover_logits`, float32 [N, 1].

    Args:
        content: The .tflite file of the attention model.

    Raises:
        ValueError: The content is not that file.
    """
    graph = keep_needed(_without_matrices(read_tflite(content)), [LIP_FEATURES])
    writer = OnnxWriter()
    images = writer.declare_input("images", np.dtype(np.uint8), (MOUTH_WINDOW_SIZE, MOUTH_WINDOW_SIZE, 3))
    writer.declare_input(PLACES, np.dtype(np.float32), (MOUTH_PLACES, MOUTH_PLACES, 2))
    floats = normalised_images(writer, images, *ATTENTION_LANDMARKS.scale_offset)
    values = write_graph(writer, graph, floats, {SAMPLING: _sample_places})
    with np.load(COEFFICIENTS) as numbers:
        weights, bias = numbers["weights"], numbers["bias"]
    flat = writer.add("Reshape", values[LIP_FEATURES], writer.shape(0, len(weights)))
    product = writer.add("MatMul", flat, writer.constant(weights[:, None]))
    logits = writer.add("Add", product, writer.constant(bias[None]))
    writer.declare_output(logits, "cover_logits", np.dtype(np.float32), (1,))
    return writer.build(MODEL, f"lip head of {MEDIAPIPE.requirement}; {LICENCE.line}; {COEFFICIENTS_LICENCE}")


def cover_from_wheel(wheel: Path) -> onnx.ModelProto:
    """Convert the model from mediapipe's wheel; the file's hash is checked.

    Raises:
        ValueError: The file is missing or is not the pinned one.
    """
    network = ATTENTION_LANDMARKS
    return convert_cover(read_members(wheel, {network.member: network.sha256})[network.member])


def _without_matrices(graph: TfliteGraph) -> TfliteGraph:
    """Cut the sampling of features from the coarse mesh, so that it needs only the first layers."""
    operators = (
        replace(operator, inputs=operator.inputs[:1]) if operator.kind == SAMPLING else operator
        for operator in graph.operators
    )
    return replace(graph, operators=tuple(operators))


def _sample_places(writer: OnnxWriter, operator: Operator, values: Values) -> str:
    features = values[operator.inputs[0].name]
    return writer.add("GridSample", features, PLACES, mode="bilinear", padding_mode="border", align_corners=1)
