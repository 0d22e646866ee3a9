"""Fetches files that a hash-pinned Python wheel carries; the wheel is never installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.shared.files import write_whole

CACHE_FOLDER = "lipsync"
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True)
class PinnedWheel:
    """One wheel of a package registry, known by its content."""

    requirement: str  # as pip takes it
    file_name: str
    sha256: str
    python_version: str
    platform: str


def fetch_wheel(wheel: PinnedWheel) -> Path:
    """Return the wheel from the cache, downloaded with pip when it is not there yet.

    Raises:
        ValueError: pip could not get it, or its content is not the pinned one.
    """
    cached = cache_folder() / wheel.file_name
    if cached.is_file() and _sha256(cached.read_bytes()) == wheel.sha256:
        return cached
    with tempfile.TemporaryDirectory() as folder:
        _pip_download(wheel, folder)
        downloaded = Path(folder) / wheel.file_name
        check_wheel(downloaded, wheel)
        write_whole(cached, downloaded.read_bytes())
    return cached


def cache_folder() -> Path:
    """Say where downloads are kept: XDG_CACHE_HOME, or ~/.cache where that is not set."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / CACHE_FOLDER


def check_wheel(path: Path, wheel: PinnedWheel) -> None:
    """Make sure that a file is the pinned wheel.

    Raises:
        ValueError: it cannot be read, or its content is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected the wheel {wheel.file_name}, got {error.strerror}") from error
    _check_hash(str(path), content, wheel.sha256)


def read_members(path: Path, members: Mapping[str, str]) -> dict[str, bytes]:
    """Read files out of a wheel.

    Args:
        path: the wheel.
        members: path inside the wheel -> sha256 of its content.

    Raises:
        ValueError: a member is missing, or its content is not the pinned one.
    """
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member, sha256 in members.items():
                contents[member] = archive.read(member)
                _check_hash(f"{path.name}, {member}", contents[member], sha256)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected a wheel with {', '.join(members)}, got {error}") from error
    return contents


def _pip_download(wheel: PinnedWheel, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder]
    command += ["--python-version", wheel.python_version, "--platform", wheel.platform, wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{wheel.requirement}: expected a download within {DOWNLOAD_TIMEOUT_S} s, got none."
            f" Get {wheel.file_name} from a package registry and give it with --wheel"
        ) from error
    if done.returncode:
        lines = done.stderr.splitlines() or ["no reason given"]
        reason = ([line for line in lines if line.startswith("ERROR: ")] or lines)[-1].removeprefix("ERROR: ")
        raise ValueError(
            f"{wheel.requirement}: expected pip to download it, got: {reason}."
            f" Check the network, or get {wheel.file_name} elsewhere and give it with --wheel"
        )


def _check_hash(name: str, content: bytes, sha256: str) -> None:
    found = _sha256(content)
    if found != sha256:
        raise ValueError(f"{name}: expected sha256 {sha256}, got {found}. The file is damaged or another one")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
