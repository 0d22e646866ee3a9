"""Downloads Python wheels, pinned by hash, and reads files from them; the wheels are never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.shared.files import cache_folder, file_sha256, write_whole

DOWNLOAD_TIMEOUT_S = 600
NO_PIP = "No module named pip"  # as in environments of uv


@dataclass(frozen=True)
class PinnedWheel:
    """One wheel of a package registry.

    Attributes:
        requirement: Package and version, as pip takes it.
        file_name: File name of the wheel.
        sha256: Hash of the wheel.
        python_version: Python version that the wheel is for.
        platform: Platform tag of the wheel.
    """

    requirement: str
    file_name: str
    sha256: str
    python_version: str
    platform: str


def fetch_wheel(wheel: PinnedWheel) -> Path:
    """Return the path of a wheel in the cache, downloading it with pip if needed.

    Raises:
        ValueError: The download failed, or the wheel has another hash.
    """
    cached = cache_folder() / wheel.file_name
    if cached.is_file() and file_sha256(cached) == wheel.sha256:
        return cached
    with tempfile.TemporaryDirectory() as folder:
        _pip_download(wheel, folder)
        downloaded = Path(folder) / wheel.file_name
        check_wheel(downloaded, wheel)
        write_whole(cached, downloaded.read_bytes())
    return cached


def check_wheel(path: Path, wheel: PinnedWheel) -> None:
    """Check that a file is the pinned wheel.

    Args:
        path: The file.
        wheel: The wheel that it should be.

    Raises:
        ValueError: The file cannot be read, or has another hash.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise ValueError(f"{path}: expected the wheel {wheel.file_name}, got {error.strerror}") from error
    _check_hash(str(path), found, wheel.sha256)


def read_members(path: Path, members: Mapping[str, str]) -> dict[str, bytes]:
    """Read files from a wheel.

    Args:
        path: The wheel.
        members: Path in the wheel -> SHA-256 of the file.

    Returns:
        Contents by path.

    Raises:
        ValueError: A file is missing, or has another hash.
    """
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member, sha256 in members.items():
                contents[member] = archive.read(member)
                _check_hash(f"{path.name}, {member}", hashlib.sha256(contents[member]).hexdigest(), sha256)
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
        advice = "Install it with: python -m ensurepip" if reason.endswith(NO_PIP) else "Check the network"
        raise ValueError(
            f"{wheel.requirement}: expected pip to download it, got: {reason}."
            f" {advice}, or get {wheel.file_name} elsewhere and give it with --wheel"
        )


def _check_hash(name: str, found: str, sha256: str) -> None:
    if found != sha256:
        raise ValueError(f"{name}: expected sha256 {sha256}, got {found}. The file is damaged or another one")
