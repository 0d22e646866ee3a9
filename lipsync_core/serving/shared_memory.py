"""The /dev/shm that Triton's Python models pass all tensors through, whatever way they reach the server."""

from __future__ import annotations

import os
from pathlib import Path

from lipsync_core.serving.runtime import ServerStartError

SHARED_MEMORY = Path("/dev/shm")
ADVICE = "Free space there, or start the container with --shm-size=1g"
# What Triton says when it has none left: when a model starts, and in a request.
EXHAUSTED_MARKS = ("shared memory pool", "initialize shared memory key", "No space left on device")


def free_shared_memory() -> int:
    """Return how much of /dev/shm is free, in bytes.

    Raises:
        ServerStartError: it is not there, or nothing can be written there.
    """
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        raise ServerStartError(f"{SHARED_MEMORY}: expected a tmpfs, got: {error.strerror}. Mount one") from error
    if state.f_flag & os.ST_RDONLY or not os.access(SHARED_MEMORY, os.W_OK):
        raise ServerStartError(f"{SHARED_MEMORY}: expected a writable tmpfs, got a read-only one. Mount it writable")
    return state.f_bavail * state.f_frsize
