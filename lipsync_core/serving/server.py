"""The embedded Triton: starts, waits until ready, and always goes away with the process that started it."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from lipsync_core.repository import check_models, check_networks, other_version, served_models
from lipsync_core.serving.access import TOKEN_HEADER, Access
from lipsync_core.serving.endpoints import LOOPBACK, NO_PROXY, bracketed, is_loopback
from lipsync_core.serving.gpus import pinned
from lipsync_core.serving.links import link_models
from lipsync_core.serving.ports import free_port, listens, taken_ports
from lipsync_core.serving.processes import FROZEN, WATCHING, descendants, ending_words
from lipsync_core.serving.runtime import ServerStartError, find_runtime
from lipsync_core.serving.server_log import LOG_LINES_SHOWN, asked_of_another_version, relevant_lines
from lipsync_core.serving.shared_memory import ADVICE, EXHAUSTED_MARKS, SHARED_MEMORY, free_shared_memory
from lipsync_core.serving.supervisor import COMMAND_VARIABLE, LOG_FILE

COMPILE_TIMEOUT_S = 3600.0  # a flavour may compile or tune at its first start
READY_POLL_S = 0.05
READY_CALL_TIMEOUT_S = 1.0
WATCHING_TIMEOUT_S = 5.0  # for the supervisor to list the models' processes
STOP_TIMEOUT_S = 10.0  # for the supervisor to clean up, beyond the server's grace
PORT_TRIES = 3  # a free port may be taken between our look and the server's bind
PORT_TAKEN_MARKS = (
    "already in use",
    "failed to start GRPC",
    "failed to start HTTP",
    "failed to start Metrics",
)
MISSING_LIBRARY_MARK = "error while loading shared libraries"


@dataclass(frozen=True)
class ServerOptions:
    """What to serve and where; a port left out is a free one for gRPC, and off for HTTP and metrics."""

    repository: Path
    models: tuple[str, ...]
    grpc_port: int | None = None
    http_port: int | None = None
    metrics_port: int | None = None
    address: str = LOOPBACK  # of gRPC; HTTP and metrics stay on loopback
    access: Access = field(default_factory=Access)
    config_name: str | None = None
    startup_timeout_s: float = 120.0
    ends_after_freeze: bool = False  # its answers may be wrong then, but most servers survive a freeze
    gpu: str | None = None  # the one that it may use, as CUDA_VISIBLE_DEVICES names it; None for all that are visible
    stop_grace_s: float = 0.0  # time for requests under way when it is stopped; a job's own server has none left
    extra_arguments: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check what only makes sense together.

        Raises:
            ValueError: an address that other hosts reach without TLS and a token or client certificates, or with
                shared memory; TLS without an HTTP port, at which readiness is asked.
        """
        access = self.access
        is_guarded = access.uses_tls and access.asks_who_calls and not access.shares_memory
        if not is_loopback(self.address) and not is_guarded:
            raise ValueError(
                f"address: expected {LOOPBACK} or ::1, or TLS with a token or a client CA and no shared memory,"
                f" got {self.address} without them"
            )
        if access.uses_tls and self.http_port is None:
            raise ValueError("http_port: expected one beside TLS, got none. Readiness is asked there")


