"""Writes exported graphs of any size: weights beyond protobuf's limit of 2 GB go to a file beside the graph.

Triton, ONNX Runtime and TensorRT find that file by its name in the graph, which contains its hash. So a graph never
meets the weights of another export, and the model changes in one step, when the graph is renamed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from export.shared.files import READABLE_BY_ALL, describe_file, file_sha256, write_whole
from export.shared.model_file import MODEL_FILE, check_contract, model_path
from lipsync_core.config_file import read_contract

EMBEDDED_BYTES = 1_800_000_000  # weights up to this size stay in the graph's own file
DATA_FILE = "model.data"
HASH_DIGITS = 16  # part of the hash in the name of the weights


def write_graph(graph: ir.Model, repository: Path, model: str, check: Callable[[Path], None]) -> str:
    """Write a graph to where Triton looks for it, if it is valid, agrees with config.pbtxt and passes a check.

    Args:
        graph: Exported graph.
        repository: Model repository.
        model: Name of the model.
        check: Examines the written file; raises ValueError where it is not good enough.

    Returns:
        A line per file with its size and SHA-256.

    Raises:
        ValueError: The graph is invalid, its inputs or outputs are not those of config.pbtxt, or the check failed.
    """
    folder = model_path(repository, model).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        path = Path(unfinished) / MODEL_FILE
        _save(graph, path)
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except onnx.checker.ValidationError as error:
            raise ValueError(f"{model}: expected a valid ONNX graph, got {error}") from error
        check_contract(onnx.load(path, load_external_data=False), read_contract(repository / model))
        check(path)
        return _publish(path, folder)


def _save(graph: ir.Model, path: Path) -> None:
    """Write a graph, and its weights to model.data beside it where they are too large for one file."""
    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
    ir.save(graph, path, external_data=DATA_FILE if size > EMBEDDED_BYTES else None)


def _publish(path: Path, folder: Path) -> str:
    """Move a graph and its weights to their final names, weights first, and remove an earlier export's weights."""
    lines, kept = [], ""
    data = path.with_name(DATA_FILE)
    content = path.read_bytes()
    if data.is_file():
        kept = f"model-{file_sha256(data)[:HASH_DIGITS]}.data"
        content = _with_location(content, kept)
        data.chmod(READABLE_BY_ALL)
        os.replace(data, folder / kept)
        lines.append(describe_file(folder / kept))
    write_whole(folder / MODEL_FILE, content)
    for other in folder.glob("model-*.data"):
        if other.name != kept:
            other.unlink()
    return "\n".join([*lines, describe_file(folder / MODEL_FILE)])


def _with_location(content: bytes, name: str) -> bytes:
    graph = onnx.load_from_string(content)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    return graph.SerializeToString()
