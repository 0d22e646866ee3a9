"""Base class of the Python-based backends: joins requests along the batch axis and splits the outputs again.

Imports triton_python_backend_utils, which exists only inside Triton's Python backend.
"""

from __future__ import annotations

import itertools
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import triton_python_backend_utils as pb_utils

from lipsync_core.contract import EXPORT_PARAMETER, ModelContract, contract_from_json

DEFAULT_THREADS = 1  # per instance; the instance_group decides how many cores a model uses


class NetworkBackend(ABC):
    """One instance of a network. Requests that differ only in the batch axis are run together.

    Subclasses load the network in `load`, run it in `run`, and convert between their arrays and Triton's tensors.
    """

    MODEL_FILE: ClassVar[str]

    contract: ModelContract
    path: Path  # where MODEL_FILE is

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and load the network from the version folder. Triton calls this once, at load."""
        self.contract = contract_from_json(args["model_config"], args["model_name"])
        self.path = Path(args["model_repository"]).resolve() / args["model_version"] / self.MODEL_FILE
        if not self.path.is_file():
            raise self.refusal(f"expected {self.path}, got no such file. Export it with: {self.export_command}")
        self.load(args["model_instance_kind"], int(args["model_instance_device_id"]))

    @abstractmethod
    def load(self, kind: str, device_id: int) -> None:
        """Load the network from `path` onto the instance's device; raise `refusal` if that is not possible."""

    @abstractmethod
    def run(self, inputs: list[Any]) -> Sequence[Any]:
        """Run the network on arrays [B, ...]; inputs and outputs are in the contract's order."""

    @abstractmethod
    def read(self, tensor: Any) -> Any:
        """Convert a Triton tensor to an array of the same shape [...]."""

    @abstractmethod
    def write(self, name: str, array: Any) -> Any:
        """Convert an array [...] to a Triton tensor."""

    @abstractmethod
    def join(self, arrays: list[Any]) -> Any:
        """Concatenate arrays [B, ...] along the batch axis."""

    @property
    def export_command(self) -> str:
        """The command that exports the network."""
        return f"python -m export {self.contract.parameters.get(EXPORT_PARAMETER, '')}".rstrip()

    @property
    def threads(self) -> int:
        """The number of threads of one operation, from the configuration."""
        return thread_count(self.contract, "intra_op_thread_count")

    def refusal(self, text: str) -> Exception:
        """Make the exception that ends the loading, with the model's name."""
        error: Exception = pb_utils.TritonModelException(f"{self.contract.name}: {text}")
        return error

    def check_names(self, inputs: set[str], outputs: set[str]) -> None:
        """Compare the network's tensors with config.pbtxt, which may omit outputs."""
        sides = (
            ("inputs", {spec.name for spec in self.contract.inputs}, inputs),
            ("outputs", {spec.name for spec in self.contract.outputs}, outputs),
        )
        for side, expected, found in sides:
            if not expected <= found or (side == "inputs" and found != expected):
                raise self.refusal(
                    f"expected {side} {sorted(expected)} as in config.pbtxt, got {sorted(found)}."
                    f" Export the model again with: {self.export_command}"
                )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests together; if that fails, one by one, so that only the bad one fails."""
        if not self.contract.max_batch_size:
            return [self._answer([request])[0] for request in requests]
        responses: list[Any] = [None] * len(requests)
        for indices in group_by_shape(requests, [spec.name for spec in self.contract.inputs]):
            for index, response in zip(indices, self._answer([requests[i] for i in indices]), strict=True):
                responses[index] = response
        return responses

    def _answer(self, requests: list[Any]) -> list[Any]:
        try:
            return self._run_joined(requests)
        except Exception as error:  # noqa: BLE001  (one request must never end the model)
            if len(requests) > 1:
                return [self._answer([request])[0] for request in requests]
            return [self._failure(requests[0], error)]

    def _failure(self, request: Any, error: Exception) -> Any:
        """Map a ValueError to INVALID_ARG; anything else is INTERNAL, with the traceback in the server's log."""
        refused = isinstance(error, ValueError)
        if not refused:
            name = f"[request id: {request.request_id() or '<id_unknown>'}] {self.contract.name}"
            pb_utils.Logger.log_error(f"{name}: {''.join(traceback.format_exception(error))}")
        code = pb_utils.TritonError.INVALID_ARG if refused else pb_utils.TritonError.INTERNAL
        text = f"{self.contract.name}: {error}"
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text, code))

    def _run_joined(self, requests: list[Any]) -> list[Any]:
        """Run the arrays of one request without a copy; several requests are joined first."""
        names = [spec.name for spec in self.contract.inputs]
        parts = [
            [self.read(pb_utils.get_input_tensor_by_name(request, name)) for request in requests] for name in names
        ]
        outputs = self.run([part[0] if len(part) == 1 else self.join(part) for part in parts])
        if len(requests) == 1:
            return [self._response(outputs)]
        ends = list(itertools.accumulate(len(array) for array in parts[0]))
        starts = [0, *ends[:-1]]
        return [
            self._response([output[start:end] for output in outputs]) for start, end in zip(starts, ends, strict=True)
        ]

    def _response(self, outputs: Sequence[Any]) -> Any:
        tensors = [self.write(spec.name, output) for spec, output in zip(self.contract.outputs, outputs, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def thread_count(contract: ModelContract, key: str) -> int:
    """Parse a thread count from the model's parameters."""
    text = contract.parameters.get(key, str(DEFAULT_THREADS))
    if not text.isdecimal() or int(text) < 1:
        raise pb_utils.TritonModelException(f"{key}: expected a whole number of at least 1, got {text!r}")
    return int(text)


def group_by_shape(requests: list[Any], names: list[str]) -> list[list[int]]:
    """Group requests whose inputs differ only in the batch axis, in order of arrival."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, request in enumerate(requests):
        shapes = tuple(tuple(pb_utils.get_input_tensor_by_name(request, name).shape()[1:]) for name in names)
        groups.setdefault(shapes, []).append(index)
    return list(groups.values())
