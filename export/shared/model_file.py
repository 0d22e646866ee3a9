"""Puts a network into the model repository: checked against config.pbtxt, complete or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from lipsync_core.contract import ModelContract, TensorSpec, read_contract
from lipsync_core.repository import NETWORK_FILES, VERSION_FOLDER, synthetic_note

MODEL_FILE = NETWORK_FILES["onnxruntime"]


def model_path(repository: Path, model: str) -> Path:
    """Say where Triton looks for a model's network."""
    return repository / model / VERSION_FOLDER / MODEL_FILE


def write_model(network: onnx.ModelProto, repository: Path, model: str) -> str:
    """Write a network where Triton looks for it, once it agrees with the model's config.pbtxt.

    Returns:
        A line that says what was written, its size and its sha256.

    Raises:
        ValueError: the network's inputs or outputs are not those of config.pbtxt.
    """
    check_contract(network, read_contract(repository / model))
    path = model_path(repository, model)
    content = network.SerializeToString()
    write_whole(path, content)
    return f"{path}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"


def note_weights(repository: Path, model: str, to_format: str, *, synthetic: bool) -> None:
    """Leave a note beside a network that was written, "onnx" or "torch", if its weights are made up; else none."""
    note = synthetic_note(repository / model, {"onnx": "onnxruntime"}.get(to_format, to_format))
    if synthetic:
        note.write_text("made-up weights: what they draw is noise\n", encoding="utf-8")
    else:
        note.unlink(missing_ok=True)


def holds_valid_model(repository: Path, model: str) -> bool:
    """Say whether a model's network is there, passes ONNX's check and agrees with its config.pbtxt."""
    path = model_path(repository, model)
    try:
        network = onnx.load(path)
        onnx.checker.check_model(network)
        check_contract(network, read_contract(repository / model))
    except (OSError, ValueError, onnx.checker.ValidationError):
        return False
    except Exception as error:
        # a cut-off file shows as protobuf's DecodeError, which onnx does not name
        if type(error).__name__ != "DecodeError":
            raise
        return False
    return True


def check_contract(network: onnx.ModelProto, contract: ModelContract) -> None:
    """Compare a network's inputs and outputs with config.pbtxt: names, dtypes, dims, free batch axis.

    Raises:
        ValueError: they differ; the message shows both.
    """
    sides = (("input", network.graph.input, contract.inputs), ("output", network.graph.output, contract.outputs))
    for side, values, specs in sides:
        ours = sorted(_describe(value) for value in values)
        theirs = sorted(_expected(spec, contract.max_batch_size) for spec in specs)
        if ours != theirs:
            raise ValueError(
                f"{contract.name}: expected the {side}s of config.pbtxt, {'; '.join(theirs)}, got {'; '.join(ours)}"
            )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that its name never shows a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(unfinished, 0o644)  # mkstemp keeps it to its owner, the server may run as another
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else "-1" for dim in tensor.shape.dim]
    return f"{value.name} {np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))} [{', '.join(dims)}]"


def _expected(spec: TensorSpec, max_batch_size: int) -> str:
    dims = [*([-1] if max_batch_size else []), *spec.dims]
    return f"{spec.name} {spec.dtype} [{', '.join(map(str, dims))}]"
