"""Puts graphs of any size into the model repository: weights beyond protobuf's 2 GB lie in a file beside the graph.

Triton, ONNX Runtime and TensorRT find that file by the name in the graph, which holds its hash: a graph and weights of
different exports never meet, and the model changes at once, when the graph is renamed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from export.shared.model_file import MODEL_FILE, check_contract, model_path, write_whole
from lipsync_core.contract import read_contract

EMBEDDED_BYTES = 1_800_000_000  # weights up to here stay in the graph's own file
DATA_FILE = "model.data"
HASH_SHOWN = 16
BLOCK_BYTES = 1 << 22


def write_graph(graph: ir.Model, repository: Path, model: str, check: Callable[[Path], None]) -> str:
    """Write a graph where Triton looks for it, once it is valid, agrees with config.pbtxt and passes a check.

    Args:
        graph: the exported graph.
        repository: the model repository.
        model: the model's name in it.
        check: looks at the written file, and raises ValueError where it is not good enough.

    Returns:
        A line per file that says what was written, its size and its sha256.

    Raises:
        ValueError: the graph is invalid, its inputs or outputs are not those of config.pbtxt, or the check failed.
    """
    folder = model_path(repository, model).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        path = Path(unfinished) / MODEL_FILE
        save_graph(graph, path)
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except onnx.checker.ValidationError as error:
            raise ValueError(f"{model}: expected a valid ONNX graph, got {error}") from error
        check_contract(onnx.load(path, load_external_data=False), read_contract(repository / model))
        check(path)
        return _publish(path, folder)


def save_graph(graph: ir.Model, path: Path) -> None:
    """Write a graph, with its weights in model.data beside it where they are too large for one file."""
    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
    ir.save(graph, path, external_data=DATA_FILE if size > EMBEDDED_BYTES else None)


def file_sha256(path: Path) -> str:
    """Hash a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _publish(path: Path, folder: Path) -> str:
    """Move a graph and its weights to their final names, weights first, and remove an earlier export's."""
    lines, kept = [], ""
    data = path.with_name(DATA_FILE)
    content = path.read_bytes()
    if data.is_file():
        digest = file_sha256(data)
        kept = f"model-{digest[:HASH_SHOWN]}.data"
        lines.append(f"{folder / kept}: {data.stat().st_size:,} bytes, sha256 {digest}")
        content = _with_location(content, kept)
        os.chmod(data, 0o644)
        os.replace(data, folder / kept)
    write_whole(folder / MODEL_FILE, content)
    for other in folder.glob("model-*.data"):
        if other.name != kept:
            other.unlink()
    lines.append(f"{folder / MODEL_FILE}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return "\n".join(lines)


def _with_location(content: bytes, name: str) -> bytes:
    graph = onnx.load_from_string(content)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    return graph.SerializeToString()
