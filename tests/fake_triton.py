"""The Python side of Triton as a few dataclasses, so that models run without a server."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from tests.conftest import REPOSITORY

Calls = Mapping[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]  # models that answer, by name


@dataclasses.dataclass
class Tensor:
    """A named array."""

    tensor_name: str
    array: np.ndarray
    dlpack: Any = None  # in the array's place where it lies on a GPU

    def name(self) -> str:
        """Return the name."""
        return self.tensor_name

    def as_numpy(self) -> np.ndarray:
        """Return the array."""
        return self.array

    def shape(self) -> tuple[int, ...]:
        """Return the array's shape."""
        return self.array.shape

    @classmethod
    def from_dlpack(cls, name: str, tensor: Any) -> Tensor:
        """Make a tensor of one that lies elsewhere."""
        return cls(name, np.empty(0), tensor)

    def is_cpu(self) -> bool:
        """Say whether it lies where numpy finds it."""
        return self.dlpack is None


@dataclasses.dataclass
class TritonError:
    """A message with one of Triton's codes."""

    INTERNAL: ClassVar[int] = 1
    INVALID_ARG: ClassVar[int] = 3
    CANCELLED: ClassVar[int] = 8

    text: str
    error_code: int = INTERNAL

    def message(self) -> str:
        """Return the message."""
        return self.text

    def code(self) -> int:
        """Return the code."""
        return self.error_code


@dataclasses.dataclass
class InferenceResponse:
    """Outputs, or an error."""

    tensors: list[Tensor]
    error_value: TritonError | None = None

    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        """Keep both."""
        self.tensors = output_tensors
        self.error_value = error

    def output_tensors(self) -> list[Tensor]:
        """Return the outputs."""
        return self.tensors

    def has_error(self) -> bool:
        """Say whether it is an error."""
        return self.error_value is not None

    def error(self) -> TritonError | None:
        """Return the error."""
        return self.error_value


class Request(dict[str, np.ndarray]):
    """A request: arrays by input name; tests set `cancelled` and `id`."""

    cancelled = False
    id = ""

    def request_id(self) -> str:
        """Return what the caller named it."""
        return self.id

    def trace(self) -> object:
        """Return what calls on its behalf are traced under: nothing."""
        return None

    def is_cancelled(self) -> bool:
        """Say whether the caller has given up."""
        return self.cancelled


class Logger:
    """Keeps what a model logs."""

    lines: ClassVar[list[str]] = []

    @classmethod
    def log_error(cls, text: str) -> None:
        """Keep a line."""
        cls.lines.append(text)

    @classmethod
    def log_verbose(cls, text: str) -> None:
        """Keep nothing, as Triton does unless it is told to."""

    log_warn = log_info = log_error


class TritonModelException(Exception):
    """What a backend raises when it cannot load."""


def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
    """Return one input of a request, None when it was not sent."""
    return Tensor(name, request[name]) if name in request else None


def install(models: Calls | None = None) -> None:
    """Put the fake where models import triton_python_backend_utils from; `models` answer BLS calls."""

    @dataclasses.dataclass
    class InferenceRequest:
        request_id: str
        trace: object
        model_name: str
        requested_output_names: list[str]
        inputs: list[Tensor]

        def exec(self) -> InferenceResponse:
            try:
                outputs = (models or {})[self.model_name]({tensor.name(): tensor.as_numpy() for tensor in self.inputs})
            except ValueError as error:
                return InferenceResponse([], TritonError(str(error), TritonError.INVALID_ARG))
            wanted = self.requested_output_names or list(outputs)
            return InferenceResponse([Tensor(name, outputs[name]) for name in wanted])

    module = types.ModuleType("triton_python_backend_utils")
    for item in (Tensor, TritonError, InferenceResponse, InferenceRequest, Logger, TritonModelException):
        setattr(module, item.__name__, item)
    module.get_input_tensor_by_name = get_input_tensor_by_name  # type: ignore[attr-defined]
    module.is_model_ready = lambda name: name in (models or {})  # type: ignore[attr-defined]
    sys.modules["triton_python_backend_utils"] = module
    for name in ("step", "picture_step", "face_step", "tensors", "network_backend"):
        sys.modules.pop(f"lipsync_core.triton.{name}", None)


def load_module(path: Path, name: str) -> Any:
    """Import a model.py or backend by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there for their own annotations
    spec.loader.exec_module(module)
    return module


def ask(name: str, calls: Calls | None = None, **inputs: np.ndarray) -> Any:
    """Load a model of the repository and send it one request; `calls` answer its BLS calls."""
    install(calls)
    folder = REPOSITORY / name
    model = load_module(folder / "1" / "model.py", f"{name}_model").TritonPythonModel()
    model.initialize(arguments((folder / "config.pbtxt").read_text(), name))
    return model.execute([Request(inputs)])[0]


def outputs(response: Any) -> dict[str, np.ndarray]:
    """Return a response's arrays by name; it must not be an error."""
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def arguments(config_text: str, name: str, repository: Path = Path("/nonexistent")) -> dict[str, str]:
    """Return what Triton hands to `initialize` for a model with this config.pbtxt."""
    config = text_format.Parse(config_text, model_config_pb2.ModelConfig())
    as_dict = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {
        "model_config": json.dumps(as_dict),
        "model_name": name,
        "model_version": "1",
        "model_repository": str(repository),
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
    }
