"""Finds out whether other users of this machine can read a server's tokens from its command line."""

from __future__ import annotations

import os
import time
from pathlib import Path

from client.option import flag
from lipsync_core.serving.access import RESTRICTING_OPTIONS
from lipsync_core.serving.processes import descendants

HIDING_S = 2.0  # time for the tokens of a server that is ready to be overwritten
LOOK_EVERY_S = 0.1


def token_warnings(patience_s: float = HIDING_S) -> list[str]:
    """Return one line if tokens stay on the command line of a server that this process started; none otherwise."""
    deadline = time.monotonic() + patience_s
    while any(map(shows_token, descendants(os.getpid())[1:])):
        if time.monotonic() > deadline:
            return [
                "the server's tokens show in `ps`: this system does not let them be overwritten."
                f" Use client certificates ({flag('tls_client_ca')}), or mount /proc with hidepid=2"
            ]
        time.sleep(LOOK_EVERY_S)
    return []


def shows_token(pid: int) -> bool:
    """Return whether a process's arguments hold a token of a server."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended, or the system has no /proc
        return False
    return any(
        argument.startswith(RESTRICTING_OPTIONS) and argument.rpartition("=")[2].strip("*") for argument in arguments
    )
