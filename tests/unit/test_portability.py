"""The client imports and explains itself where the calls of Linux are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from client import system
from lipsync_core import locks
from tests.conftest import ROOT

# What other systems, or some of them, don't have. Third-party packages bring wheels of their own for each system.
WITHOUT_LINUX = """
import ctypes, multiprocessing.shared_memory, os, signal, subprocess, sys
import av, cv2, grpc, numpy, rich.console, tritonclient.grpc
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in ((signal, "SIGHUP SIGKILL"), (os, "posix_fallocate sched_getaffinity killpg getppid")):
    for name in names.split():
        delattr(module, name)
def no_library(name, *arguments):
    raise OSError(f"{name}: no such library")
ctypes.CDLL = no_library
sys.platform = "elsewhere"
"""
IMPORT_ALL = """
import importlib, pkgutil
import client
others = (
    "client.web", "client.running.ray_node", "client.running.ray_runner", "client.live.livekit", "client.live.pipecat"
)
for found in pkgutil.walk_packages(client.__path__, "client."):
    if not found.name.startswith(others) and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program after the calls of Linux have been taken away."""
    command = [sys.executable, "-c", WITHOUT_LINUX + program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_client_imports_without_linux() -> None:
    """No module of the client calls at import what only Linux has; the web service, Ray and the adapters need more."""
    done = run(IMPORT_ALL)
    assert done.returncode == 0, done.stderr


def test_help_is_shown_without_linux() -> None:
    """`lipsync --help` needs none of it either."""
    done = run("from client.lipsync import main\nmain(['--help'])")
    assert done.returncode == 0, done.stderr
    assert "--video" in done.stdout


def test_embedded_server_fails_in_one_line_without_linux() -> None:
    """The line names what this machine is, what is needed, and what works instead."""
    done = run("from lipsync_core.serving.runtime import find_runtime\nfind_runtime()")
    line = done.stderr.strip().splitlines()[-1]
    assert "expected Linux on x86-64 with Python 3.11 or 3.12, got elsewhere" in line


def test_shared_memory_is_refused_without_linux() -> None:
    """As wrong usage, in one line, before media are opened or a server is asked."""
    done = run(
        "from client.lipsync import main\n"
        "files = ['--video', 'in.mp4', '--audio', 'in.wav', '--output', 'out.mp4']\n"
        "sys.exit(main([*files, '--url', '127.0.0.1:1', '--transport', 'shm']))"
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line == "lipsync: --transport: expected auto or grpc, as this system has no /dev/shm, got shm"


def test_lock_fails_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers go on without a lock, as on a disk that has none."""
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(OSError, match="no file locks on this system"):
        locks.lock_file(0)


def test_memory_is_zero_where_it_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report has the figure only where the system gives it."""
    assert system.peak_memory_mb() > 1
    monkeypatch.setattr(system, "resource", None)
    assert system.peak_memory_mb() == 0
