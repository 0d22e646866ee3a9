"""Calls to one running Triton: contracts, tensors by gRPC or shared memory, Triton's errors as the client's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TypeVar

import grpc
import numpy as np
from tritonclient.utils import InferenceServerException

from client.errors import LipSyncError, RequestRejected, ServerLost, ServerUnavailable, ref
from client.servers.addresses import Address, parse_address
from client.servers.calls import InferRequest, Transport
from client.servers.channel import open_channel
from client.servers.diagnosis import connection_problem
from client.servers.security import IN_THE_CLEAR, Security
from client.servers.shared_memory import Region, RegionPool
from client.servers.status import client_error
from client.servers.tensors import Packer, shared_nbytes
from client.shortage import raise_if_short
from client.tracing import trace_headers
from lipsync_core.config_file import contract_from_config
from lipsync_core.contract import ModelContract

Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 300.0
DEFAULT_PRIORITY = 0  # Triton's word for a model's default_priority_level


class TritonConnection:
    """A connection to one Triton, used by several threads at once.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        server_name: What it calls itself; those that `lipsync serve` starts have a new name at each start.
    """

    server_count = 1

    def __init__(
        self,
        url: str | Address,
        transport: Transport = "auto",
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        security: Security = IN_THE_CLEAR,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        """Connect and choose how large tensors travel.

        Args:
            url: HOST:PORT of the server's gRPC endpoint, or its address.
            transport: shm for system shared memory, grpc for message bodies, auto for shm if the server is on this
                host and can map the client's memory.
            request_timeout_s: Timeout per inference request, in seconds.
            security: Encryption, certificates and token.
            priority: Level of the requests in the server's queues, 1 for the first to be served, 0 for the model's
                default.

        Raises:
            UsageError: The URL is not HOST:PORT, or a token would cross the network unencrypted.
            ServerUnavailable: There is no answer, or the server is not ready.
            AccessDenied: One side does not accept the other.
            RequestRejected: The transport is shm, and the server cannot map the client's memory.
        """
        self._address = url if isinstance(url, Address) else parse_address(url)
        self._security = security
        self.url = self._address.url
        self._request_timeout_s = request_timeout_s
        self._priority = priority
        self._contracts: dict[str, ModelContract] = {}
        self._identities: dict[str, str] = {}
        self._regions: RegionPool | None = None
        self._client = open_channel(self._address, security)
        self._is_cancelled = False
        self.server_name = ""
        try:
            self.check(CONNECT_TIMEOUT_S)
            self.server_name = self._ask(
                lambda: self._client.get_server_metadata(client_timeout=CONNECT_TIMEOUT_S)
            ).name
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
        """Check that the server is ready.

        Raises:
            ServerUnavailable: It is not, or does not answer in time.
            AccessDenied: One side does not accept the other.
        """
        try:
            if not self._ask(lambda: self._client.is_server_ready(client_timeout=timeout_s)):
                raise ServerUnavailable(
                    about=self.url,
                    expected="a Triton that is ready",
                    got="one that is not",
                    advice="Wait until its models are loaded",
                )
        except ServerLost as error:
            problem = connection_problem(self._address, self._security)
            if problem is None:
                raise
            raise problem from error

    def cancel(self) -> None:
        """Give up all requests under way: they fail at once, here and on the server. Only `close` may follow."""
        self._is_cancelled = True
        self._client.close()

    def close(self, *, tell_server: bool = True) -> None:
        """Free shared memory and close the channel.

        Args:
            tell_server: Whether to free the memory on the server too; False if the server is known not to answer.
        """
        if self._is_cancelled and self._regions is not None and tell_server:
            self._client = open_channel(self._address, self._security)  # the old one is closed
        if self._regions is not None:
            self._regions.close(self._client if tell_server else None)
            self._regions = None
        self._client.close()

    def contract(self, model: str) -> ModelContract:
        """Ask the server for a model's inputs, outputs and parameters.

        Raises:
            RequestRejected: The server has not loaded such a model.
        """
        if model not in self._contracts:
            answer = self._ask(lambda: self._client.get_model_config(model, client_timeout=CONNECT_TIMEOUT_S))
            self._contracts[model] = contract_from_config(answer.config, model)
        return self._contracts[model]

    def serves(self, model: str) -> bool:
        """Ask whether the server has loaded a model; False too if it does not answer."""
        try:
            self.contract(model)
        except LipSyncError:
            return False
        return True

    def identity(self, model: str) -> str:
        """Hash the configurations and versions of a model and of all models that it calls, as the server loaded them.

        A network that was exported again under the same version goes unnoticed: Triton does not tell.

        Raises:
            RequestRejected: The server has not loaded such a model.
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
            All outputs by name; large ones are writable.

        Raises:
            ServerUnavailable: There is no answer, or not in time.
            RequestRejected: The server refused the request or failed in it.
        """
        names = [spec.name for spec in self.contract(request.model).outputs]
        nbytes = 0 if self._regions is None else shared_nbytes(request)
        with self._borrow(nbytes) if nbytes else nullcontext() as region:
            packer = Packer(region)
            inputs = [packer.input(name, array) for name, array in request.inputs.items()]
            outputs = [packer.output(name, request.large_outputs.get(name)) for name in names]
            try:
                result = self._ask(
                    lambda: self._client.infer(
                        request.model,
                        inputs,
                        outputs=outputs,
                        request_id=request.id,
                        priority=self._priority,
                        headers=trace_headers(),
                        client_timeout=self._request_timeout_s,
                    )
                )
                views = packer.views
                return {name: views[name].copy() if name in views else result.as_numpy(name) for name in names}
            finally:
                packer.views.clear()

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
                option="transport",
                expected="a server that shares this host's /dev/shm",
                got=getattr(error, "strerror", None) or error,
                advice=f"Use {ref('transport')} grpc",
            ) from error

    def _borrow(self, nbytes: int) -> AbstractContextManager[Region]:
        regions = self._regions
        if regions is None:
            raise ServerLost("the connection was closed", about=self.url)
        try:
            return self._ask(lambda: regions.borrow(nbytes))
        except OSError as error:
            raise_if_short(error)
            raise ServerUnavailable(
                about="/dev/shm",
                expected=f"room for {nbytes} bytes",
                got=error.strerror,
                advice=f"Free some, give the container more (Docker's shm-size), or use {ref('transport')} grpc",
            ) from error

    def _ask(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except InferenceServerException as error:
            raise client_error(self.url, error) from error
        except (grpc.RpcError, ValueError) as error:
            raise ServerLost(f"the connection was closed ({error})", about=self.url) from error
