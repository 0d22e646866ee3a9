"""A Ray cluster of several machines on this one, for tests: each is a `ray start` with processes of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lipsync_core.serving.ports import free_port
from lipsync_core.serving.processes import descendants
from tests.waiting import is_gone, wait_until

OBJECT_STORE_BYTES = 80_000_000
LOOPBACK = "127.0.0.1"
START_TRIES = 3
RAY = Path(sys.executable).parent / "ray"


class RayTestCluster:
    """Machines of one cluster; a context manager that ends whatever is left of them."""

    def __init__(self, environment: Mapping[str, str] = os.environ, head_cpus: int = 1) -> None:
        """Prepare; a token is made.

        Args:
            environment: what its processes have beside their own variables.
            head_cpus: how many jobs of one core the head runs.
        """
        self._head_cpus = head_cpus
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets' paths have at most 107 bytes
        self.address = f"{LOOPBACK}:{free_port()}"
        self.environment = {
            **environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder),
            "HOME": str(self.folder),
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "2000",  # a busy machine answers late
        }
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def names(self) -> list[str]:
        """The machines that run."""
        return list(self._nodes)

    def __enter__(self) -> RayTestCluster:
        """Start the head, which runs jobs as any other machine."""
        try:
            self.start("head", cpus=self._head_cpus, is_head=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all machines."""
        for name in reversed(list(self._nodes)):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, cpus: int, *, is_head: bool = False, prefix: Sequence[str] = ()) -> None:
        """Start a machine and wait until it belongs to the cluster.

        Args:
            name: what Ray calls it.
            cpus: how many jobs of one core it runs.
            is_head: whether it is the head.
            prefix: a command that runs its processes.
        """
        port = self.address.rpartition(":")[2]
        place = ["--head", f"--port={port}"] if is_head else [f"--address={self.address}"]
        command = [
            *prefix,
            str(RAY),
            "start",
            *place,
            "--block",
            f"--node-name={name}",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
        ]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", f"--node-ip-address={LOOPBACK}"]
        command += ["--include-dashboard=false", f"--ray-client-server-port={free_port()}"] if is_head else []
        for _ in range(START_TRIES):
            if self._starts(name, command):
                return
            self.kill(name)
        raise AssertionError((self.folder / f"{name}.log").read_text())

    def _starts(self, name: str, command: list[str]) -> bool:
        """Start a machine; False if it ends, as it does where its agent takes longer than 15 s to start."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = self._nodes[name] = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_until(lambda: b"Ray runtime started" in log.read_bytes() or process.poll() is not None, 120)
        return process.poll() is None

    def node_of(self, pid: int) -> str:
        """Return the machine that a process belongs to.

        Raises:
            StopIteration: it belongs to none.
        """
        return next(name for name, process in self._nodes.items() if pid in descendants(process.pid))

    def freeze(self, name: str) -> None:
        """Stop all processes of a machine, as when it is paused or its network hangs."""
        for pid in descendants(self._nodes[name].pid):
            _signal(pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen machine go on."""
        for pid in descendants(self._nodes[name].pid):
            _signal(pid, signal.SIGCONT)

    def kill(self, name: str) -> None:
        """End all processes of a machine by kill -9, as when its power fails."""
        process = self._nodes.pop(name)
        pids = descendants(process.pid)
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: all(map(is_gone, pids)))


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
