"""What every Python model shares: the request loop, calls to other models, and errors mapped to Triton's codes.

Imports triton_python_backend_utils, which exists inside Triton's Python stub alone.
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
    """A model called from within a step answered with an error, whose code travels on to the caller."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the called model's own message and Triton error code."""
        super().__init__(message)
        self.code = code


class RequestCancelled(Exception):
    """The caller has given the request up."""


class TritonStep:
    """Base of a Python model: subclasses write `run`, whose arguments are the config's inputs.

    `run` gets numpy arrays (None for an optional input that was not sent) and returns a dict of arrays that
    holds every output. A ValueError from it becomes INVALID_ARG for that request, a FloatingPointError INTERNAL
    with its words; anything else becomes INTERNAL, with the traceback in the server's log alone.
    """

    Parameters: ClassVar[type | None] = None

    contract: ModelContract
    repository: Path  # of this model and its neighbours, on the server
    parameters: Any
    _request: Any = None  # the one that `run` is answering
    run: Callable[..., dict[str, np.ndarray]]  # each subclass's own, with the config's inputs as arguments

    def initialize(self, args: dict[str, str]) -> None:
        """Read the model's configuration and check `run` against it; Triton calls this once at load."""
        self.contract = contract_from_json(args["model_config"], args["model_name"])
        self.repository = Path(args["model_repository"]).parent
        self._check_signature()
        self.parameters = parse_parameters(self.Parameters, self.contract.parameters) if self.Parameters else None
        self.setup()

    def setup(self) -> None:
        """Prepare what lives as long as the model; subclasses override it."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that a bad one never fails its neighbours."""
        return [self._respond(request) for request in requests]

    def stop_if_cancelled(self) -> None:
        """End `run` early when nobody waits for its result any more; long steps call it now and then.

        Raises:
            RequestCancelled: the caller has given up; leave it to end `run`.
        """
        if self._request.is_cancelled():
            raise RequestCancelled

    def infer(self, model: str, inputs: dict[str, np.ndarray], outputs: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Call another model of this server and wait for its outputs.

        Args:
            model: the model's name; list it in this model's `calls` parameter.
            inputs: its inputs by name.
            outputs: names of the outputs that are wanted; all when left out.

        Returns:
            Its outputs by name, as arrays that stay valid after the call.

        Raises:
            CallFailed: the model answered with an error.
        """
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        return {tensor.name(): tensor.as_numpy() for tensor in self.call(model, tensors, outputs)}

    def call(self, model: str, tensors: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
        """Call another model with Triton's own tensors, and return such.

        Raises:
            CallFailed: the model answered with an error.
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
        """Write to the server's log in Triton's own form, so that a request is found in all lines about it."""
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
