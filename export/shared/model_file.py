"""Writes ONNX models to the model repository, if they agree with config.pbtxt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from export.shared.files import describe_file, write_whole
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract, TensorSpec
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER

MODEL_FILE = NETWORK_FILES["onnxruntime"]


def model_path(repository: Path, model: str) -> Path:
    """Return the path at which Triton looks for a model's ONNX file."""
    return repository / model / VERSION_FOLDER / MODEL_FILE


def write_model(network: onnx.ModelProto, repository: Path, model: str) -> str:
    """Write an ONNX model to where Triton looks for it, if it agrees with the model's config.pbtxt.

    Args:
        network: ONNX model.
        repository: Model repository.
        model: Name of the model.

    Returns:
        A line with the file's size and SHA-256.

    Raises:
        ValueError: Inputs or outputs are not those of config.pbtxt.
    """
    check_contract(network, read_contract(repository / model))
    path = model_path(repository, model)
    write_whole(path, network.SerializeToString())
    return describe_file(path)


def holds_valid_model(repository: Path, model: str) -> bool:
    """Check whether a model's ONNX file exists, is valid and agrees with its config.pbtxt."""
    path = model_path(repository, model)
    try:
        network = onnx.load(path)
        onnx.checker.check_model(network)
        check_contract(network, read_contract(repository / model))
    except (OSError, ValueError, onnx.checker.ValidationError):
        return False
    except Exception as error:
        # A truncated file raises protobuf's DecodeError, which onnx does not export
        if type(error).__name__ != "DecodeError":
            raise
        return False
    return True


def check_contract(network: onnx.ModelProto, contract: ModelContract) -> None:
    """Compare a network's inputs and outputs with config.pbtxt: names, dtypes, dims, free batch axis.

    Raises:
        ValueError: They differ; the message shows both.
    """
    sides = (("input", network.graph.input, contract.inputs), ("output", network.graph.output, contract.outputs))
    for side, values, specs in sides:
        ours = sorted(_describe(value) for value in values)
        theirs = sorted(_expected(spec, contract.max_batch_size) for spec in specs)
        if ours != theirs:
            raise ValueError(
                f"{contract.name}: expected the {side}s of config.pbtxt, {'; '.join(theirs)}, got {'; '.join(ours)}"
            )


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else "-1" for dim in tensor.shape.dim]
    return f"{value.name} {np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))} [{', '.join(dims)}]"


def _expected(spec: TensorSpec, max_batch_size: int) -> str:
    dims = [*([-1] if max_batch_size else []), *spec.dims]
    return f"{spec.name} {spec.dtype} [{', '.join(map(str, dims))}]"
