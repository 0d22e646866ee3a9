"""Where one case plays: its folders, its servers, and the real command as a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from lipsync_core.serving.endpoints import LOOPBACK
from lipsync_core.serving.ports import free_ports
from lipsync_core.serving.processes import descendants
from tests.chaos import traces
from tests.chaos.case import Case, Launch, Unexpected, one_job
from tests.ray_cluster import RayTestCluster
from tests.s3_server import S3Server

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = (sys.executable, str(ROOT / "client" / "lipsync.py"))
MODELS = ("faces", "mouth_motion", "voice_activity")
ANSWERED = "request answered"  # what --log-json says of each request
PORT_TAKEN, PORT_TRIES = "taken", 3  # a free port may be gone before the server binds it
SERVE_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 180.0, 30.0, 0.02


@dataclass(frozen=True)
class Ending:
    """How a run of the command ended.

    Attributes:
        code: exit code, negative for a signal; None when it was still running at its time limit.
        last_words: the error that it ended with, else empty.
        warnings: all else that it said on the way.
    """

    code: int | None
    last_words: str
    warnings: str


class Running:
    """A process of the command at work."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        """Start it; its stderr goes to a file."""
        self._log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
            )

    @property
    def pids(self) -> list[int]:
        """Process ids of it and of all that it started."""
        return descendants(self.process.pid)

    def named(self, program: str) -> list[int]:
        """Process ids of those that run a program."""
        return [pid for pid in self.pids if Path(traces.command_line(pid).partition(" ")[0]).name == program]

    def text(self) -> str:
        """Return what it said so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, count: int, timeout_s: float) -> None:
        """Wait until it has said something so many times.

        Raises:
            Unexpected: it ended first, or took too long.
        """
        deadline = time.monotonic() + timeout_s
        while self.text().count(text) < count:
            if self.process.poll() is not None:
                raise Unexpected(f"ended with {self.process.returncode} before the fault: {last_words(self.text())}")
            if time.monotonic() > deadline:
                raise Unexpected(f"did not say '{text}' {count} times in {timeout_s:g} s")
            time.sleep(POLL_S)

    def end(self, timeout_s: float) -> Ending:
        """Wait for its end, and kill it when that takes too long."""
        try:
            code: int | None = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            traces.kill_all(self.pids)
            self.process.wait()
            code = None
        return Ending(code, last_words(self.text()) if code != 0 else "", warnings(self.text()))


class Served(Running):
    """`lipsync serve` on free ports, ready."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        """Start it; see `serve`."""
        port, http_port, metrics_port = map(str, free_ports(3))
        listen = ["--grpc-port", port, "--http-port", http_port, "--metrics-port", metrics_port]
        super().__init__([*COMMAND, "serve", "--models", *MODELS, *listen], environment, log)
        self.url = f"{LOOPBACK}:{port}"

    def signal_all(self, number: int) -> None:
        """Send a signal to Triton and its Python stubs, which wake first; what supervises them lives on."""
        pids = [*self.named("tritonserver"), *self.named("triton_python_backend_stub")]
        for pid in reversed(pids) if number == signal.SIGCONT else pids:
            with suppress(ProcessLookupError):  # a stub that saw its server go
                os.kill(pid, number)

    def stop(self) -> None:
        """End it as Ctrl-C does, also where parts of it are frozen or gone."""
        self.process.send_signal(signal.SIGINT)
        self.end(STOP_TIMEOUT_S)


def serve(environment: dict[str, str], log: Path) -> Served:
    """Start a server and wait until it takes requests; with other ports where another program was quicker.

    Raises:
        Unexpected: it does not start.
    """
    for attempt in range(PORT_TRIES):
        server = Served(environment, log)
        try:
            server.wait_for("gRPC at", 1, SERVE_TIMEOUT_S)
            return server
        except Unexpected:
            server.stop()
            if PORT_TAKEN not in server.text() or attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable: the loop returns or raises")


class Bench:
    """What all cases share: one server that no case harms, and the files of undisturbed runs."""

    def __init__(self, folder: Path) -> None:
        """Prepare; the server starts when a case needs it."""
        self.folder = folder
        self._server: Served | None = None
        self._undisturbed: dict[object, bytes] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Bench:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the shared server."""
        if self._server is not None:
            self._server.stop()

    def server(self) -> Served:
        """Return the shared server."""
        with self._lock:
            if self._server is None:
                self._server = serve(dict(os.environ), self.folder / "shared-server.log")
            return self._server

    def undisturbed(self, case: Case) -> bytes:
        """Return the file that a case's inputs and options give when nothing happens.

        Raises:
            Unexpected: that fails too.
        """
        key = (case.video, case.audio, case.options)
        with self._lock:
            if key not in self._undisturbed:
                calm = replace(case, fault=None, launch=lambda scene: Launch(), command=one_job)
                with Scene(calm, self) as scene:
                    url = ("--url", self.server().url)
                    ending = scene.start(options=(*url, "--no-resume")).end(case.timeout_s)
                    if ending.code != 0:
                        raise Unexpected(f"fails undisturbed too: {ending.last_words}")
                    self._undisturbed[key] = scene.output.read_bytes()
            return self._undisturbed[key]


