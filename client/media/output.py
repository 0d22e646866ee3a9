"""A file that appears under its name only when complete, and the words for why it could not be written."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from client.errors import OutputError

ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up. Free some space or choose another place",
    errno.EFBIG: "the file grew larger than allowed here. Choose another place",
    errno.EACCES: "permission denied. Choose a folder you may write to",
    errno.EPERM: "permission denied. Choose a folder you may write to",
    errno.EROFS: "the place is read-only. Choose another one",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one",
}


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Say before the work begins why an output could not be written.

    Args:
        path: the output.
        inputs: files that it must not replace.

    Raises:
        OutputError: its folder is missing or not writable, it is one of the inputs, or no regular file.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OutputError(f"{path}: expected an existing folder, got {folder}. Create it first")
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise OutputError(f"{path}: expected the name of a file, got a folder or device. Add a file name")
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise OutputError(f"{path}: expected a new file, got one of the inputs. Choose another output name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {ADVICE[errno.EACCES]}")


class PendingFile:
    """A hidden file beside its final place.

    Args:
        path: the final place.

    Attributes:
        part: the hidden file.

    Raises:
        OutputError: the hidden file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        """Create the hidden file."""
        self.path = path
        self._final = path.resolve()  # follow a link instead of replacing it
        self.part = self._final.with_name(f".{self._final.name}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise output_error(path, error) from error

    def publish(self) -> None:
        """Give the complete file its name.

        Raises:
            OutputError: that failed; the hidden file is gone.
        """
        try:
            self.part.replace(self._final)
        except OSError as error:
            self.discard()
            raise output_error(self.path, error) from error

    def discard(self) -> None:
        """Remove the hidden file."""
        with suppress(OSError):
            self.part.unlink()


def output_error(path: Path, error: Exception) -> OutputError:
    """Turn an error of the system or of FFmpeg into one line that says what to do."""
    number = getattr(error, "errno", None)
    advice = ADVICE.get(abs(number)) if number else None
    reason = advice or f"{getattr(error, 'strerror', None) or error}. Try another place, codec or extension"
    return OutputError(f"{path}: cannot be written: {reason}")
