"""An output that appears under its name only when it is complete, and why it could not be written."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import av

from client.errors import OutputError, ref
from lipsync_core.locks import lock_file

REASONS = {  # errno -> what happened, and what to do
    errno.ENOSPC: ("the disk is full", "Free some space or choose another folder"),
    errno.EFBIG: ("the file grew larger than allowed here", "Choose another folder"),
    errno.EACCES: ("permission denied", "Choose a folder you may write to"),
    errno.EPERM: ("permission denied", "Choose a folder you may write to"),
    errno.EROFS: ("the folder is read-only", "Choose another one"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
}
if hasattr(errno, "EDQUOT"):  # not everywhere on Windows
    REASONS[errno.EDQUOT] = ("the disk quota is used up", "Free some space or choose another folder")


# FFmpeg has no words for what its libraries refuse.
ENCODER_FAILED = (
    "the encoder refused the pictures or failed",
    f"Choose another one with {ref('codec')}, scale the video, or free some memory",
)
LONGEST_NAME = 255  # bytes, on nearly every file system
OWNER_MAY_WRITE = stat.S_IRUSR | stat.S_IWUSR


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Check before the job starts that an output can be written.

    Args:
        path: the output.
        inputs: files that it must not replace.

    Raises:
        OutputError: its folder is missing or not writable, or it is one of the inputs or not a regular file.
    """
    try:
        folder = _resolved(path).parent
        if not folder.is_dir():
            raise OutputError(about=path, expected="an existing folder", got=folder, advice="Create it first")
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise OutputError(
                about=path, expected="the name of a file", got="a folder or device", advice="Add a file name"
            )
        check_no_input(path, inputs)
    except (OSError, RuntimeError) as error:  # pathlib raises RuntimeError for links that lead to themselves
        raise output_error(path, error) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise output_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_no_input(path: Path, inputs: Iterable[Path]) -> None:
    """Check that an output replaces none of the inputs.

    Raises:
        OutputError: it is one of them.
    """
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise OutputError(
                about=path, expected="a new file", got="one of the inputs", advice="Choose another output name"
            )


class PendingFile:
    """A hidden file beside the output, which gets the output's name when complete.

    It is locked while the job runs, so that files left behind by killed jobs are recognised and removed.

    Args:
        path: the output.

    Attributes:
        part: the hidden file.

    Raises:
        OutputError: the hidden file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        """Create the hidden file."""
        self.path = path
        self._final = _resolved(path)  # follow a link instead of replacing it
        _remove_abandoned_parts(self._final)
        try:
            self._mode = _mode(self._final)
            self.part, self._lock = _create_part(self._final)
        except OSError as error:
            raise output_error(path, error) from error
        try:
            if self._mode is not None:
                self.part.chmod(self._mode | OWNER_MAY_WRITE)  # what others may not read, they may not read meanwhile
        except OSError as error:
            self.discard()
            raise output_error(path, error) from error

    def publish(self) -> None:
        """Rename the complete file to the output's name; a file that it replaces passes its permissions on.

        Raises:
            OutputError: renaming failed; the hidden file is removed.
        """
        try:
            if self._mode is not None:
                self.part.chmod(self._mode)
            self.part.replace(self._final)
        except OSError as error:
            raise output_error(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the hidden file; safe to call again."""
        with suppress(OSError):
            self.part.unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _resolved(path: Path) -> Path:
    """Follow links to the place of a file that may not exist yet.

    Raises:
        RuntimeError: a link leads to itself. Before Python 3.13, pathlib raises this itself.
    """
    resolved = path.resolve()
    if resolved.is_symlink():
        raise RuntimeError(f"Symlink loop from {str(path)!r}")
    return resolved


def _mode(path: Path) -> int | None:
    """Return the permissions of a file; None if there is none yet."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def _create_part(final: Path) -> tuple[Path, int | None]:
    """Create and lock a hidden file beside the output; the lock is None where the file system has no locks."""
    while True:
        part = final.with_name(f"{hidden_stem(final)}.{secrets.token_hex(4)}.part")
        with suppress(BlockingIOError):
            return part, create_locked(part)


def create_locked(path: Path) -> int | None:
    """Create and lock a file.

    Returns:
        A descriptor that holds the lock until it is closed; None where the file system has no locks.

    Raises:
        BlockingIOError: another job took it for an abandoned file, and removes it.
        OSError: it cannot be created; FileExistsError if it exists.
    """
    number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        lock_file(number)
    except BlockingIOError:
        os.close(number)
        raise
    except OSError:
        os.close(number)
        return None
    if path.exists():
        return number
    os.close(number)
    raise BlockingIOError(errno.EWOULDBLOCK, "removed by another job", str(path))


def _remove_abandoned_parts(final: Path) -> None:
    """Remove hidden files of this output that no running job has locked."""
    for part in final.parent.glob(f"{glob.escape(hidden_stem(final))}.????????.part"):
        with suppress(OSError):
            number = os.open(part, os.O_WRONLY)
            try:
                lock_file(number)
                part.unlink()
            finally:
                os.close(number)


def hidden_stem(final: Path) -> str:
    """Return how names of hidden files beside an output begin: with its own, or its hash where that leaves no room."""
    name = os.fsencode(final.name)
    if len(name) + len(".") + len(".01234567.part") <= LONGEST_NAME:
        return f".{final.name}"
    return f".{hashlib.sha256(name).hexdigest()}"


def output_error(path: Path, error: Exception) -> OutputError:
    """Convert an error of the system or of FFmpeg to one that says what to do."""
    number = getattr(error, "errno", None)
    known = REASONS.get(abs(number)) if number else None
    if known is None and isinstance(error, (av.ExternalError, av.BugError, av.UnknownError)):
        known = ENCODER_FAILED
    if known is None:
        is_about_format = isinstance(error, (av.FFmpegError, ValueError)) and not isinstance(error, OSError)
        advice = "Try another codec or extension" if is_about_format else "Try another folder or name"
        known = (getattr(error, "strerror", None) or str(error), advice)
    reason, advice = known
    return OutputError(f"cannot be written: {reason}", about=path, advice=advice)
