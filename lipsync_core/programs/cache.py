"""Keeps compiled code between starts of a server, and notices stale code."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

CACHE_VARIABLE = "LIPSYNC_COMPILE_CACHE"  # the folder for the compiled code of all models
INDUCTOR_VARIABLES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}  # read by torch
RECORD_FILE = "compiled_for.json"
KEY_SHOWN = 16


@dataclass(frozen=True)
class CacheRecord:
    """What compiled code was compiled for; code with another record is never used."""

    torch: str
    card: str
    program: str  # SHA-256 of model.pt2's parts
    settings: str

    def key(self) -> str:
        """Return a short hash of the record."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:KEY_SHOWN]


def cache_root() -> Path:
    """Return the folder for compiled code."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipsync-triton" / "compiled"


def open_cache(root: Path, model: str, record: CacheRecord) -> list[str]:
    """Make torch keep this model's compiled code in its own folder under `root`. Call it before compiling.

    Returns:
        A line for each stale folder of the same model, compiled for something else.

    Raises:
        ValueError: The folder cannot be written.
    """
    folder = root / f"{model}-{record.key()}"
    others = [path for path in sorted(root.glob(f"{model}-{'?' * KEY_SHOWN}")) if path != folder]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / RECORD_FILE
        if not path.is_file():
            path.write_text(json.dumps(asdict(record), indent=2) + "\n")
    except OSError as error:
        raise ValueError(
            f"compile cache: expected to write {folder}, got {error.strerror}."
            f" Name a folder that the server may write to in {CACHE_VARIABLE}"
        ) from error
    for variable, part in INDUCTOR_VARIABLES.items():
        os.environ[variable] = str(folder / part)
    return [_stale_line(model, other, record) for other in others]


def program_hash(path: Path) -> str:
    """Hash a program by the checksums in its zip file, without reading gigabytes.

    Raises:
        ValueError: It is not a zip file, or truncated.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [(part.filename, part.file_size, part.CRC) for part in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an exported program, got {error}") from error
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _stale_line(model: str, folder: Path, record: CacheRecord) -> str:
    """Describe what a stale folder was compiled for."""
    try:
        found = json.loads((folder / RECORD_FILE).read_text())
    except (OSError, ValueError):
        found = {}
    wanted = asdict(record)
    words = "; ".join(
        f"{key} {found.get(key, 'unknown')}, now {now}" for key, now in wanted.items() if found.get(key) != now
    )
    return (
        f"{model}: the compile cache {folder} is stale ({words}) and not used. Compiling again takes minutes."
        f" If no other server needs the folder: rm -r {folder}"
    )