class EmbeddedServer:
    """A tritonserver of our own on loopback, as a context manager.

    Attributes:
        url: HOST:PORT of its gRPC endpoint, once entered.
        log_path: its log, which is removed with the server.
        shm_prefix: what the names of its shared memory in /dev/shm begin with.
    """

    url: str
    log_path: Path
    shm_prefix: str

    def __init__(self, options: ServerOptions) -> None:
        """Prepare a server; nothing is started before the context is entered."""
        self.options = options
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._exit_text: str | None = None
        self._id = ""  # by which the server is told from another that is quicker at its port

    def __enter__(self) -> EmbeddedServer:
        """Start the server and wait until all its models are ready.

        Raises:
            ServerStartError: it does not start; the message says what to do and shows the log's relevant lines.
        """
        tries = 1 if self.options.grpc_port else PORT_TRIES
        for attempt in range(1, tries + 1):
            port = self.options.grpc_port or free_port()
            try:
                self._start(port)
                self._wait_until_ready()
                self._watch_stubs()
                return self
            except _PortTaken:
                self.stop()
                if attempt == tries:
                    raise ServerStartError(_port_taken_text(self.options, port)) from None
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable: the loop returns or raises")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the server and its Python stubs, for measurements."""
        if self._supervisor is None:
            return []
        return [pid for pid in descendants(self._supervisor.pid) if pid != self._supervisor.pid]

    def is_alive(self) -> bool:
        """Say whether the server process still runs."""
        return self._supervisor is not None and self._exit_line() is None

    def ends_within(self, timeout_s: float) -> bool:
        """Wait for the server to end by itself; return whether it did."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(READY_POLL_S)
        return not self.is_alive()

    def how_it_ended(self) -> str:
        """Describe in a few words how the server process ended by itself."""
        return ending_words(self._exit_line() or "")

    def was_frozen(self) -> bool:
        """Say whether it was ended because it had been frozen."""
        return (self._exit_line() or "").strip() == FROZEN

    def log_excerpt(self, lines: int = LOG_LINES_SHOWN) -> str:
        """Return the log's relevant lines: its errors and tracebacks, else its end."""
        return relevant_lines(self.log_path.read_text(errors="replace"), lines) if self.log_path.exists() else ""

    def stop(self) -> None:
        """End the server and remove its folder and shared memory; safe to call again."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            assert supervisor.stdin is not None
            assert supervisor.stdout is not None
            supervisor.stdin.close()
            try:
                supervisor.wait(self.options.stop_grace_s + STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()
            supervisor.stdout.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self, port: int) -> None:
        runtime = find_runtime()
        free_shared_memory()  # fails where there is none
        if taken_ports(_ports(self.options, port)):
            raise _PortTaken
        try:
            check_models(self.options.repository, self.options.models)
            models = served_models(self.options.repository, list(self.options.models), self.options.config_name)
            check_networks(self.options.repository, models, self.options.config_name)
        except ValueError as error:
            raise ServerStartError(str(error)) from error
        self._id = f"lipsync-server-{secrets.token_hex(4)}"
        self._exit_text = None
        self.url = f"{bracketed(self.options.address)}:{port}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self._id}-"))
        self.log_path = self._folder / LOG_FILE
        self.shm_prefix = f"{self._id}-"
        command = [
            str(runtime.executable),
            f"--id={self._id}",
            f"--backend-directory={runtime.lay_out_backends(self._folder / 'backends')}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--model-repository={link_models(self.options.repository, models, self._folder / 'models')}",
            *_server_arguments(self.options, port),
        ]
        supervisor = [sys.executable, "-m", "lipsync_core.serving.supervisor", "--folder", str(self._folder)]
        self._supervisor = subprocess.Popen(
            [
                *supervisor,
                "--shm-prefix",
                self.shm_prefix,
                f"--grace-s={self.options.stop_grace_s}",
                *(["--end-after-freeze"] if self.options.ends_after_freeze else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that what `select` does not see has not been read
            env=runtime.environment(os.environ) | pinned(self.options.gpu) | {COMMAND_VARIABLE: json.dumps(command)},
            start_new_session=True,  # the terminal's Ctrl-C is for the client, which then stops the server
        )

    def _watch_stubs(self) -> None:
        """Let the supervisor end the server when a model's process dies; while it starts, Triton itself does.

        Returns once the supervisor watches; for processes that died earlier nobody knows which model they ran.
        """
        assert self._supervisor is not None
        assert self._supervisor.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `is_alive` will tell
            self._supervisor.stdin.write(b"ready\n")
        self._read_line(WATCHING_TIMEOUT_S)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.options.startup_timeout_s
        channel = [NO_PROXY, ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
        with triton_grpc.InferenceServerClient(self.url, channel_args=channel) as client:
            while not self._answers_ready(client):
                if self._exit_line() is not None:
                    raise self._start_error(f"it ended while starting, {self.how_it_ended()}")
                if time.monotonic() > deadline:
                    raise self._start_error(f"it was not ready within {self.options.startup_timeout_s:g} s")
                time.sleep(READY_POLL_S)

    def _answers_ready(self, client: triton_grpc.InferenceServerClient) -> bool:
        """Ask by gRPC; with TLS by HTTP, as we have no client's certificate. Triton opens gRPC first of its ports."""
        if not (self._answers_by_http() if self.options.access.uses_tls else self._answers_by_grpc(client)):
            return False
        return all(listens(port) for port in (self.options.http_port, self.options.metrics_port) if port is not None)

    def _answers_by_http(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.options.http_port, timeout=READY_CALL_TIMEOUT_S)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _answers_by_grpc(self, client: triton_grpc.InferenceServerClient) -> bool:
        """Ask by gRPC whether the server is ready, and whether it is the one that we started."""
        token = self.options.access.token
        headers = None if token is None else {TOKEN_HEADER: f"Bearer {token}"}
        try:
            return (
                client.is_server_ready(client_timeout=READY_CALL_TIMEOUT_S)
                and client.get_server_metadata(headers, client_timeout=READY_CALL_TIMEOUT_S).name == self._id
            )
        except InferenceServerException:
            return False

    def _exit_line(self) -> str | None:
        """Return the supervisor's line about the server's end, or about its own; None while the server runs."""
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdout is None or supervisor.stdout.closed:
            return "stopped"
        if self._exit_text is None:
            self._read_line(timeout_s=0)
        return self._exit_text

    def _read_line(self, timeout_s: float) -> None:
        """Read the supervisor's next line, if it comes in time, and note how the server ended; "" if it is gone."""
        assert self._supervisor is not None
        assert self._supervisor.stdout is not None
        if select.select([self._supervisor.stdout], [], [], timeout_s)[0]:
            line = self._supervisor.stdout.readline().decode()
            if line.strip() != WATCHING:
                self._exit_text = line

    def _start_error(self, what: str) -> ServerStartError:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        if any(mark in text for mark in PORT_TAKEN_MARKS):
            return _PortTaken()
        asked = asked_of_another_version(text)
        if asked is not None:
            return ServerStartError(str(other_version(self.options.repository, f"others ({asked})")))
        hint = ""
        if MISSING_LIBRARY_MARK in text:
            hint = " Install the package that holds the library named below."
        elif any(mark in text for mark in EXHAUSTED_MARKS):
            hint = f" {SHARED_MEMORY} is full. {ADVICE}."
        return ServerStartError(f"tritonserver: {what}.{hint}\n{relevant_lines(text, LOG_LINES_SHOWN)}".rstrip())


