"""Silero's voice activity network: its ONNX file in its wheel, pinned by hash, and the graph around it.

The wheel is never installed, as it requires torch. Its network for many windows per call takes windows that overlap;
the model that we serve takes audio of any length and cuts the windows itself. Sizes are those that the wheel's own
silero_vad/sequence_vad.py feeds to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

from export.shared.wheel import PinnedWheel, read_members
from export.shared.wheel_command import WheelLicence

SILERO_VAD = PinnedWheel(
    requirement="silero-vad==6.2.3",
    file_name="silero_vad-6.2.3-py3-none-any.whl",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    python_version="3.11",
    platform="any",
)
LICENCE = WheelLicence(
    line="licence: MIT, silero-vad 6.2.3, Silero Team",
    member="silero_vad-6.2.3.dist-info/licenses/LICENSE",
    sha256="2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
    file_name="LICENSE.silero-vad",
)
SERVED = "voice_activity"
NETWORK_MEMBER = "silero_vad/data/silero_vad_16k_sequence.onnx"
NETWORK_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"

WINDOW = 512  # samples at 16 kHz, 32 ms
CONTEXT = 64  # samples before each window that the network sees, too
STATE = 128  # numbers in each of the two states of the recurrent layer


def read_from_wheel(wheel: Path) -> onnx.ModelProto:
    """Read the network from the wheel, with the graph that cuts audio into its windows.

    Raises:
        ValueError: The file is missing, or is not the pinned one.
    """
    content = read_members(wheel, {NETWORK_MEMBER: NETWORK_SHA256})[NETWORK_MEMBER]
    return with_windows(onnx.load_from_string(content))


def with_windows(network: onnx.ModelProto) -> onnx.ModelProto:
    """Let a network of overlapping windows take audio.

    Args:
        network: `input` float32 [T, 576], `h` and `c` float32 [1, 1, 128] -> `speech_probs` float32 [T], `hn`, `cn`.

    Returns:
        `audio` float32 [S], `context` float32 [64], `state` float32 [2, 128] -> `speech_probs` float32 [T], one for
        each 512 samples begun, `next_context`, `next_state`. The last window is filled up with zeros.
    """
    constants = [
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in {
            "zero": [0],
            "one": [1],
            "last": [-1],
            "end": [np.iinfo(np.int64).max],
            "window": [WINDOW],
            "tail": [WINDOW - CONTEXT],
            "windows_shape": [-1, WINDOW],
            "context_shape": [CONTEXT],
            "layer_shape": [1, 1, STATE],
            "state_shape": [2, STATE],
        }.items()
    ]
    before = [
        # -S modulo 512 samples are missing
        helper.make_node("Shape", ["audio"], ["length"]),
        helper.make_node("Neg", ["length"], ["negative_length"]),
        helper.make_node("Mod", ["negative_length", "window"], ["missing"]),
        helper.make_node("Concat", ["zero", "missing"], ["padding"], axis=0),
        helper.make_node("Pad", ["audio", "padding"], ["padded"]),
        helper.make_node("Reshape", ["padded", "windows_shape"], ["windows"]),
        # Each window sees the end of the one before
        helper.make_node("Slice", ["windows", "tail", "end", "one"], ["tails"]),
        helper.make_node("Slice", ["tails", "zero", "last", "zero"], ["earlier_tails"]),
        helper.make_node("Unsqueeze", ["context", "zero"], ["first_context"]),
        helper.make_node("Concat", ["first_context", "earlier_tails"], ["contexts"], axis=0),
        helper.make_node("Concat", ["contexts", "windows"], ["input"], axis=1),
        helper.make_node("Split", ["state"], ["hidden", "cell"], axis=0),
        helper.make_node("Reshape", ["hidden", "layer_shape"], ["h"]),
        helper.make_node("Reshape", ["cell", "layer_shape"], ["c"]),
    ]
    after = [
        helper.make_node("Slice", ["tails", "last", "end", "zero"], ["last_tail"]),
        helper.make_node("Reshape", ["last_tail", "context_shape"], ["next_context"]),
        helper.make_node("Concat", ["hn", "cn"], ["layers"], axis=0),
        helper.make_node("Reshape", ["layers", "state_shape"], ["next_state"]),
    ]
    inputs = [_floats("audio", "samples"), _floats("context", CONTEXT), _floats("state", 2, STATE)]
    outputs = [_floats("speech_probs", "count"), _floats("next_context", CONTEXT), _floats("next_state", 2, STATE)]
    graph = helper.make_graph(
        [*before, *network.graph.node, *after],
        SERVED,
        inputs,
        outputs,
        [*constants, *network.graph.initializer],
    )
    model = helper.make_model(
        graph,
        opset_imports=network.opset_import,
        ir_version=network.ir_version,
        producer_name="lipsync export",
        doc_string=f"{Path(NETWORK_MEMBER).stem} of {SILERO_VAD.requirement}; {LICENCE.line}",
    )
    checker.check_model(model, full_check=True)
    return model


def _floats(name: str, *dims: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
