"""Python-based `onnxruntime` backend: serves model.onnx where Triton's native backend of that name is absent.

Triton loads this file as the backend of every model whose config.pbtxt says `backend: "onnxruntime"`. It knows the
same parameters as the native backend: intra_op_thread_count, inter_op_thread_count, enable_mem_arena.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

MODEL_FILE = "model.onnx"
DEFAULT_THREADS = 1  # one per instance: the instance_group decides how many cores a model uses


class TritonPythonModel:
    """One instance of an ONNX model; requests of one call are joined along the batch axis and run at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load model.onnx of the model's version folder."""
        config = json.loads(args["model_config"])
        self.name = args["model_name"]
        self.batched = config["max_batch_size"] > 0
        self.input_names = [tensor["name"] for tensor in config["input"]]
        self.output_names = [tensor["name"] for tensor in config["output"]]
        self.export_command = f"python -m export {parameter(config.get('parameters', {}), 'export', '')}".rstrip()
        path = Path(args["model_repository"]).resolve() / args["model_version"] / MODEL_FILE
        if not path.is_file():
            raise pb_utils.TritonModelException(
                f"{self.name}: expected {path}, got no such file. Write it with: {self.export_command}"
            )
        self.session = open_session(path, config.get("parameters", {}), args, self.export_command)
        self._check_names()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests in one go; should that fail, one by one, so that a bad one fails alone."""
        if not self.batched:
            return [self._answer([request])[0] for request in requests]
        groups = group_by_shape(requests, self.input_names)
        responses: list[Any] = [None] * len(requests)
        for indices in groups:
            for index, response in zip(indices, self._answer([requests[i] for i in indices]), strict=True):
                responses[index] = response
        return responses

    def _answer(self, requests: list[Any]) -> list[Any]:
        try:
            feeds, sizes = self._join(requests)
            return self._split(self.session.run(self.output_names, feeds), sizes)
        except Exception as error:  # noqa: BLE001  (one request must never end the model)
            if len(requests) > 1:
                return [self._answer([request])[0] for request in requests]
            name = f"[request id: {requests[0].request_id() or '<id_unknown>'}] {self.name}"
            pb_utils.Logger.log_error(f"{name}: {traceback.format_exc()}")
            return [pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"{self.name}: {error}"))]

    def _join(self, requests: list[Any]) -> tuple[dict[str, np.ndarray], list[int]]:
        """Feed one request's tensors as they lie in shared memory; copy only to join several."""
        feeds: dict[str, np.ndarray] = {}
        sizes: list[int] = []
        for name in self.input_names:
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            feeds[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            sizes = [len(array) for array in arrays] if self.batched else []
        return feeds, sizes

    def _split(self, outputs: list[np.ndarray], sizes: list[int]) -> list[Any]:
        if len(sizes) <= 1:
            return [self._response(outputs)]
        ends = np.cumsum(sizes)
        slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        return [self._response([output[part] for output in outputs]) for part in slices]

    def _response(self, outputs: list[np.ndarray]) -> Any:
        tensors = [
            pb_utils.Tensor(name, np.ascontiguousarray(output))
            for name, output in zip(self.output_names, outputs, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _check_names(self) -> None:
        sides = (
            ("inputs", self.input_names, self.session.get_inputs()),
            ("outputs", self.output_names, self.session.get_outputs()),
        )
        for side, expected, nodes in sides:
            found = {node.name for node in nodes}
            if not set(expected) <= found or (side == "inputs" and found != set(expected)):
                raise pb_utils.TritonModelException(
                    f"{self.name}: expected {side} {sorted(expected)} as in config.pbtxt, got {sorted(found)}."
                    f" Export the model again with: {self.export_command}"
                )


def open_session(
    path: Path, parameters: dict[str, Any], args: dict[str, str], export_command: str
) -> onnxruntime.InferenceSession:
    """Open an ONNX Runtime session on the instance's device with the config's thread counts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count(parameters, "intra_op_thread_count")
    options.inter_op_num_threads = thread_count(parameters, "inter_op_thread_count")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to other models
    options.enable_cpu_mem_arena = parameter(parameters, "enable_mem_arena", "1") == "1"
    options.log_severity_level = 3  # errors
    providers: list[Any] = ["CPUExecutionProvider"]
    if args["model_instance_kind"] == "GPU":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise pb_utils.TritonModelException(
                f"{args['model_name']}: expected onnxruntime with CUDA for KIND_GPU, got a CPU build."
                " Install onnxruntime-gpu, or set KIND_CPU in config.pbtxt"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"]}))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise pb_utils.TritonModelException(
            f"{args['model_name']}: expected a valid ONNX model in {path}, got: {error}."
            f" Export the model again with: {export_command}"
        ) from error


def thread_count(parameters: dict[str, Any], key: str) -> int:
    """Read a thread count from the model's parameters."""
    text = parameter(parameters, key, str(DEFAULT_THREADS))
    if not text.isdecimal() or int(text) < 1:
        raise pb_utils.TritonModelException(f"{key}: expected a whole number of at least 1, got {text!r}")
    return int(text)


def parameter(parameters: dict[str, Any], key: str, default: str) -> str:
    """Read one of the config's parameters, which are all text."""
    return str(parameters.get(key, {}).get("string_value", default))


def group_by_shape(requests: list[Any], names: list[str]) -> list[list[int]]:
    """Group requests whose inputs differ in the batch axis alone, in order of arrival."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, request in enumerate(requests):
        shapes = tuple(tuple(pb_utils.get_input_tensor_by_name(request, name).shape()[1:]) for name in names)
        groups.setdefault(shapes, []).append(index)
    return list(groups.values())
