"""Several Tritons as one: each request goes to the server that should answer first, and elsewhere if that fails.

gRPC's own round_robin sends every server the same share however slow it is, does not notice one that is frozen, and
cannot use shared memory. So this pool serves for any number of servers, and for those behind one dns:/// name.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import numpy as np

from client.errors import AccessDenied, ModelDied, RequestRejected, ServerBusy, ServerLost, ServerUnavailable
from client.servers.access import ServerAccess
from client.servers.calls import InferRequest, Transport
from client.servers.choice import Ask, Wait, decide
from client.servers.connection import TritonConnection
from client.servers.options import PoolOptions
from client.servers.retry import ANSWERED_ELSEWHERE, Retries, UnfitServer
from client.servers.roster import Roster
from client.servers.state import ServerState
from lipsync_core.contract import ModelContract

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class ServerPool:
    """Triton's calls, spread over servers; used by several threads at once, as a context.

    Attributes:
        retries: How often a request was sent again.
    """

    def __init__(self, access: ServerAccess, options: PoolOptions | None = None) -> None:
        """Connect to all servers.

        Args:
            access: Where they are and how to reach them.
            options: How patient to be with them.

        Raises:
            UsageError: No URL is given.
            ServerUnavailable: None of them answers.
            AccessDenied: One side does not accept the other.
        """
        self._options = options or PoolOptions()
        self._roster = Roster(access, self._options)
        self._contracts: dict[str, ModelContract] = {}
        self._identities: dict[str, str] = {}
        self._counting = threading.Lock()
        self.retries = 0

    def __enter__(self) -> ServerPool:
        """Return the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    @property
    def transport(self) -> Transport:
        """How large tensors travel: shm if they do so to every connected server."""
        return self._roster.transport

    @property
    def server_count(self) -> int:
        """How many servers share the work, lost ones included."""
        return len(self._roster)

    @property
    def answered(self) -> dict[str, int]:
        """Number of requests that each server has answered, by its URL."""
        return self._roster.answered

    def is_connected(self, url: str) -> bool:
        """Say whether a server is in use, and not lost."""
        return self._roster.is_connected(url)

    def contract(self, model: str) -> ModelContract:
        """Ask for a model's inputs, outputs and parameters; see TritonConnection."""
        if model not in self._contracts:
            self._contracts[model] = self._anywhere(model, lambda connection: connection.contract(model))
        return self._contracts[model]

    def serves(self, model: str) -> bool:
        """Ask whether a connected server has a model; lost ones are not waited for."""
        return any(connection.serves(model) for connection in self._roster.connections())

    def identity(self, model: str) -> str:
        """Ask which version of a model is served; a server with another version gets no requests for it."""
        if model not in self._identities:
            self.contract(model)
        return self._identities[model] + self._options.stamp_of(model)

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Run one request on the server that should answer first; see TritonConnection.

        A lost connection or a missed deadline sends it elsewhere, at most MAX_ATTEMPTS times; a server whose queue is
        full is left alone for a while.

        Raises:
            ServerUnavailable: No server answered.
            RequestRejected: A server refused the request or failed in it.
        """
        return self._anywhere(request.model, lambda connection: connection.infer(request), request)

    def cancel(self) -> None:
        """Give up all requests under way: they fail at once. Only `close` may follow."""
        self._roster.cancel()

    def close(self) -> None:
        """Close all connections and end the watching threads."""
        self._roster.close()

    def _anywhere(
        self, model: str, call: Callable[[TritonConnection], Result], request: InferRequest | None = None
    ) -> Result:
        """Call one server after the other until one answers.

        Args:
            model: The model that the call is about.
            call: What to do with a server's connection.
            request: The request, whose time the server is judged by; None for a question about the model.
        """
        retries = Retries(self._options.patience_s)
        while True:
            server, connection = self._take(model)
            try:
                with self._judge(server, connection, model, is_request=request is not None):
                    return call(connection)
            except ANSWERED_ELSEWHERE as error:
                if self._roster.is_closed:
                    raise ServerUnavailable("the request was cancelled") from error
                pause_s = retries.pause_s(error, time.monotonic())
                if pause_s is None:
                    raise
                with self._counting:
                    self.retries += 1
                facts = {"request": request.id if request else None, "model": model}
                log.info("request sent again: %s", error, extra=facts)
            self._roster.pause(pause_s)

    def _take(self, model: str) -> tuple[ServerState, TritonConnection]:
        """Wait for a server that can be asked for a model, and count one more request under way there."""
        give_up_at = time.monotonic() + self._options.comeback_s
        with self._roster.changed:
            while not self._roster.is_closed:
                now = time.monotonic()
                match decide(self._roster.snapshots(now), model, give_up_at - now):
                    case Ask(url):
                        server = self._roster[url]
                        assert server.connection is not None
                        server.under_way[model] += 1
                        return server, server.connection
                    case Wait(at_most_s):
                        self._roster.changed.wait(at_most_s)
                    case None:
                        raise self._roster.why_none(model)
        raise ServerUnavailable("the request was cancelled")

    @contextmanager
    def _judge(
        self, server: ServerState, connection: TritonConnection, model: str, *, is_request: bool
    ) -> Generator[None, None, None]:
        """Check that a server has the right version of a model, and learn from what becomes of a call to it."""
        started = None
        try:
            self._check_version(server, connection, model)
            started = time.monotonic() if is_request else None
            yield
            if is_request:
                with self._roster.changed:
                    server.accept()
        except ServerBusy:
            with self._roster.changed:
                server.refuse(time.monotonic())
            started = None  # a quick refusal is no quick answer
            raise
        except (ServerLost, AccessDenied, ModelDied) as error:
            self._roster.lose(server, connection, error)
            raise
        finally:
            now = time.monotonic()
            with self._roster.changed:
                if started is not None:
                    server.learn(model, now - started, now)
                server.under_way[model] -= 1
                self._roster.changed.notify_all()

    def _check_version(self, server: ServerState, connection: TritonConnection, model: str) -> None:
        """Leave a server out for a model that it lacks, or has in another version: results must not differ."""
        try:
            identity = connection.identity(model)
            if self._identities.setdefault(model, identity) == identity:
                return
            error = RequestRejected(about=connection.url, expected=f"the other servers' {model}", got="another version")
        except RequestRejected as rejection:
            error = rejection
        self._roster.leave_out(server, model, error)
        raise UnfitServer(
            error.message, about=error.about, expected=error.expected, got=error.got, advice=error.advice
        ) from error