class Scene:
    """One case's own folders and processes, as a context: all that it started is ended.

    Attributes:
        results: the output's folder.
        temporary: TMPDIR of all its processes.
        token: marks all its processes.
        cluster: the cluster of a batch, once it was started.
        storage: the storage of the files, once it was started.
    """

    def __init__(self, case: Case, bench: Bench) -> None:
        """Make the folders and the inputs."""
        self.case, self.bench = case, bench
        self.token = secrets.token_hex(8)
        self.folder = bench.folder / self.token
        self.inputs, self.results, self.temporary = (self.folder / name for name in ("inputs", "results", "tmp"))
        for folder in (self.inputs, self.results, self.temporary):
            folder.mkdir(parents=True)
        self.video, self.audio = case.video(self.inputs), case.audio(self.inputs)
        self.output = case.output(self.results)
        self.servers: list[Served] = []
        self.cluster: RayTestCluster | None = None
        self.storage: S3Server | None = None
        self.stack = ExitStack()
        self._jobs = 0

    def __enter__(self) -> Scene:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""
        self.stack.close()

    def environment(self, launch: Launch | None = None) -> dict[str, str]:
        """Return the environment of a case's process."""
        own = {traces.MARK: self.token, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "2"}
        cluster = self.cluster.environment if self.cluster else {}
        storage = self.storage.environment if self.storage else {}
        return {**os.environ, **cluster, **storage, **own, **(launch.environment if launch else {})}

    def start_servers(self, count: int) -> list[Served]:
        """Start servers of the case's own, and wait until they are ready."""
        for number in range(count):
            server = serve(self.environment(), self.folder / f"server{number}.log")
            self.stack.callback(server.stop)
            self.servers.append(server)
        return self.servers

    def start(self, launch: Launch | None = None, options: tuple[str, ...] = ()) -> Running:
        """Start the command on the case's inputs."""
        launch = launch or Launch()
        self._jobs += 1
        first = self.case.command(self)
        program = self.case.program or COMMAND
        command = [*launch.prefix, *program, *first, "--log-json", *self.case.options, *options]
        job = Running(command, self.environment(launch), self.folder / f"job{self._jobs}.log")
        self.stack.callback(lambda: traces.kill_all(job.pids if job.process.poll() is None else []))
        return job


def last_words(log: str) -> str:
    """Return the last error of a log in JSON lines; what is no JSON, such as a traceback, stands for itself."""
    said = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            said = line.strip() or said
            continue
        if entry["level"] == "error":
            said = entry["message"]
    return said.replace("\n", " / ")


def warnings(log: str) -> str:
    """Return all that such a log says beside its errors and its requests."""
    lines = [line for line in log.splitlines() if line.startswith("{")]
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return "\n".join(entry["message"] for entry in entries if entry["level"] == "warning")
