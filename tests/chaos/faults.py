"""What is done to running jobs, to their servers, and to the machine around them."""

from __future__ import annotations

import http.server
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from lipsync_core.serving.endpoints import LOOPBACK
from lipsync_core.serving.ports import free_port
from tests.chaos import traces
from tests.chaos.case import Launch, Skip, Unexpected
from tests.chaos.scene import ANSWERED, Running, Scene

Fault = Callable[[Scene, Running], None]
Serve = Callable[[Scene], tuple[str, ...]]
STUB = "triton_python_backend_stub"
NETWORK = "model.onnx"  # on the command line of a stub that runs a network
SLOW_STOPPED_S, SLOW_RUNNING_S = 0.4, 0.1
THAW_AFTER_S = 8.0
CLOCK_FILE = "clock"
FAKETIME = "usr/lib/*/faketime/libfaketimeMT.so.1"
IN_OWN_SHARED_MEMORY = 'mount -t tmpfs -o "$1" tmpfs /dev/shm && shift && exec "$@"'
IN_CLOSED_TERMINAL = 'exec "$@" >&- 2>&-'
IN_FULL_TERMINAL = 'exec "$@" >/dev/full 2>/dev/full'
# the disk's content is looked at afterwards, so it is copied to where it was mounted
IN_OWN_OUTPUT_DISK = (
    'mount -t tmpfs -o "$1" tmpfs "$2" && target=$2 && kept=$3 && shift 3 && "$@"; code=$?;'
    ' cp -a "$target/." "$kept" && umount "$target" && cp -a "$kept/." "$target"; exit $code'
)


class _QuietHandler(http.server.BaseHTTPRequestHandler):
    """Answers HTTP, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


# what jobs talk to


def embedded(scene: Scene) -> tuple[str, ...]:
    """Let the job start its own server."""
    return ()


def shared(scene: Scene) -> tuple[str, ...]:
    """Use the server that all cases share."""
    return "--url", scene.bench.server().url


def servers(count: int, *options: str) -> Serve:
    """Use servers of the case's own."""
    return lambda scene: ("--url", ",".join(server.url for server in scene.start_servers(count)), *options)


def server_that_lost_a_network(scene: Scene) -> tuple[str, ...]:
    """Use a server of the case's own, one of whose networks' processes has died."""
    (server,) = scene.start_servers(1)
    os.kill(_network(server), signal.SIGKILL)
    server.wait_for("gRPC at", 2, scene.case.timeout_s)  # restarted
    return "--url", server.url


def nobody(scene: Scene) -> tuple[str, ...]:
    """Use a port at which nobody listens."""
    return "--url", f"{LOOPBACK}:{free_port()}"


def elsewhere(scene: Scene) -> tuple[str, ...]:
    """Use a server that is not on this host, by a name that nobody has."""
    return "--url", "gpu.invalid:8001"


def web_server(scene: Scene) -> tuple[str, ...]:
    """Use a port at which another program answers."""
    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), _QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scene.stack.callback(server.server_close)
    scene.stack.callback(server.shutdown)
    return "--url", f"{LOOPBACK}:{server.server_port}"


def silent_port(scene: Scene) -> tuple[str, ...]:
    """Use a port that accepts connections, and then says nothing."""
    listener = scene.stack.enter_context(socket.create_server((LOOPBACK, 0)))
    return "--url", f"{LOOPBACK}:{listener.getsockname()[1]}"


def shared_by_tls(scene: Scene) -> tuple[str, ...]:
    """Speak TLS to the shared server, which does not."""
    return *shared(scene), "--tls"


# what happens to servers and clients


def signal_server(number: int) -> Fault:
    """Send a signal to the case's first server."""
    return lambda scene, job: scene.servers[0].signal_all(number)


def kill_embedded(program: str) -> Fault:
    """Kill a program of the job's own server."""

    def kill(scene: Scene, job: Running) -> None:
        os.kill(_one(job, program), signal.SIGKILL)

    return kill


def kill_embedded_network(scene: Scene, job: Running) -> None:
    """Kill a network's process of the job's own server."""
    os.kill(_network(job), signal.SIGKILL)


def kill_network(scene: Scene, job: Running) -> None:
    """Kill a network's process of the case's first server."""
    os.kill(_network(scene.servers[0]), signal.SIGKILL)


def kill_stub(scene: Scene, job: Running) -> None:
    """Kill a Python stub of the case's first server."""
    os.kill(_one(scene.servers[0], STUB), signal.SIGKILL)


def thaw_later(scene: Scene, job: Running) -> None:
    """Freeze the case's first server for a while."""
    scene.servers[0].signal_all(signal.SIGSTOP)
    time.sleep(THAW_AFTER_S)
    scene.servers[0].signal_all(signal.SIGCONT)


def resume_later(scene: Scene, job: Running) -> None:
    """Freeze the case's first server for a while with what watches over it, as a paused container is."""
    pids = scene.servers[0].pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(THAW_AFTER_S)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


