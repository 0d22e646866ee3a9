"""Builds TensorRT engines from ONNX graphs, with a record of the GPU, TensorRT and graph that each belongs to.

An engine runs only on the GPU and the TensorRT version that it was built with. Its precision is the graph's, as the
network is built strongly typed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.shared.files import write_whole
from export.shared.model_file import MODEL_FILE
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.programs.config import Shapes, parse_shapes
from lipsync_core.serving.engines import FLAVOUR, NVIDIA_SMI, RECORD_FILE, find_gpu
from lipsync_core.serving.links import ENGINE_FILE

MIN_TENSORRT_MAJOR = 10
WHERE_TO_BUILD = "Build engines where they will run: on the GPU machine, with the TensorRT of the Triton container"


@dataclass(frozen=True)
class Profile:
    """Optimisation profile: smallest and largest input shapes of an engine, and those that it is tuned for."""

    min: Shapes
    opt: Shapes
    max: Shapes


@dataclass(frozen=True)
class Toolchain:
    """The tensorrt module that builds engines, its version, and a description of the GPU."""

    tensorrt: Any
    version: str
    gpu: str


def read_profile(contract: ModelContract) -> Profile:
    """Read a model's optimisation profile from its TensorRT flavour's parameters, and check it.

    Each of profile_min, profile_opt and profile_max is a list of `input=NxCxHxW`, separated by blanks.

    Args:
        contract: Contract of the model's TensorRT flavour.

    Raises:
        ValueError: The profile is missing, malformed, or does not agree with the model's inputs.
    """
    profile = Profile(*(_read_shapes(contract, key) for key in ("profile_min", "profile_opt", "profile_max")))
    for name in profile.opt:
        low, tuned, high = (np.array(shapes[name]) for shapes in (profile.min, profile.opt, profile.max))
        if not ((low >= 1) & (low <= tuned) & (tuned <= high)).all():
            raise ValueError(f"{contract.name}: expected profile_min <= profile_opt <= profile_max for {name}")
        if high[0] != contract.max_batch_size:
            raise ValueError(
                f"{contract.name}: expected profile_max to take max_batch_size {contract.max_batch_size} of {name},"
                f" got {high[0]}"
            )
    return profile


def find_toolchain() -> Toolchain:
    """Find TensorRT and a GPU.

    Raises:
        ValueError: One of them is missing or too old.
    """
    try:
        tensorrt = importlib.import_module("tensorrt")
        version = str(tensorrt.__version__)
    except Exception as error:
        # The wheel on PyPI is a stub that raises any exception where NVIDIA's libraries are missing
        raise ValueError(
            f"tensorrt: expected the package and its libraries, got {error!r}. {WHERE_TO_BUILD}"
        ) from error
    if int(version.partition(".")[0]) < MIN_TENSORRT_MAJOR:
        raise ValueError(f"tensorrt: expected version {MIN_TENSORRT_MAJOR} or newer, got {version}. {WHERE_TO_BUILD}")
    return Toolchain(tensorrt, version, _find_gpu())


def build_engine(repository: Path, model: str, toolchain: Toolchain, timing_cache: Path) -> str:
    """Build a model's engine from its model.onnx, and write the engine and its record beside that file.

    Args:
        repository: Model repository.
        model: Name of a model with a TensorRT flavour.
        toolchain: TensorRT and GPU of this machine.
        timing_cache: File of measured kernel times, which make later builds faster; read if it exists, then written.

    Returns:
        A line with the engine's size and SHA-256.

    Raises:
        ValueError: There is no usable model.onnx or profile, or TensorRT cannot build the engine.
    """
    profile = read_profile(read_contract(repository / model, FLAVOUR))
    folder = repository / model / VERSION_FOLDER
    graph = _read_graph(folder / MODEL_FILE)
    known_times = timing_cache.read_bytes() if timing_cache.is_file() else b""
    engine, times = _build(toolchain.tensorrt, graph, folder / MODEL_FILE, profile, known_times)
    digest = hashlib.sha256(engine).hexdigest()
    record = {
        "tensorrt": toolchain.version,
        "gpu": toolchain.gpu,
        "precision": _precision(graph),
        "onnx_sha256": hashlib.sha256(graph).hexdigest(),  # weights beside the graph have their hash in their name
        "engine_sha256": digest,
        "profile": {"min": profile.min, "opt": profile.opt, "max": profile.max},
    }
    write_whole(timing_cache, times)
    write_whole(folder / RECORD_FILE, (json.dumps(record, indent=2) + "\n").encode())
    write_whole(folder / ENGINE_FILE, engine)
    return f"{folder / ENGINE_FILE}: {len(engine):,} bytes, sha256 {digest}, {record['precision']}"


def models_in_fp32(repository: Path, models: Sequence[str]) -> list[str]:
    """List the models whose graph is in single precision.

    Raises:
        ValueError: A model has not been exported.
    """
    graphs = {model: _read_graph(repository / model / VERSION_FOLDER / MODEL_FILE) for model in models}
    return [model for model, graph in graphs.items() if _precision(graph) == "fp32"]


def _read_shapes(contract: ModelContract, key: str) -> dict[str, tuple[int, ...]]:
    text = contract.parameters.get(key)
    if text is None:
        raise ValueError(f"{contract.name}: expected the parameter {key} in configs/{FLAVOUR}.pbtxt, got none")
    return parse_shapes(contract, key, text)


def _find_gpu() -> str:
    try:
        return find_gpu(NVIDIA_SMI)
    except ValueError as error:
        raise ValueError(f"{error}. {WHERE_TO_BUILD}") from error


def _read_graph(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: expected the exported model, got {error.strerror}. Export it first: python -m export --help"
        ) from error


def _build(trt: Any, graph: bytes, path: Path, profile: Profile, known_times: bytes) -> tuple[bytes, bytes]:
    """Return the engine and the timing cache; weights outside the graph are found beside its path."""
    model = path.parent.parent.name
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph, str(path)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ValueError(f"{model}: expected a graph that TensorRT reads, got {reasons}")
    config = builder.create_builder_config()
    config.set_timing_cache(config.create_timing_cache(known_times), ignore_mismatch=False)
    sizes = builder.create_optimization_profile()
    for name in profile.opt:
        sizes.set_shape(name, profile.min[name], profile.opt[name], profile.max[name])
    config.add_optimization_profile(sizes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError(f"{model}: expected an engine, got none. See TensorRT's messages above")
    return bytes(engine), bytes(config.get_timing_cache().serialize())


def _precision(graph: bytes) -> str:
    types = {tensor.data_type for tensor in onnx.load_from_string(graph).graph.initializer}
    return "fp16" if onnx.TensorProto.FLOAT16 in types else "fp32"
