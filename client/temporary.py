"""A temporary folder that goes with its process: at once, or after kill -9 when the next one is opened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.media.output import create_locked
from lipsync_core.locks import lock_file

LOCK = "lock"  # in the folder; locked for as long as it is used


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Provide a folder among the system's temporary files, and remove those that killed processes have left.

    Args:
        prefix: how the names of such folders begin.

    Raises:
        OSError: it cannot be created.
    """
    _remove_abandoned(prefix)
    folder, lock = _create(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _create(prefix: str) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with suppress(BlockingIOError, FileNotFoundError):  # another process took it for an abandoned one
            return folder, create_locked(folder / LOCK)


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):
            lock = os.open(folder / LOCK, os.O_WRONLY)
            try:
                lock_file(lock)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