def slow_down(scene: Scene, job: Running) -> None:
    """Let the case's first server work a fifth of the time until the job ends."""
    while job.process.poll() is None:
        scene.servers[0].signal_all(signal.SIGSTOP)
        time.sleep(SLOW_STOPPED_S)
        scene.servers[0].signal_all(signal.SIGCONT)
        time.sleep(SLOW_RUNNING_S)


def deny_memory(scene: Scene, job: Running) -> None:
    """Give the job's own Triton no more address space than it has."""
    pid = _one(job, "tritonserver")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    size = pages * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def signal_client(number: int) -> Fault:
    """Send a signal to the command itself."""
    return lambda scene, job: job.process.send_signal(number)


def second_job(scene: Scene, job: Running) -> None:
    """Run another job to the same output at the same time."""
    ending = scene.start(options=shared(scene)).end(scene.case.timeout_s)
    if ending.code != 0:
        raise Unexpected(f"the second job ended with {ending.code}: {ending.last_words}")


def fill_shared_memory(scene: Scene, job: Running) -> None:
    """Leave no room in the job's /dev/shm."""
    filler = Path(f"/proc/{job.process.pid}/root/dev/shm/filler")
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


def move_clock(seconds: float) -> Fault:
    """Move the wall clock that the job sees."""

    def move(scene: Scene, job: Running) -> None:
        set_clock(scene.inputs, seconds)

    return move


# how jobs are started


def limited(**limits: int) -> Callable[[Scene], Launch]:
    """Start under limits of prlimit, such as fsize, in bytes."""
    words = tuple(f"--{name}={value}" for name, value in limits.items())
    return lambda scene: Launch(("prlimit", *words))


def small_output_disk(options: str) -> Callable[[Scene], Launch]:
    """Mount a small disk where the output goes, seen by the job alone."""

    def launch(scene: Scene) -> Launch:
        kept = scene.folder / "kept"
        kept.mkdir()
        return Launch((*own_mounts(), "sh", "-c", IN_OWN_OUTPUT_DISK, "sh", options, str(scene.results), str(kept)))

    return launch


def shared_memory_of(size: str, mode: str = "rw") -> Callable[[Scene], Launch]:
    """Give the job a /dev/shm of its own, of this size."""
    return lambda scene: Launch((*own_mounts(), "sh", "-c", IN_OWN_SHARED_MEMORY, "sh", f"{mode},size={size}"))


def in_shell(words: str) -> Callable[[Scene], Launch]:
    """Start from a shell, such as one that closes the terminal; "$@" is the command."""
    return lambda scene: Launch(("sh", "-c", words, "sh"))


def behind_dead_proxy(scene: Scene) -> Launch:
    """Name a proxy in the environment at which nobody listens."""
    proxy = f"http://{LOOPBACK}:{free_port()}"
    return Launch(environment=dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), proxy))


def moved_clock(scene: Scene) -> Launch:
    """Start with a wall clock that can be moved; the monotonic one, which carries deadlines, stays true.

    Raises:
        Skip: libfaketime is not installed.
    """
    return Launch(environment=clock_of(scene.inputs))


def clock_of(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is that of a folder; see `set_clock`.

    Raises:
        Skip: libfaketime is not installed.
    """
    library = next(Path("/").glob(FAKETIME), None)
    if library is None:
        raise Skip("libfaketime is not installed (apt-get install libfaketime)")
    settings = {"FAKETIME_TIMESTAMP_FILE": str(set_clock(folder, 0)), "FAKETIME_CACHE_DURATION": "1"}
    return {"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", **settings}


def set_clock(folder: Path, seconds: float) -> Path:
    """Write by how much the clock is wrong, at once for all who read it."""
    path = folder / CLOCK_FILE
    part = path.with_suffix(".part")
    part.write_text(f"{seconds:+g}")
    return part.replace(path)


@cache
def own_mounts() -> tuple[str, ...]:
    """Return the words that start a command with mounts of its own.

    Raises:
        Skip: this machine does not allow it.
    """
    for words in (("unshare", "--mount"), ("unshare", "--mount", "--map-root-user")):
        if shutil.which(words[0]):
            test = [*words, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
            if subprocess.run(test, capture_output=True, check=False).returncode == 0:
                return words
    raise Skip("mounting a small disk is not allowed here")


def after_answers(scene: Scene, job: Running) -> None:
    """Wait until the case's number of requests is answered."""
    job.wait_for(ANSWERED, scene.case.after, scene.case.timeout_s)


def _network(job: Running) -> int:
    """Process id of a stub that runs a network."""
    pids = [pid for pid in job.named(STUB) if NETWORK in traces.command_line(pid)]
    if not pids:
        raise Unexpected("expected a network's process of the case, got none")
    return pids[0]


def _one(job: Running, program: str) -> int:
    pids = job.named(program)
    if not pids:
        raise Unexpected(f"expected a {program} of the case, got none")
    return pids[0]
