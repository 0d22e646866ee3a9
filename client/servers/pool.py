"""Several Tritons as one: each request goes to the server that should answer first, and elsewhere should that fail.

gRPC's own round_robin sends every server the same share however slow it is, does not notice one that is frozen, and
knows no shared memory. So this pool is used for any number of servers, also for those behind one dns:/// name.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import numpy as np

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
from client.servers.addresses import Servers
from client.servers.calls import InferRequest, Transport
from client.servers.channel import Address
from client.servers.connection import TritonConnection
from client.servers.options import PoolOptions
from client.servers.state import ServerState, backoff_s
from lipsync_core.contract import ModelContract

Result = TypeVar("Result")

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 4  # of one request, refusals for want of room not counted
FIRST_GUESS_S = 1.0  # per request, before any server has answered one


class ServerPool:
    """Triton's calls, spread over servers; used by several threads at once, as a context."""

    def __init__(self, servers: Servers, options: PoolOptions | None = None) -> None:
        """Connect to all servers.

        Args:
            servers: where they are.
            options: how to deal with them.

        Raises:
            ServerUnavailable: none of them answers.
            AccessDenied: one side does not accept the other.
        """
        self._where = servers
        self._options = options or PoolOptions()
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._servers: dict[str, ServerState] = {}
        self._contracts: dict[str, ModelContract] = {}
        self._identities: dict[str, str] = {}
        self._watchers: list[threading.Thread] = []
        self.retries = 0
        try:
            self._add(servers.find())
            self._connect_all()
            if servers.name is not None:
                self._start(self._follow_name)
        except BaseException:
            self.close()
            raise

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
        """How large tensors travel: shm where they do so to every server."""
        with self._changed:
            ways = {server.connection.transport for server in self._servers.values() if server.connection is not None}
        return "shm" if ways == {"shm"} else "grpc"

    @property
    def server_count(self) -> int:
        """How many servers share the work, lost ones included."""
        return len(self._servers)

    @property
    def answered(self) -> dict[str, int]:
        """How many requests each server has answered, by its URL."""
        with self._changed:
            return {url: server.answered for url, server in self._servers.items()}

    def is_connected(self, url: str) -> bool:
        """Say whether a server is in use, and not left out."""
        with self._changed:
            return url in self._servers and self._servers[url].connection is not None

    def contract(self, model: str) -> ModelContract:
        """Ask for a model's inputs, outputs and parameters; see TritonConnection."""
        if model not in self._contracts:
            self._contracts[model] = self._anywhere(model, lambda connection: connection.contract(model))
        return self._contracts[model]

    def identity(self, model: str) -> str:
        """Ask which version of a model is served; a server with another one gets no requests for it."""
        if model not in self._identities:
            self.contract(model)
        return self._identities[model] + self._options.models_stamp

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Run one request on the server that should answer first; see TritonConnection.

        A lost connection or a missed deadline sends it elsewhere, at most MAX_ATTEMPTS times; a server whose queue is
        full is left alone for a while.

        Raises:
            ServerUnavailable: no server answered.
            RequestRejected: a server refused the request or failed in it.
        """
        return self._anywhere(request.model, lambda connection: connection.infer(request), request.id)

    def cancel(self) -> None:
        """Give up all requests under way: they fail at once. Only `close` may follow."""
        with self._changed:
            self._is_closed.set()
            connections = [server.connection for server in self._servers.values() if server.connection is not None]
            self._changed.notify_all()
        for connection in connections:
            connection.cancel()

    def close(self) -> None:
        """Close all connections and end the watching threads."""
        with self._changed:
            self._is_closed.set()
            connections = [server.connection for server in self._servers.values() if server.connection is not None]
            for server in self._servers.values():
                server.connection = None
            self._changed.notify_all()
        for connection in connections:
            connection.close()
        for watcher in self._watchers:
            watcher.join(self._options.check_timeout_s)

    def _anywhere(
        self, model: str, call: Callable[[TritonConnection], Result], request_id: str | None = None
    ) -> Result:
        """Call one server after the other until one answers.

        Args:
            model: that the call is about.
            call: what to do with a server's connection.
            request_id: of a request to the model, by whose time the server is judged; None for a question about it.
        """
        attempt, refused_since = 1, None
        while True:
            try:
                with self._lend(model, is_request=request_id is not None) as connection:
                    return call(connection)
            except (ServerBusy, NoAnswer, _Elsewhere) as error:
                if self._is_closed.is_set():
                    raise ServerUnavailable("the request was cancelled") from error
                refused_since = self._give_up_or(error, attempt, refused_since)
                attempt += not isinstance(error, (ServerBusy, _Unfit))
                with self._changed:
                    self.retries += 1
                log.info("request sent again: %s", error, extra={"request": request_id, "model": model})
            if attempt > 1:
                self._is_closed.wait(backoff_s(attempt - 2))

    def _give_up_or(self, error: LipSyncError, attempt: int, refused_since: float | None) -> float | None:
        """Raise the error once it came too often or for too long; return since when servers had no room."""
        if not isinstance(error, ServerBusy):
            if attempt >= MAX_ATTEMPTS and not isinstance(error, _Unfit):
                raise error.cause if isinstance(error, _Elsewhere) else error
            return refused_since
        now = time.monotonic()
        if refused_since is not None and now - refused_since > self._options.patience_s:
            raise error
        return refused_since or now

    @contextmanager
    def _lend(self, model: str, *, is_request: bool) -> Generator[TritonConnection, None, None]:
        """Lend the connection of the server that should answer first, and learn from what becomes of the call."""
        server, connection = self._take(model)
        started = None
        try:
            self._check_version(server, connection, model)
            started = time.monotonic() if is_request else None
            yield connection
            if is_request:
                with self._changed:
                    server.accept()
        except ServerBusy:
            with self._changed:
                server.refuse()
            started = None  # a quick refusal is no quick answer
            raise
        except ModelDied as error:
            self._leave_out(server, model, error)
            raise _Elsewhere(error) from error
        except (ServerLost, AccessDenied) as error:
            self._lose(server, connection, error)
            raise _Elsewhere(error) from error
        finally:
            with self._changed:
                if started is not None:
                    server.learn(model, time.monotonic() - started)
                server.under_way[model] -= 1
                self._changed.notify_all()

    def _take(self, model: str) -> tuple[ServerState, TritonConnection]:
        """Wait for a server and choose the best one."""
        give_up = time.monotonic() + self._options.comeback_s
        with self._changed:
            while not self._is_closed.is_set():
                now = time.monotonic()
                fit = [server for server in self._servers.values() if model not in server.unfit]
                live = [server for server in fit if server.connection is not None]
                free = [server for server in live if server.is_free(now)]
                if free:
                    server = self._best(free, model)
                    server.under_way[model] += 1
                    assert server.connection is not None
                    return server, server.connection
                if not fit or (not live and now >= give_up):
                    raise self._why_none(model)
                pauses = [server.paused_until - now for server in live if server.paused_until > now]
                self._changed.wait(min(pauses, default=None if live else give_up - now))
        raise ServerUnavailable("the request was cancelled")

    def _best(self, free: list[ServerState], model: str) -> ServerState:
        known = [seconds for server in free if (seconds := server.known_s(model)) is not None]
        guess_s = min(known, default=FIRST_GUESS_S)
        return min(free, key=lambda server: (server.expected_s(model, guess_s), server.answered, random.random()))

    def _check_version(self, server: ServerState, connection: TritonConnection, model: str) -> None:
        """Leave a server out for a model that it lacks, or has in another version: results must not differ."""
        try:
            identity = connection.identity(model)
            if self._identities.setdefault(model, identity) == identity:
                return
            url = connection.url
            error: LipSyncError = RequestRejected(f"{url}: expected the {model} of the other servers, got another")
        except RequestRejected as rejection:
            error = rejection
        self._leave_out(server, model, error)
        raise _Unfit(error)

    def _leave_out(self, server: ServerState, model: str, error: LipSyncError) -> None:
        """Ask a server for a model no more, until it is started again."""
        with self._changed:
            server.unfit[model] = error
        log.warning("not asked for %s: %s", model, error, extra={"server": server.address.url})

    def _lose(self, server: ServerState, connection: TritonConnection, error: LipSyncError) -> None:
        """Leave a server out until it answers again; its other requests fail at once and go elsewhere."""
        with self._changed:
            if server.connection is not connection:
                return
            server.connection, server.problem = None, error
            is_closing = self._is_closed.is_set()
            self._changed.notify_all()
        if not is_closing:
            log.warning("left out until it answers again: %s", error, extra={"server": server.address.url})
        connection.cancel()
        connection.close(tell_server=False)

    def _why_none(self, model: str = "") -> LipSyncError:
        """Return why the first server cannot be asked, as it was met."""
        problems = [server.unfit.get(model, server.problem) for server in self._servers.values()]
        return next(filter(None, problems), ServerUnavailable("--url: expected a server, got none"))

    def _add(self, addresses: list[Address]) -> list[ServerState]:
        for address in addresses:
            self._options.security.check(address)
        with self._changed:
            new = [ServerState(address) for address in addresses if address.url not in self._servers]
            self._servers |= {server.address.url: server for server in new}
        return new

    def _connect_all(self) -> None:
        """Connect to all servers at once; those that cannot be reached are tried again later."""
        servers = list(self._servers.values())
        threads = [threading.Thread(target=self._connect, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not any(server.connection for server in servers):
            raise self._why_none()
        for server in servers:
            if server.connection is None:
                log.warning("left out until it answers: %s", server.problem, extra={"server": server.address.url})
            self._start(self._watch, server)

    def _connect(self, server: ServerState) -> None:
        options = self._options
        try:
            connection = TritonConnection(
                server.address, options.transport, options.request_timeout_s, options.security
            )
        except (ServerUnavailable, RequestRejected) as error:
            with self._changed:
                server.problem = error
            return
        with self._changed:
            if not self._is_closed.is_set() and server.is_listed:
                server.connect(connection)
                self._changed.notify_all()
                return
        connection.close()

    def _watch(self, server: ServerState) -> None:
        """Ask a server now and then whether it is ready; try to reach it again once it is lost."""
        misses = 0
        while server.is_listed and not self._is_closed.wait(self._options.check_every_s):
            connection = server.connection
            if connection is None:
                self._connect(server)
                if server.connection is not None:
                    log.warning("%s answers again", server.address.url, extra={"server": server.address.url})
                misses = 0
                continue
            try:
                connection.check(self._options.check_timeout_s)
                misses = 0
            except LipSyncError as error:
                misses += 1
                if misses >= self._options.max_misses:
                    self._lose(server, connection, error)

    def _follow_name(self) -> None:
        """Take in servers that a name newly stands for; leave those it does not stand for any more."""
        while not self._is_closed.wait(self._options.look_up_every_s):
            try:
                addresses = self._where.find()
            except ServerUnavailable as error:
                log.info("name not found: %s", error)
                continue
            for server in self._add(addresses):
                self._connect(server)
                self._start(self._watch, server)
            self._forget_lost({address.url for address in addresses})

    def _forget_lost(self, listed: set[str]) -> None:
        """Drop servers that are lost and that the name does not stand for any more."""
        with self._changed:
            for url, server in list(self._servers.items()):
                if url not in listed and server.connection is None:
                    server.is_listed = False
                    del self._servers[url]

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name="watcher")
        self._watchers.append(thread)
        thread.start()


class _Elsewhere(ServerUnavailable):
    """A call failed by no fault of its own: another server may answer it."""

    def __init__(self, cause: LipSyncError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Unfit(_Elsewhere):
    """A server cannot be asked for a model, which shows before anything is sent."""
