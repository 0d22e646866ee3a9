"""Ends a tritonserver when the process of one of its models dies, so that whatever runs the container restarts it.

Started as `python -m lipsync_core.serving.watcher PID`, as a child of the server; ends with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from lipsync_core.serving.processes import LOOK_EVERY_S, StubWatch, death_words


def main(arguments: list[str] | None = None) -> int:
    """Watch until the server ends; returns 0."""
    (server,) = map(int, sys.argv[1:] if arguments is None else arguments)
    stubs = StubWatch(server, starting=True)
    while os.getppid() == server:
        dead = stubs.look()
        if dead is not None:
            print(f"lipsync watcher: the server is ended, {death_words(dead)}", file=sys.stderr, flush=True)
            os.kill(server, signal.SIGTERM)
            return 0
        time.sleep(LOOK_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