class _PortTaken(ServerStartError):
    """The port was taken between choosing and binding it."""


def _server_arguments(options: ServerOptions, grpc_port: int) -> list[str]:
    """Build tritonserver's own arguments."""
    arguments = [
        "--model-control-mode=none",  # loading a model runs its code: no caller may, not even on this host
        f"--grpc-address={bracketed(options.address)}",
        f"--grpc-port={grpc_port}",
        f"--allow-http={str(options.http_port is not None).lower()}",
        f"--allow-metrics={str(options.metrics_port is not None).lower()}",
        f"--exit-timeout-secs={math.ceil(options.stop_grace_s)}",
        "--disable-auto-complete-config",
        *options.access.arguments(),
    ]
    if options.http_port is not None:
        arguments += [f"--http-address={LOOPBACK}", f"--http-port={options.http_port}"]
    if options.metrics_port is not None:
        arguments += [f"--metrics-address={LOOPBACK}", f"--metrics-port={options.metrics_port}"]
    if options.config_name is not None:
        arguments.append(f"--model-config-name={options.config_name}")
    return [*arguments, *options.extra_arguments]


def _port_taken_text(options: ServerOptions, grpc_port: int) -> str:
    ports = _ports(options, grpc_port)
    text = ", ".join(map(str, taken_ports(ports) or ports))
    return f"tritonserver: expected free ports, got port {text} taken. Choose another, or end the program that uses it"


def _ports(options: ServerOptions, grpc_port: int) -> list[int]:
    return [port for port in (grpc_port, options.http_port, options.metrics_port) if port is not None]
