"""Verifies TensorRT engines: built for this machine, close to ONNX Runtime on the same inputs, and how fast.

Uses TensorRT's runtime, not its builder, and CUDA's runtime for memory: NVIDIA's TensorRT image has no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from export.engines.build import Toolchain, read_profile
from export.engines.cuda import CudaMemory
from export.shared.files import file_sha256
from export.shared.labels import OF_LABELS, gives_labels, share_of_other_labels
from export.shared.model_file import MODEL_FILE
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.serving.engines import FLAVOUR, RECORD_FILE, without_driver
from lipsync_core.serving.links import ENGINE_FILE

# Fractions of the output's standard deviation, or shares of labels that differ; float32 products are TF32
BOUNDS = {"fp32": 1e-2, "fp16": 0.05}
RUNS, WARM_UP_RUNS = 10, 3
SEED = 0

Arrays = dict[str, np.ndarray]
RunEngine = Callable[[bytes, Arrays, Mapping[str, np.dtype]], tuple[Arrays, list[float]]]


def verify_engine(repository: Path, model: str, toolchain: Toolchain, run_engine: RunEngine | None = None) -> str:
    """Compare a model's engine with its ONNX graph at the shapes that it is tuned for.

    Args:
        repository: Model repository.
        model: Name of a model whose engine has been built.
        toolchain: TensorRT and GPU of this machine.
        run_engine: Runs an engine and times it; TensorRT if None.

    Returns:
        A line with the difference from ONNX Runtime, and the speed of both.

    Raises:
        ValueError: There is no engine, it belongs to another GPU, TensorRT or graph, or it differs too much.
    """
    contract, folder = read_contract(repository / model, FLAVOUR), repository / model / VERSION_FOLDER
    engine, record = read_engine(folder, model)
    check_record(model, record, toolchain, engine, folder / MODEL_FILE)
    inputs = trial_inputs(contract, read_profile(contract).opt)
    expected, onnx_seconds = _run_onnx(folder / MODEL_FILE, inputs)
    outputs = {spec.name: spec.dtype for spec in contract.outputs}
    run = run_engine or (lambda *arguments: run_with_tensorrt(toolchain.tensorrt, *arguments))
    found, seconds = run(engine, inputs, outputs)
    unit, share = "standard deviations", "of the output's standard deviation"
    if gives_labels(contract):
        unit = share = OF_LABELS
    error = max(_error(found[name], expected[name]) for name in outputs)
    bound = BOUNDS[record["precision"]]
    if not error <= bound:  # NaN included
        raise ValueError(
            f"{model}: expected the engine within {bound:g} {unit} of ONNX Runtime, got {error:.2g}."
            f" Export the model with --precision fp32 and build again: python -m export engines {model}"
        )
    ours, theirs = 1e3 * statistics.median(seconds), 1e3 * statistics.median(onnx_seconds)
    return (
        f"{model}: {record['precision']}, largest difference from ONNX Runtime {error:.2g} {share}, bound {bound:g};"
        f" median {ours:.2f} ms, ONNX Runtime on the CPU {theirs:.0f} ms"
    )


def read_engine(folder: Path, model: str) -> tuple[bytes, dict[str, Any]]:
    """Read an engine and its record.

    Args:
        folder: Version folder of the model.
        model: Name of the model, for the message.

    Raises:
        ValueError: One of them is missing or damaged.
    """
    try:
        return (folder / ENGINE_FILE).read_bytes(), json.loads((folder / RECORD_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model}: expected {ENGINE_FILE} and {RECORD_FILE} in {folder}, got {error}."
            f" Build them: python -m export engines {model}"
        ) from error


def check_record(model: str, record: Mapping[str, Any], toolchain: Toolchain, engine: bytes, graph: Path) -> None:
    """Check that an engine belongs to this machine and to the model's graph.

    Args:
        model: Name of the model, for the message.
        record: Record of the engine.
        toolchain: TensorRT and GPU of this machine.
        engine: The engine.
        graph: Path of the ONNX graph.

    Raises:
        ValueError: The engine belongs to another GPU, TensorRT or graph, or the record to another engine.
    """
    record = {**record, "gpu": without_driver(str(record.get("gpu")))}
    here = {
        "tensorrt": toolchain.version,
        "gpu": without_driver(toolchain.gpu),
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "onnx_sha256": file_sha256(graph) if graph.is_file() else "none",
    }
    differing = [f"{key} {record.get(key)}, here {value}" for key, value in here.items() if record.get(key) != value]
    if differing:
        raise ValueError(
            f"{model}: expected an engine for this machine and graph, got one for {'; '.join(differing)}."
            f" Build it again here: python -m export engines {model}"
        )


def trial_inputs(contract: ModelContract, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Make random inputs: standard normal, or uniform for bytes.

    Args:
        contract: Contract of the model.
        shapes: Shape by input, with the batch axis.
    """
    random = np.random.default_rng(SEED)
    return {
        spec.name: random.integers(0, 256, shapes[spec.name], np.uint8)
        if spec.dtype == np.uint8
        else random.standard_normal(shapes[spec.name], np.float32)
        for spec in contract.inputs
    }


def run_with_tensorrt(
    trt: Any, engine: bytes, inputs: Arrays, outputs: Mapping[str, np.dtype], library: str | None = None
) -> tuple[Arrays, list[float]]:
    """Run an engine on the GPU.

    Args:
        trt: The tensorrt module.
        engine: The engine.
        inputs: Inputs by name.
        outputs: Dtypes of the outputs by name.
        library: CUDA's runtime library; the installed one if None.

    Returns:
        Outputs by name, and the seconds of each run after the warm-up.

    Raises:
        ValueError: TensorRT does not accept the engine, or CUDA cannot be used.
    """
    loaded = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(engine)
    if loaded is None:
        raise ValueError("engine: expected one that this TensorRT reads, got another. See its messages above")
    context = loaded.create_execution_context()
    with CudaMemory(library) as memory:
        for name, array in inputs.items():
            context.set_input_shape(name, tuple(array.shape))
            context.set_tensor_address(name, memory.upload(array))
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in outputs}
        places = {name: memory.allocate(math.prod(shapes[name]) * outputs[name].itemsize) for name in outputs}
        for name, address in places.items():
            context.set_tensor_address(name, address)
        seconds = [_timed_run(context, memory) for _ in range(WARM_UP_RUNS + RUNS)]
        found = {name: memory.download(places[name], shapes[name], outputs[name]) for name in outputs}
    return found, seconds[WARM_UP_RUNS:]


def _timed_run(context: Any, memory: CudaMemory) -> float:
    begin = time.perf_counter()
    context.execute_async_v3(memory.stream)
    memory.synchronize()
    return time.perf_counter() - begin


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference in standard deviations, or the share of labels that differ."""
    if (share := share_of_other_labels(found, expected)) is not None:
        return share
    return float(np.abs(found - expected).max() / expected.std())


def _run_onnx(path: Path, inputs: Arrays) -> tuple[Arrays, list[float]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    begin = time.perf_counter()
    found = session.run(names, inputs)
    return dict(zip(names, found, strict=True)), [time.perf_counter() - begin]
