"""Calls to a running Triton: contracts, tensors by gRPC or shared memory, errors in the client's words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TypeVar

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from client.errors import (
    AccessDenied,
    LipSyncError,
    ModelDied,
    NoAnswer,
    RequestRejected,
    ServerBusy,
    ServerLost,
    ServerUnavailable,
)
from client.servers.addresses import Address
from client.servers.calls import InferRequest, Transport
from client.servers.channel import open_channel
from client.servers.handshake import handshake_problem
from client.servers.security import IN_THE_CLEAR, Security
from client.servers.shared_memory import Region, RegionPool, align
from client.tracing import trace_headers
from lipsync_core.contract import ModelContract, contract_from_config

Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 300.0
CANCELLED = "StatusCode.CANCELLED"
UNAVAILABLE = "StatusCode.UNAVAILABLE"
DEADLINE = "StatusCode.DEADLINE_EXCEEDED"
INVALID = "StatusCode.INVALID_ARGUMENT"
NOT_FOUND = "StatusCode.NOT_FOUND"
DENIED = ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")
DENIED_MARK = "protocol is restricted"  # Triton's --grpc-restricted-protocol answers UNAVAILABLE
BUSY_MARKS = ("Exceeds maximum queue size", "Request timeout expired")  # whatever the status: calls in between lose it
STUB_MARK = "Stub process"  # a Python model's process died, and Triton 2.51 starts no other
TEXT_KINDS = "OSU"  # numpy's object, bytes and str arrays
LARGE_TENSOR_BYTES = 64 * 1024  # smaller ones travel in the message; a region is not worth it


class TritonConnection:
    """A connection to one Triton, used by several threads at once."""

    server_count = 1

    def __init__(
        self,
        url: str | Address,
        transport: Transport = "auto",
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        security: Security = IN_THE_CLEAR,
    ) -> None:
        """Connect and choose how large tensors travel.

        Args:
            url: HOST:PORT of the server's gRPC endpoint, or its whole address.
            transport: shm for system shared memory, grpc for message bodies, auto for shm where the server is on
                this host and can map our memory.
            request_timeout_s: deadline of one inference request.
            security: encryption, certificates and token.

        Raises:
            ServerUnavailable: nobody answers, or the server is not ready.
            AccessDenied: one side does not accept the other.
            RequestRejected: shm was asked for and the server cannot map our memory.
        """
        self._address = url if isinstance(url, Address) else Address(url)
        self._security = security
        self.url = url = self._address.url
        self._request_timeout_s = request_timeout_s
        self._contracts: dict[str, ModelContract] = {}
        self._identities: dict[str, str] = {}
        self._regions: RegionPool | None = None
        if not url.rpartition(":")[0] or not url.rpartition(":")[2].isdigit():
            raise ServerUnavailable(f"--url: expected HOST:PORT of Triton's gRPC endpoint, got {url!r}")
        self._client = open_channel(self._address, security)
        self._is_cancelled = False
        try:
            self.check(CONNECT_TIMEOUT_S)
            self._regions = self._open_regions(transport)
        except BaseException:
            self.close()
            raise

    @property
    def transport(self) -> Transport:
        """How large tensors travel: shm or grpc."""
        return "grpc" if self._regions is None else "shm"

    def __enter__(self) -> TritonConnection:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def check(self, timeout_s: float) -> None:
        """Ask whether the server is ready.

        Raises:
            ServerUnavailable: it is not, or does not say so in time.
            AccessDenied: one side does not accept the other.
        """
        try:
            if not self._ask(lambda: self._client.is_server_ready(client_timeout=timeout_s)):
                raise ServerUnavailable(
                    f"{self.url}: expected a ready Triton, got one that is not. Wait for its models"
                )
        except ServerLost as error:
            problem = handshake_problem(self._address, self._security)
            if problem is None:
                raise
            raise AccessDenied(f"{self.url}: {problem}") from error

    def cancel(self) -> None:
        """Give up all requests under way: they fail at once, here and on the server. Only `close` may follow."""
        self._is_cancelled = True
        self._client.close()

    def close(self, *, tell_server: bool = True) -> None:
        """Free shared memory here and, unless it is known not to answer, on the server; close the channel."""
        if self._is_cancelled and self._regions is not None and tell_server:
            self._client = open_channel(self._address, self._security)  # the old one cannot ask any more
        if self._regions is not None:
            self._regions.close(self._client if tell_server else None)
            self._regions = None
        self._client.close()

    def contract(self, model: str) -> ModelContract:
        """Ask the server for a model's inputs, outputs and parameters.

        Raises:
            RequestRejected: the server has no such model loaded.
        """
        if model not in self._contracts:
            answer = self._ask(lambda: self._client.get_model_config(model, client_timeout=CONNECT_TIMEOUT_S))
            self._contracts[model] = contract_from_config(answer.config, model)
        return self._contracts[model]

    def identity(self, model: str) -> str:
        """Hash the configurations and versions of a model and of all that it needs, as the server has them loaded.

        A network that was exported anew under the same version is not noticed: Triton does not tell.

        Raises:
            RequestRejected: the server has no such model loaded.
        """
        if model not in self._identities:
            config = self._ask(lambda: self._client.get_model_config(model, client_timeout=CONNECT_TIMEOUT_S))
            loaded = self._ask(lambda: self._client.get_model_metadata(model, client_timeout=CONNECT_TIMEOUT_S))
            content = hashlib.sha256(config.SerializeToString(deterministic=True))
            content.update(" ".join(loaded.versions).encode())
            for needed in self.contract(model).needs:
                content.update(self.identity(needed).encode())
            self._identities[model] = content.hexdigest()
        return self._identities[model]

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Run one request and wait for its answer.

        Returns:
            Every output by name, large ones writable.

        Raises:
            ServerUnavailable: there is no answer, or not in time.
            RequestRejected: the server refused the request or failed in it.
        """
        with ExitStack() as stack:
            tensors, outputs, views = self._pack(stack, request)
            try:
                result = self._ask(
                    lambda: self._client.infer(
                        request.model,
                        tensors,
                        outputs=outputs,
                        request_id=request.id,
                        headers=trace_headers(),
                        client_timeout=self._request_timeout_s,
                    )
                )
                names = [spec.name for spec in self.contract(request.model).outputs]
                return {name: views[name].copy() if name in views else result.as_numpy(name) for name in names}
            finally:
                views.clear()  # nobody may hold the region when it is given back

    def _pack(
        self, stack: ExitStack, request: InferRequest
    ) -> tuple[list[triton_grpc.InferInput], list[triton_grpc.InferRequestedOutput], dict[str, np.ndarray]]:
        """Turn arrays into request tensors; large ones are laid one after the other into one borrowed region."""
        shared_in = {name: array for name, array in request.inputs.items() if _is_shareable(array)}
        shared_out = {name: out for name, out in request.large_outputs.items() if out.nbytes >= LARGE_TENSOR_BYTES}
        if self._regions is None:
            shared_in, shared_out = {}, {}
        nbytes = sum(align(array.nbytes) for array in shared_in.values())
        nbytes += sum(align(output.nbytes) for output in shared_out.values())
        region = stack.enter_context(self._borrow(nbytes)) if nbytes else None
        tensors, offset = [], 0
        for name, array in request.inputs.items():
            tensor = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            if region is not None and name in shared_in:
                region.view(offset, array.dtype, array.shape)[...] = array
                tensor.set_shared_memory(region.name, array.nbytes, offset)
                offset += align(array.nbytes)
            else:
                tensor.set_data_from_numpy(np.ascontiguousarray(array))
            tensors.append(tensor)
        outputs, views = [], {}
        for spec in self.contract(request.model).outputs:
            output = triton_grpc.InferRequestedOutput(spec.name)
            large = shared_out.get(spec.name)
            if region is not None and large is not None:
                output.set_shared_memory(region.name, large.nbytes, offset)
                views[spec.name] = region.view(offset, large.dtype, large.shape)
                offset += align(large.nbytes)
            outputs.append(output)
        return tensors, outputs, views

    def _open_regions(self, transport: Transport) -> RegionPool | None:
        if transport == "grpc" or (transport == "auto" and not self._address.is_local):
            return None
        pool = None
        try:
            pool = RegionPool(self._client)
            with pool.borrow(1):
                return pool
        except (InferenceServerException, OSError) as error:
            if pool is not None:
                pool.close(self._client)
            if transport == "auto":
                return None
            raise RequestRejected(
                f"--transport shm: expected a server that shares this host's /dev/shm, got: {error}."
                " Use --transport grpc"
            ) from error

    def _borrow(self, nbytes: int) -> AbstractContextManager[Region]:
        regions = self._regions
        if regions is None:
            raise ServerLost(f"{self.url}: the connection was closed")
        try:
            return self._ask(lambda: regions.borrow(nbytes))
        except OSError as error:
            raise ServerUnavailable(
                f"/dev/shm: expected room for {nbytes} bytes, got: {error.strerror}."
                " Free some, start the container with --shm-size=1g, or use --transport grpc"
            ) from error

    def _ask(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except InferenceServerException as error:
            raise _in_our_words(self.url, error) from error
        except (grpc.RpcError, ValueError) as error:
            raise ServerLost(f"{self.url}: the connection was closed ({error})") from error


def _is_shareable(array: np.ndarray) -> bool:
    """Say whether an input travels through shared memory; texts never do, as Triton wants them with their lengths."""
    return array.nbytes >= LARGE_TENSOR_BYTES and array.dtype.kind not in TEXT_KINDS


def _in_our_words(url: str, error: InferenceServerException) -> LipSyncError:
    """Map Triton's and gRPC's errors to the client's, with what to do."""
    status, message = error.status(), error.message()
    if status in DENIED or (status == UNAVAILABLE and DENIED_MARK in message):
        return AccessDenied(f"{url}: expected a token that the server accepts, got: {message}. Check --token-file")
    if any(mark in message for mark in BUSY_MARKS):
        return ServerBusy(
            f"{url}: expected room for a request, got: {message}. Add servers, or send fewer jobs at once"
        )
    if STUB_MARK in message:
        return ModelDied(f"{url}: the server failed in a request: {message}. Its log says why; start it again")
    if status == UNAVAILABLE:
        return ServerLost(
            f"{url}: expected a running Triton, got no connection. Check host and port, or start one: lipsync serve"
        )
    if status == DEADLINE:
        return NoAnswer(f"{url}: expected an answer in time, got none. Is the server overloaded or frozen?")
    if status == CANCELLED:
        return ServerLost(f"{url}: the request was cancelled")
    if status == NOT_FOUND or "is not found" in message:
        return RequestRejected(f"{url}: {message}. Load the model on the server, or let the client start its own")
    if status == INVALID:
        return RequestRejected(message)
    return RequestRejected(f"{url}: the server failed in a request: {message}")
