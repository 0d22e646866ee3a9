"""Runs tritonserver for a client and ends it with the client, however the client ends.

Started as `python -m lipsync_core.serving.supervisor` with a pipe on stdin. The pipe's end means that the client
closed it or died, even by kill -9: then the server is stopped and its shared memory and folder are removed. A line
`exit CODE` on stdout says that the server ended by itself, `died MODEL CODE` that it was stopped since the process of
one of its models died, and `frozen` that it was stopped since it had been frozen. The last two are watched once the
client has sent anything, which a line `watching` answers. The folder, with the log, stays until stdin ends.

The server's command is JSON in the environment, which other users cannot read: it holds tokens. As soon as the server
has read its arguments, the tokens are overwritten there too.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lipsync_core.serving.freeze import FreezeWatch
from lipsync_core.serving.hidden_tokens import hide_tokens
from lipsync_core.serving.processes import DIED, FROZEN, WATCHING, DeadStub, StubWatch
from lipsync_core.serving.shared_memory import SHARED_MEMORY

COMMAND_VARIABLE = "LIPSYNC_SERVER_COMMAND"
LOG_FILE = "triton.log"
LOG_LINE = re.compile(rb"^[IWE]\d{4} \d\d:", re.MULTILINE)  # Triton's own; the loader of libraries writes there before
LOG_BEGINNING = 1 << 16  # bytes
PR_SET_PDEATHSIG = 1  # prctl option: signal for a child whose parent dies; source: man 2 prctl
PR_SET_CHILD_SUBREAPER = 36  # prctl option: become the parent of descendants whose own parent dies
CRASHES = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS)  # codes of a server that failed by itself
POLL_S = 0.1
STUB_FOLDERS = "/tmp/python_env_*"  # empty ones that the Python backend makes and, when killed, leaves


def main(argv: list[str] | None = None) -> int:
    """Run the server until it or the client ends; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="the server's folder, removed at the end")
    parser.add_argument("--shm-prefix", required=True, help="prefix of the server's names in /dev/shm")
    parser.add_argument("--grace-s", type=float, required=True, help="time for requests under way to finish")
    parser.add_argument("--end-after-freeze", action="store_true", help="end the server once it was frozen")
    options = parser.parse_args(argv)
    command = json.loads(os.environ.pop(COMMAND_VARIABLE))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the pipe ends us, so that clean-up always runs
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # to learn of what the models' processes of a dead server died
    others_folders = set(glob.glob(STUB_FOLDERS))
    with (options.folder / LOG_FILE).open("ab") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_prepare_server,
        )
    try:
        _watch(server, options)
    finally:
        _stop(server, options.grace_s)
        remove_shared_memory(options.shm_prefix)
        remove_empty_folders(set(glob.glob(STUB_FOLDERS)) - others_folders)
        shutil.rmtree(options.folder, ignore_errors=True)
    return 0


def _prepare_server() -> None:
    """Between fork and exec: undo our ignored signals, and die with the supervisor should it be killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _watch(server: subprocess.Popen[bytes], options: argparse.Namespace) -> None:
    """Return when the client has closed our stdin; tell it when the server, or a model's process, ends first."""
    stubs: StubWatch | None = None
    freezes: FreezeWatch | None = None
    told = hidden = False
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
        if readable:
            if not os.read(sys.stdin.fileno(), 1024):
                return
            stubs = StubWatch(server.pid)
            freezes = FreezeWatch(server.pid) if options.end_after_freeze else None
            if not told:
                _tell(WATCHING)
        hidden = hidden or _hide_tokens(server.pid, options.folder / LOG_FILE)
        ending = None if told else _ending(server, stubs, options.grace_s)
        if not told and ending is None and freezes is not None and freezes.look():
            _stop(server, grace_s=0)
            ending = FROZEN
        if ending is not None:
            told = True
            _tell(ending)


def _hide_tokens(server_pid: int, log: Path) -> bool:
    """Hide the tokens in the server's arguments, if a line of its log shows that it has read them."""
    with log.open("rb") as file:
        if not LOG_LINE.search(file.read(LOG_BEGINNING)):
            return False
    with contextlib.suppress(OSError):  # where the system does not allow it they stay
        hide_tokens(server_pid)
    return True


def _tell(line: str) -> None:
    """Send the client a line; if it is gone, our stdin ends too."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _ending(server: subprocess.Popen[bytes], stubs: StubWatch | None, grace_s: float) -> str | None:
    """Return how the server ended, which is stopped if a model's process did; None while all of it runs."""
    code = server.poll()
    if code is not None:
        dead = stubs.look_after_crash() if stubs is not None and code in CRASHES else None
        return f"exit {code}" if dead is None else _died(dead)
    dead = None if stubs is None else stubs.look()
    if dead is None:
        return None
    _stop(server, grace_s)
    return _died(dead)


def _died(dead: DeadStub) -> str:
    return f"{DIED} {dead.model} {dead.code}"


def _stop(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """Give the server its grace to finish, then end its whole process group, Python stubs included."""
    if grace_s > 0 and server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def remove_shared_memory(prefix: str) -> None:
    """Remove what a server or client left in /dev/shm under its own prefix."""
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_empty_folders(folders: Iterable[str]) -> None:
    """Remove folders that hold nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


if __name__ == "__main__":
    sys.exit(main())
