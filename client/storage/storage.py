"""What every storage can do."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 20  # size of a read


@dataclass(frozen=True)
class StoredFacts:
    """What is known of a stored file.

    Attributes:
        nbytes: its size.
        modified_at: when it was stored, in seconds since 1970.
        etag: changes with its content; in quotes, as HTTP has it.
    """

    nbytes: int
    modified_at: float
    etag: str


class Storage(Protocol):
    """Files by key, such as `0f1e/video`. All methods raise StorageUnavailable if the storage does not answer.

    Attributes:
        address: where the files are, without secrets.
    """

    address: str

    def check(self) -> None:
        """Check that files can be kept there."""
        ...

    def put(self, path: Path, key: str) -> None:
        """Store a file whole, in place of what was there."""
        ...

    def get(self, key: str, path: Path) -> None:
        """Write a stored file to a path, whole or not at all.

        Raises:
            FileMissing: there is none.
        """
        ...

    def facts(self, key: str) -> StoredFacts | None:
        """Return what is known of a file; None if there is none."""
        ...

    def read(self, key: str, start: int, stop: int) -> Generator[bytes]:
        """Yield bytes `start` to `stop`, the latter not included, in pieces; close it to stop early.

        Raises:
            FileMissing: there is no such file.
        """
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all files in a folder and below, such as `0f1e`."""
        ...

    def remove(self, prefix: str) -> None:
        """Remove a file, or all files in a folder; what is not there is no error."""
        ...
