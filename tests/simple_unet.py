"""A UNet of a few operators in place of LatentSync's, whose export takes minutes: for tests of what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lipsync_core.config_file import read_contract
from lipsync_core.contract import TensorSpec
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER

OPSET, IR_VERSION = 17, 8
LATENT_CHANNELS = 4
TIMESTEP_SCALE = 1e-4


def write_simple_unets(repository: Path) -> None:
    """Write both of LatentSync's UNets into a repository: their noise depends on latents, speech and timestep."""
    noise = _noise()
    _write(repository / "latentsync_unet", [*noise, helper.make_node("Identity", ["noise_pred"], ["deep_features"])])
    _write(repository / "latentsync_unet_shallow", [helper.make_node("Identity", ["deep_features"], ["noise_pred"])])


def _noise() -> list[onnx.NodeProto]:
    """Return the nodes that compute noise_pred, float32 [B, branches, 4, F, h, w]."""
    return [
        helper.make_node("Slice", ["sample", "zero", "channels", "one"], ["latents"]),
        helper.make_node("ReduceMean", ["audio_tokens"], ["heard"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Unsqueeze", ["heard", "one"], ["loudness"]),
        helper.make_node("Add", ["latents", "loudness"], ["both"]),
        helper.make_node("Unsqueeze", ["both", "one"], ["one_branch"]),
        helper.make_node("Unsqueeze", ["timestep", "last_axes"], ["time"]),
        helper.make_node("Mul", ["time", "time_scale"], ["offset"]),
        helper.make_node("Add", ["offset", "unit"], ["factor"]),
        helper.make_node("Mul", ["one_branch", "factor"], ["noise_pred"]),
    ]


CONSTANTS = {
    "zero": np.array([0], np.int64),
    "one": np.array([1], np.int64),
    "channels": np.array([LATENT_CHANNELS], np.int64),
    "last_axes": np.array([2, 3, 4, 5], np.int64),
    "time_scale": np.array(TIMESTEP_SCALE, np.float32),
    "unit": np.array(1, np.float32),
}


def _write(model: Path, nodes: Sequence[onnx.NodeProto]) -> None:
    contract = read_contract(model)
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used]
    graph = helper.make_graph(
        list(nodes), model.name, _values(contract.inputs), _values(contract.outputs), initializer=constants
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    (model / VERSION_FOLDER).mkdir(exist_ok=True)
    onnx.save(made, str(model / VERSION_FOLDER / NETWORK_FILES["onnxruntime"]))


def _values(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
    """Describe tensors; free axes, the batch before the others included, have a name each."""
    return [
        helper.make_tensor_value_info(
            spec.name,
            TensorProto.FLOAT,
            [f"{spec.name}_{axis}" if size < 0 else size for axis, size in enumerate((-1, *spec.dims))],
        )
        for spec in specs
    ]
