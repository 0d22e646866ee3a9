"""Keeps space on a disk free while files arrive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.storage.errors import DiskFull


class DiskGuard:
    """Keeps some space on a disk free."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        """Guard the disk that the folder is on."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def free_bytes(self) -> int:
        """Return how many bytes may still be written."""
        return shutil.disk_usage(self._folder).free - self._min_free_bytes

    def check(self, wanted: int = 0) -> None:
        """Check that there is room.

        Raises:
            DiskFull: there is too little.
        """
        if self.free_bytes() < wanted:
            raise _no_room()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn write errors inside the context into errors of the disk.

        Raises:
            DiskFull: a write failed.
        """
        try:
            yield
        except OSError as error:
            raise _no_room() from error


def _no_room() -> DiskFull:
    return DiskFull(expected="room for the files on the disk", got="too little", advice="Free some")
