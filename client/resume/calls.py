"""A job's own calls to Triton: each has an id, and is answered from the work folder if its answer was kept there."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from client.errors import LipSyncError
from client.resume.work_folder import WorkFolder
from client.servers.calls import InferRequest, Transport, TritonCalls, is_text
from client.stored_arrays import DIGEST_BYTES
from client.tracing import span
from lipsync_core.contract import ModelContract

log = logging.getLogger(__name__)

REFERENCE_INPUT = "frames"
CHANGE_SUFFIX = "-frames"  # marks an output that is kept as its difference from the input frames
PIXEL = np.dtype(np.uint8)


class JobCalls:
    """Triton's calls for one job, which may be made by several threads at once.

    Attributes:
        request_count: Number of requests that the job made.
        reused_count: Number of those that were answered from the work folder.
    """

    def __init__(self, triton: TritonCalls, job_id: str, folder: WorkFolder | None = None) -> None:
        """Prepare to ask.

        Args:
            triton: The server, or several.
            job_id: Beginning of the requests' ids, and the job's name in logs.
            folder: Where answers are kept; None to keep none.
        """
        self._triton = triton
        self._job_id = job_id
        self._folder = folder
        self._counting = threading.Lock()
        self.request_count = 0
        self.reused_count = 0

    @property
    def transport(self) -> Transport:
        """How large tensors travel."""
        return self._triton.transport

    @property
    def server_count(self) -> int:
        """How many servers work for the job."""
        return self._triton.server_count

    def contract(self, model: str) -> ModelContract:
        """Ask for a model's inputs, outputs and parameters; see TritonConnection."""
        return self._triton.contract(model)

    def serves(self, model: str) -> bool:
        """Ask whether an optional model is served; see TritonConnection."""
        return self._triton.serves(model)

    def identity(self, model: str) -> str:
        """Ask which version of a model is served; see TritonConnection."""
        return self._triton.identity(model)

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Answer from the work folder, else ask the server and keep its answer; see TritonConnection."""
        request = self._with_id(request)
        if self._folder is None:
            return self._ask(request)
        key = request_key(self._triton.identity(request.model), request.inputs)
        kept = self._folder.load(key)
        if kept is not None:
            with self._counting:
                self.reused_count += 1
            return _without_changes(kept, request.inputs)
        answer = self._ask(request)
        self._folder.save(key, _with_changes(answer, request.inputs))
        return answer

    def cancel(self) -> None:
        """Make all requests under way fail at once."""
        self._triton.cancel()

    def _with_id(self, request: InferRequest) -> InferRequest:
        """Count the request, and number it if it has no id yet."""
        with self._counting:
            self.request_count += 1
            return replace(request, id=request.id or f"{self._job_id}-{self.request_count}")

    def _ask(self, request: InferRequest) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        facts: dict[str, object] = {"job": self._job_id, "request": request.id, "model": request.model}
        try:
            with span(request.model, facts):
                answer = self._triton.infer(request)
        except LipSyncError as error:
            seconds = round(time.perf_counter() - started, 3)
            log.info("request failed", extra={**facts, "seconds": seconds, "error": error})
            raise
        log.debug("request answered", extra={**facts, "seconds": round(time.perf_counter() - started, 3)})
        return answer


def request_key(identity: str, inputs: Mapping[str, np.ndarray]) -> str:
    """Hash everything that the answer to a request depends on.

    Args:
        identity: The version of the model, see `TritonCalls.identity`.
        inputs: Arrays by input name. Texts (bytes or object dtype) count by their content alone: numpy's length of the
            longest text in the dtype does not reach the server.

    Returns:
        The hash in hexadecimal, a valid file name.
    """
    content = hashlib.blake2b(identity.encode(), digest_size=DIGEST_BYTES)
    for name in sorted(inputs):
        array = inputs[name]
        kind = "text" if is_text(array) else array.dtype.str
        content.update(f"|{name} {kind} {array.shape}|".encode())
        content.update(_content(array))
    return content.hexdigest()


def _content(array: np.ndarray) -> bytes | memoryview:
    """Return an array's content as bytes; texts as Python's literals, which tell where each ends."""
    if is_text(array):
        return repr(array.tolist()).encode()
    return np.ascontiguousarray(array).reshape(-1).view(PIXEL).data


def _with_changes(answer: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replace outputs that resemble the input frames by their difference modulo 256, which compresses well."""
    frames = inputs.get(REFERENCE_INPUT)
    kept = {}
    for name, array in answer.items():
        if frames is not None and _is_like(frames, array):
            kept[f"{name}{CHANGE_SUFFIX}"] = array - frames
        else:
            kept[name] = array
    return kept


def _without_changes(kept: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Undo `_with_changes`."""
    return {
        name.removesuffix(CHANGE_SUFFIX): array + inputs[REFERENCE_INPUT] if name.endswith(CHANGE_SUFFIX) else array
        for name, array in kept.items()
    }


def _is_like(frames: np.ndarray, array: np.ndarray) -> bool:
    return frames.dtype == array.dtype == PIXEL and frames.shape == array.shape
