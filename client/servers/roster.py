"""The servers of a pool: connects to them, watches them, loses and regains them, and follows a DNS name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from client.errors import LipSyncError, ModelDied, RequestRejected, ServerUnavailable, UsageError
from client.servers.access import ServerAccess
from client.servers.addresses import Address
from client.servers.calls import Transport
from client.servers.choice import Snapshot
from client.servers.connection import TritonConnection
from client.servers.options import PoolOptions
from client.servers.state import ServerState

log = logging.getLogger(__name__)


class Roster:
    """The servers of a pool, each watched by a thread of its own.

    Attributes:
        changed: Guards all states; notified when a server comes or goes, or has more room.
    """

    def __init__(self, access: ServerAccess, options: PoolOptions) -> None:
        """Connect to all servers at once and begin to watch them.

        Raises:
            UsageError: No URL is given.
            ServerUnavailable: None of them answers.
            AccessDenied: One side does not accept the other.
        """
        self.changed = threading.Condition()
        servers = access.servers
        if servers is None:
            raise UsageError(option="url", expected="a server's address", got="none")
        self._access = access
        self._where = servers
        self._options = options
        self._closed = threading.Event()
        self._servers: dict[str, ServerState] = {}
        self._watchers: list[threading.Thread] = []
        try:
            self._add(servers.find())
            self._connect_all()
            if servers.name is not None:
                self._start(self._follow_name)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Count the servers, lost ones included."""
        return len(self._servers)

    @property
    def is_closed(self) -> bool:
        """Whether the pool was closed or its requests cancelled."""
        return self._closed.is_set()

    @property
    def transport(self) -> Transport:
        """How large tensors travel: shm if they do so to every connected server."""
        ways = {connection.transport for connection in self.connections()}
        return "shm" if ways == {"shm"} else "grpc"

    @property
    def answered(self) -> dict[str, int]:
        """Number of requests that each server has answered, by its URL."""
        with self.changed:
            return {url: server.answered for url, server in self._servers.items()}

    def __getitem__(self, url: str) -> ServerState:
        """Return a server by its URL; only while `changed` is held."""
        return self._servers[url]

    def is_connected(self, url: str) -> bool:
        """Say whether a server is in use, and not lost."""
        with self.changed:
            return url in self._servers and self._servers[url].connection is not None

    def snapshots(self, now: float) -> list[Snapshot]:
        """Return what choosing a server depends on; only while `changed` is held."""
        return [server.snapshot(now) for server in self._servers.values()]

    def why_none(self, model: str = "") -> LipSyncError:
        """Return the error that keeps the first server from being asked for a model."""
        with self.changed:
            problems = [server.unfit.get(model, server.problem) for server in self._servers.values()]
        return next(filter(None, problems), ServerUnavailable(option="url", expected="a server", got="none"))

    def pause(self, seconds: float) -> None:
        """Wait this long, but no longer than until the pool is closed."""
        self._closed.wait(seconds)

    def leave_out(self, server: ServerState, model: str, error: LipSyncError) -> None:
        """Stop asking a server for a model until it is restarted."""
        with self.changed:
            server.unfit[model] = error
            if isinstance(error, ModelDied):
                server.died.add(model)
        log.warning("not asked for %s: %s", model, error, extra={"server": server.address.url})

    def lose(self, server: ServerState, connection: TritonConnection, error: LipSyncError) -> None:
        """Leave a server out until it answers again; its other requests fail at once and go elsewhere."""
        with self.changed:
            if server.connection is not connection:
                return
            server.connection, server.problem, server.died_as = None, error, connection.server_name
            self.changed.notify_all()
        if not self.is_closed:
            log.warning("left out until it answers again: %s", error, extra={"server": server.address.url})
        connection.cancel()
        connection.close(tell_server=False)

    def cancel(self) -> None:
        """Give up all requests under way: they fail at once. Only `close` may follow."""
        for connection in self._end(forget=False):
            connection.cancel()

    def close(self) -> None:
        """Close all connections and end the watching threads."""
        for connection in self._end(forget=True):
            connection.close()
        for watcher in self._watchers:
            watcher.join(self._options.check_timeout_s)

    def _end(self, *, forget: bool) -> list[TritonConnection]:
        """Wake everybody who waits, stop connecting, and return the connections; drop them here if `forget`."""
        with self.changed:
            self._closed.set()
            self.changed.notify_all()
            connections = self.connections()
            for server in self._servers.values() if forget else ():
                server.connection = None
        return connections

    def connections(self) -> list[TritonConnection]:
        """Return the connections to those servers that are not lost."""
        with self.changed:
            return [server.connection for server in self._servers.values() if server.connection is not None]

    def _add(self, addresses: list[Address]) -> list[ServerState]:
        """Add the servers that are new, and return them."""
        for address in addresses:
            self._access.security.check(address)
        with self.changed:
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
            raise self.why_none()
        for server in servers:
            if server.connection is None:
                log.warning("left out until it answers: %s", server.problem, extra={"server": server.address.url})
            self._start(self._watch, server)

    def _connect(self, server: ServerState) -> None:
        access = self._access
        try:
            connection = TritonConnection(
                server.address, access.transport, access.request_timeout_s, access.security, access.priority
            )
        except (ServerUnavailable, RequestRejected) as error:
            with self.changed:
                server.problem = error
            return
        with self.changed:
            is_same = isinstance(server.problem, ModelDied) and connection.server_name == server.died_as
            if not is_same and not self.is_closed and server.is_listed:
                server.connect(connection)
                self.changed.notify_all()
                return
        connection.close()

    def _watch(self, server: ServerState) -> None:
        """Check again and again that a server is ready; try to reach it again once it is lost."""
        misses = 0
        while server.is_listed and not self._closed.wait(self._options.check_every_s):
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
                    self.lose(server, connection, error)

    def _follow_name(self) -> None:
        """Look the name up repeatedly: add new servers, and drop those that are no longer listed once they are lost."""
        while not self._closed.wait(self._options.look_up_every_s):
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
        with self.changed:
            for url, server in list(self._servers.items()):
                if url not in listed and server.connection is None:
                    server.is_listed = False
                    del self._servers[url]

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name="watcher")
        self._watchers.append(thread)
        thread.start()
