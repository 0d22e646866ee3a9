"""The embedded Triton: starts, waits until ready, and always goes away with the process that started it."""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from lipsync_core.repository import check_networks, required_models
from lipsync_core.serving.access import TOKEN_HEADER, Access
from lipsync_core.serving.links import link_models
from lipsync_core.serving.runtime import ServerStartError, find_runtime

LOOPBACK = "127.0.0.1"
READY_POLL_S = 0.05
READY_CALL_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 10.0  # for the supervisor to clean up, beyond the server's grace
PORT_TRIES = 3  # a free port may be taken between our look and the server's bind
LOG_LINES_SHOWN, LOG_WIDTH = 8, 400
EXIT_LINE_BYTES = 64
PORT_TAKEN_MARKS = (
    "already in use",
    "failed to start GRPC",
    "failed to start HTTP",
    "failed to start Metrics",
)
SHM_FULL_MARKS = ("shared memory pool", "Unable to increase the shared memory", "No space left on device")
BACKTRACE_LINE = re.compile(r" *\d+# ")
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
    stop_grace_s: float = 0.0  # time for requests under way when it is stopped; a job's own server has none left
    extra_arguments: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check what only makes sense together.

        Raises:
            ValueError: an address that other hosts reach without TLS and a token or client certificates, or with
                shared memory; TLS without an HTTP port, at which readiness is asked.
        """
        access = self.access
        if self.address != LOOPBACK and not (access.uses_tls and access.asks_who_calls and not access.shares_memory):
            raise ValueError(
                f"address: expected {LOOPBACK}, or TLS with a token or a client CA and no shared memory,"
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

    def how_it_ended(self) -> str:
        """Say in a few words how the server process ended, which did so by itself."""
        return ending_words(self._exit_line() or "")

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
        if _taken_ports(self.options, port):
            raise _PortTaken
        try:
            models = required_models(self.options.repository, list(self.options.models))
            check_networks(self.options.repository, models, self.options.config_name)
        except ValueError as error:
            raise ServerStartError(str(error)) from error
        self._id = f"lipsync-server-{secrets.token_hex(4)}"
        self._exit_text = None
        self.url = f"{self.options.address}:{port}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self._id}-"))
        self.log_path = self._folder / "triton.log"
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
                "--",
                *command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=runtime.environment(os.environ),
            start_new_session=True,  # the terminal's Ctrl-C is for the client, which then stops the server
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.options.startup_timeout_s
        backoff = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
        with triton_grpc.InferenceServerClient(self.url, channel_args=backoff) as client:
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
        return all(_listens(port) for port in (self.options.http_port, self.options.metrics_port) if port is not None)

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
        """Ask whether it is ready, and whether it is ours."""
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
        """Return the supervisor's word that the server ended (or its own end), None while the server runs."""
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdout is None or supervisor.stdout.closed:
            return "stopped"
        if self._exit_text is None and select.select([supervisor.stdout], [], [], 0)[0]:
            self._exit_text = os.read(supervisor.stdout.fileno(), EXIT_LINE_BYTES).decode()
        return self._exit_text

    def _start_error(self, what: str) -> ServerStartError:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        if any(mark in text for mark in PORT_TAKEN_MARKS):
            return _PortTaken()
        hint = ""
        if MISSING_LIBRARY_MARK in text:
            hint = " Install the package that holds the library named below."
        elif any(mark in text for mark in SHM_FULL_MARKS):
            hint = " Free space in /dev/shm, or start the container with --shm-size=1g."
        return ServerStartError(f"tritonserver: {what}.{hint}\n{relevant_lines(text, LOG_LINES_SHOWN)}".rstrip())


class _PortTaken(ServerStartError):
    """The port was taken between choosing and binding it."""


def _server_arguments(options: ServerOptions, grpc_port: int) -> list[str]:
    """Build tritonserver's own arguments."""
    arguments = [
        "--model-control-mode=none",  # loading a model runs its code: no caller may, not even on this host
        f"--grpc-address={options.address}",
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


def ending_words(exit_line: str) -> str:
    """Turn the supervisor's `exit CODE` into words; lack of memory is what most often lies behind a signal."""
    code = exit_line.partition(" ")[2].strip()
    if not code.startswith("-"):
        return f"with exit code {code}" if code else "without a word"
    try:
        name = signal.Signals(-int(code)).name
    except ValueError:
        name = f"signal {code[1:]}"
    return f"killed by {name} (is there enough memory?)"


def relevant_lines(log: str, limit: int) -> str:
    """Pick the lines of a Triton log that say what went wrong: errors first, else its last lines."""
    lines = [line[:LOG_WIDTH] for line in log.splitlines() if line.strip() and line[0] not in "I+|"]
    lines = [line for line in lines if not BACKTRACE_LINE.match(line)]
    harmless = (
        "NVML",
        "DCGM",
        "CUDA driver version",
        "pinned memory pool",
        "CUDA memory pool",
        "No CUDA",
        "CudaDriverHelper",
    )
    telling = [line for line in lines if not any(mark in line for mark in harmless)]
    errors = [line for line in telling if "rror" in line or line.startswith("E") or "failed" in line]
    return "\n".join((errors or telling)[-limit:])


def free_port() -> int:
    """Return a TCP port of loopback that nobody uses now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that nobody uses now, none of them twice."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _port_taken_text(options: ServerOptions, grpc_port: int) -> str:
    text = ", ".join(map(str, _taken_ports(options, grpc_port) or _ports(options, grpc_port)))
    return f"tritonserver: expected free ports, got port {text} taken. Choose another, or end the program that uses it"


def _taken_ports(options: ServerOptions, grpc_port: int) -> list[int]:
    return [port for port in _ports(options, grpc_port) if not _can_bind(port)]


def _ports(options: ServerOptions, grpc_port: int) -> list[int]:
    return [port for port in (grpc_port, options.http_port, options.metrics_port) if port is not None]


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), READY_CALL_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def descendants(pid: int) -> list[int]:
    """Process ids of a process and all its children, from /proc; what ends meanwhile may be missing."""
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found


def _children(pid: int) -> list[int]:
    """Process ids of what a process's threads have started."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # this thread did
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found
