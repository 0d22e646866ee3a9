"""Hashes files, writes them whole or not at all, and knows where downloads are kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

CACHE_FOLDER = "lipsync"
READABLE_BY_ALL = 0o644  # the server may run as another user


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file of any size, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path) -> str:
    """Describe a written file in one line: path, size and SHA-256."""
    return f"{path}: {path.stat().st_size:,} bytes, sha256 {file_sha256(path)}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(unfinished, READABLE_BY_ALL)  # mkstemp gives access to the owner only
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def cache_folder() -> Path:
    """Return the folder for downloads, in XDG_CACHE_HOME or, if that is not set, in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / CACHE_FOLDER
