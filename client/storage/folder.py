"""Storage in a folder of this machine, or one that several machines mount."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.flushing import flush
from client.storage.errors import FileMissing, StorageUnavailable
from client.storage.part import writing_whole
from client.storage.storage import CHUNK_BYTES, StoredFacts


class FolderStorage:
    """Files in a folder; a key is a path below it."""

    def __init__(self, folder: Path) -> None:
        """Use this folder, which is created when a file is put there."""
        self._folder = folder
        self.address = str(folder)

    def check(self) -> None:
        """Create the folder, and check that it can be written.

        Raises:
            StorageUnavailable: it cannot.
        """
        with _mapped_errors(""):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def put(self, path: Path, key: str) -> None:
        """Store a file whole, in place of what was there; it survives a power cut once this returns."""
        with _mapped_errors(key):
            target = self._folder / key
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with writing_whole(target) as part:
                shutil.copyfile(path, part)
                flush(part)
            for folder in (target.parent, *target.parent.relative_to(self._folder).parents):
                flush(self._folder / folder)

    def get(self, key: str, path: Path) -> None:
        """Write a stored file to a path, whole or not at all.

        Raises:
            FileMissing: there is none.
        """
        with _mapped_errors(key), writing_whole(path) as part:
            shutil.copyfile(self._folder / key, part)

    def facts(self, key: str) -> StoredFacts | None:
        """Return what is known of a file; None if there is none."""
        with suppress(FileMissing), _mapped_errors(key):
            found = (self._folder / key).stat()
            return StoredFacts(found.st_size, found.st_mtime, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')
        return None

    def read(self, key: str, start: int, stop: int) -> Generator[bytes]:
        """Yield bytes `start` to `stop`, the latter not included, in pieces; close it to stop early.

        Raises:
            FileMissing: there is no such file.
        """
        with _mapped_errors(key), (self._folder / key).open("rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(piece)
                yield piece

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all files in a folder and below."""
        found = (self._folder / prefix).rglob("*")
        return sorted(str(path.relative_to(self._folder)) for path in found if path.is_file())

    def remove(self, prefix: str) -> None:
        """Remove a file, or all files in a folder; what is not there is no error."""
        path = self._folder / prefix
        remove: Callable[[Path], None] = shutil.rmtree if path.is_dir() else Path.unlink
        with suppress(FileMissing), _mapped_errors(prefix):
            remove(path)


@contextmanager
def _mapped_errors(key: str) -> Iterator[None]:
    """Turn the system's errors into those of storage."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissing(about=key, expected="a stored file", got="none") from error
    except OSError as error:
        raise StorageUnavailable(f"the storage cannot be used ({error.strerror})", about=key) from error
