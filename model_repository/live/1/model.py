"""Live streams: each lives in this process from the request that opens it, and draws with the server's other models."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from client.errors import LipSyncError, RequestRejected, ServerBusy, UsageError
from client.live.clips import CLIPS_VARIABLE, ClipStore
from client.live.messages import Event, read_request
from client.live.service import LiveService
from client.live.settings import StreamLimits
from client.servers.calls import InferRequest, Transport
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract, contract_from_json, parse_parameters

MB = 1_000_000


@dataclass(frozen=True)
class LiveParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        max_sessions: Streams at once.
        clip_cache_mb: Memory that decoded clips may take, in MB.
        max_voice_s: Voice of a stream that may wait to be shown, in seconds.
        idle_timeout_s: Time without any message of the client after which its stream ends, in seconds.
    """

    max_sessions: int
    clip_cache_mb: int
    max_voice_s: float
    idle_timeout_s: float


class TritonPythonModel:
    """Passes requests to the streams. Does not use TritonStep, as streams answer a request many times."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration. Triton calls this once, at load."""
        contract = contract_from_json(args["model_config"], args["model_name"])
        parameters = parse_parameters(LiveParameters, contract.parameters)
        self._inputs = [spec.name for spec in contract.inputs]
        folder = os.environ.get(CLIPS_VARIABLE)
        self._service = LiveService(
            _ServerCalls(Path(args["model_repository"]).parent),
            ClipStore(Path(folder) if folder else None, parameters.clip_cache_mb * MB),
            StreamLimits(
                max_sessions=parameters.max_sessions,
                max_voice_s=parameters.max_voice_s,
                idle_timeout_s=parameters.idle_timeout_s,
            ),
        )

    def execute(self, requests: list[Any]) -> None:
        """Take requests; none waits for a stream."""
        for request in requests:
            answers = _Answers(request)
            try:
                self._service.handle(read_request(self._tensors_of(request)), answers)
            except LipSyncError as error:
                answers.fail(error)
            except Exception:  # noqa: BLE001  (one request must never end the model)
                pb_utils.Logger.log_error(traceback.format_exc())
                answers.fail(LipSyncError("live failed; the server's log has the traceback"))

    def finalize(self) -> None:
        """End all streams. Triton calls this once, at unload."""
        self._service.close()

    def _tensors_of(self, request: Any) -> dict[str, np.ndarray]:
        found = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor.as_numpy() for name, tensor in found.items() if tensor is not None}


class _Answers:
    """Answers one request by Triton's response sender."""

    def __init__(self, request: Any) -> None:
        self._sender = request.get_response_sender()

    def send(self, event: Event) -> None:
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in event.tensors().items()]
        self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors))

    def fail(self, error: LipSyncError) -> None:
        code = pb_utils.TritonError.INTERNAL
        if isinstance(error, UsageError):
            code = pb_utils.TritonError.INVALID_ARG
        elif isinstance(error, ServerBusy):
            code = pb_utils.TritonError.UNAVAILABLE
        answer = pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error), code))
        self._sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def close(self) -> None:
        self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_gone(self) -> bool:
        return bool(self._sender.is_cancelled())


class _ServerCalls:
    """Asks the models of the server that this process belongs to; may be used by several threads at once."""

    transport: Transport = "shm"
    server_count = 1

    def __init__(self, repository: Path) -> None:
        """Take the server's model repository."""
        self._repository = repository
        self._contracts: dict[str, ModelContract] = {}

    def contract(self, model: str) -> ModelContract:
        """Return a model's inputs, outputs and parameters.

        Raises:
            RequestRejected: the server has not loaded it.
        """
        if model not in self._contracts:
            if not self.serves(model):
                raise RequestRejected(about=model, expected="a model of the server", got="one that is not loaded")
            self._contracts[model] = read_contract(self._repository / model)
        return self._contracts[model]

    def serves(self, model: str) -> bool:
        """Say whether the server has loaded a model."""
        return bool(pb_utils.is_model_ready(model))

    def identity(self, model: str) -> str:
        """Return the model's name: a server's models do not change while it runs."""
        return model

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Run one request and wait for its answer.

        Raises:
            RequestRejected: the model refused it or failed in it.
        """
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in request.inputs.items()]
        asked = pb_utils.InferenceRequest(
            model_name=request.model,
            request_id=request.id,
            requested_output_names=self._outputs(request.model),
            inputs=tensors,
        )
        answer = asked.exec()
        if answer.has_error():
            raise RequestRejected(answer.error().message(), about=request.model)
        return {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors()}

    def cancel(self) -> None:
        """Do nothing: requests take milliseconds."""

    def _outputs(self, model: str) -> list[str]:
        return [spec.name for spec in self.contract(model).outputs]
