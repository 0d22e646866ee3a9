"""Base class of the Python models: the request loop, calls to other models, and Triton's error codes.

Imports triton_python_backend_utils, which exists only inside Triton's Python backend.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import triton_python_backend_utils as pb_utils

from lipsync_core.contract import ModelContract, contract_from_json, parse_parameters


class CallFailed(RuntimeError):
    """A model that this one called returned an error; its code is passed on to the client."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the called model's message and Triton error code."""
        super().__init__(message)
        self.code = code


class RequestCancelled(Exception):
    """The client has cancelled the request."""


class TritonStep:
    """Base of a Python model. Subclasses implement `run`, whose arguments are the inputs in config.pbtxt.

    `run` gets numpy arrays, str arrays for text, and None for an optional input that was not sent. It returns a dict
    with every output. A ValueError becomes INVALID_ARG for that request, a FloatingPointError INTERNAL with its
    message; anything else becomes INTERNAL, with the traceback only in the server's log.

    Attributes:
        Parameters: The dataclass that the parameters in config.pbtxt fill; None for a model without parameters.
        contract: The model's configuration.
        repository: The model repository on the server.
        parameters: An instance of `Parameters`.
    """

    Parameters: ClassVar[type | None] = None

    contract: ModelContract
    repository: Path
    parameters: Any
    _request: Any = None  # the request that `run` is processing
    run: Callable[..., dict[str, np.ndarray]]  # implemented by subclasses; its arguments are the inputs

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and check `run` against it. Triton calls this once, at load."""
        self.contract = contract_from_json(args["model_config"], args["model_name"])
        self.repository = Path(args["model_repository"]).parent
        self._check_signature()
        self.parameters = parse_parameters(self.Parameters, self.contract.parameters) if self.Parameters else None
        self.setup()

    def setup(self) -> None:
        """Prepare what lasts as long as the model; subclasses may override it."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Process each request separately, so that a bad one never fails the others."""
        return [self._respond(request) for request in requests]

    def stop_if_cancelled(self) -> None:
        """End `run` if the client has cancelled the request. Long-running models call this between steps.

        Raises:
            RequestCancelled: The request was cancelled. Do not catch it: it ends `run`.
        """
        if self._request.is_cancelled():
            raise RequestCancelled

    def infer(self, model: str, inputs: dict[str, np.ndarray], outputs: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Call another model on this server and wait for its outputs.

        Args:
            model: The model's name, which must be in this model's `calls` parameter.
            inputs: Arrays [...] by input name.
            outputs: Names of the requested outputs; all if empty.

        Returns:
            Arrays [...] by output name; they stay valid after the call.

        Raises:
            CallFailed: The model returned an error.
        """
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        return {tensor.name(): tensor.as_numpy() for tensor in self.call(model, tensors, outputs)}

    def infer_optional(self, model: str, inputs: dict[str, np.ndarray], advice: str) -> dict[str, np.ndarray]:
        """Call a model that the server may lack, one of this model's `optional_calls`; see `infer`.

        Args:
            model: The model's name.
            inputs: Arrays [...] by input name.
            advice: What to do without it, for the message.

        Raises:
            ValueError: The server has no such model.
            CallFailed: The model returned an error.
        """
        if not pb_utils.is_model_ready(model):
            raise ValueError(
                f"{model}: expected a server with this model, got one without. {advice}, or export its network"
            )
        return self.infer(model, inputs)

    def call(self, model: str, tensors: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
        """Call another model with Triton's own tensors and return Triton's own tensors.

        Raises:
            CallFailed: The model returned an error.
        """
        request = pb_utils.InferenceRequest(
            request_id=self._request.request_id(),
            trace=self._request.trace(),
            model_name=model,
            requested_output_names=list(outputs),
            inputs=list(tensors),
        )
        response = request.exec()
        if response.has_error():
            raise CallFailed(response.error().message(), response.error().code())
        found: list[Any] = response.output_tensors()
        return found

    def _respond(self, request: Any) -> Any:
        self._request = request
        started = time.perf_counter()
        try:
            outputs = self.run(**self._inputs_of(request))
            self._log(pb_utils.Logger.log_verbose, f"answered in {time.perf_counter() - started:.3f} s")
            tensors = [
                pb_utils.Tensor(spec.name, np.ascontiguousarray(outputs[spec.name], dtype=spec.dtype))
                for spec in self.contract.outputs
            ]
            return pb_utils.InferenceResponse(output_tensors=tensors)
        except ValueError as error:
            self._log(pb_utils.Logger.log_verbose, f"refused: {error}")
            return _error_response(str(error), pb_utils.TritonError.INVALID_ARG)
        except CallFailed as error:
            self._log(pb_utils.Logger.log_verbose, f"failed in a call: {error}")
            return _error_response(str(error), error.code)
        except RequestCancelled:
            return _error_response(f"{self.contract.name}: the request was cancelled", pb_utils.TritonError.CANCELLED)
        except FloatingPointError as error:
            self._log(pb_utils.Logger.log_error, str(error))
            return _error_response(str(error), pb_utils.TritonError.INTERNAL)
        except Exception as error:  # noqa: BLE001  (one request must never end the model)
            self._log(pb_utils.Logger.log_error, traceback.format_exc())
            text = f"{self.contract.name} failed ({type(error).__name__}); the server's log has the traceback"
            return _error_response(text, pb_utils.TritonError.INTERNAL)
        finally:
            self._request = None

    def _log(self, write: Callable[[str], None], text: str) -> None:
        """Write to the server's log in Triton's format, so that all lines about a request can be found by its id."""
        write(f"[request id: {self._request.request_id() or '<id_unknown>'}] {self.contract.name}: {text}")

    def _inputs_of(self, request: Any) -> dict[str, np.ndarray | None]:
        inputs: dict[str, np.ndarray | None] = {spec.name: None for spec in self.contract.inputs}
        for spec in self.contract.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
            if tensor is not None:
                inputs[spec.name] = _decoded(spec.name, tensor.as_numpy()) if spec.is_text else tensor.as_numpy()
        return inputs

    def _check_signature(self) -> None:
        arguments = inspect.signature(self.run).parameters
        names = [spec.name for spec in self.contract.inputs]
        if list(arguments) != names:
            raise ValueError(
                f"{self.contract.name}: expected run({', '.join(names)}) as in config.pbtxt,"
                f" got run({', '.join(arguments)})"
            )
        for spec in self.contract.inputs:
            has_default = arguments[spec.name].default is not inspect.Parameter.empty
            if has_default != spec.optional:
                raise ValueError(
                    f"{self.contract.name}: expected a default for optional inputs and only there,"
                    f" got {spec.name} (optional: {str(spec.optional).lower()})"
                )


def _decoded(name: str, texts: np.ndarray) -> np.ndarray:
    """Decode UTF-8, bytes [...] -> str [...].

    Raises:
        ValueError: The bytes are not UTF-8.
    """
    try:
        return np.array([text.decode() for text in texts.reshape(-1)]).reshape(texts.shape)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: expected UTF-8 text, got other bytes") from error


def _error_response(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
