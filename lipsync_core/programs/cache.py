"""Where compiled code is kept from one start of a server to the next, and how a stale one is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

CACHE_VARIABLE = "LIPSYNC_COMPILE_CACHE"  # the folder of all models' compiled code
INDUCTOR_VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}  # read by torch
RECORD_FILE = "compiled_for.json"
KEY_SHOWN = 16


@dataclass(frozen=True)
class CacheRecord:
    """What compiled code belongs to; code of another record is never used."""

    torch: str
    card: str
    program: str  # hash of model.pt2
    settings: str

    def key(self) -> str:
        """Name it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:KEY_SHOWN]


def cache_root() -> Path:
    """Say where compiled code is kept."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipsync-triton" / "compiled"


def open_cache(root: Path, model: str, record: CacheRecord) -> list[str]:
    """Have torch keep this model's compiled code under `root`, in a folder of its own; before the first compilation.

    Returns:
        A line for each folder of the same model that is stale: compiled for something else.

    Raises:
        ValueError: the folder cannot be written, or holds what it should not.
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
    """Hash a program by its parts' checksums, which its zip file lists: gigabytes need not be read.

    Raises:
        ValueError: it is no zip file, or cut off.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [(part.filename, part.file_size, part.CRC) for part in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an exported program, got {error}") from error
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _stale_line(model: str, folder: Path, record: CacheRecord) -> str:
    """Say what a folder was compiled for instead."""
    try:
        found = json.loads((folder / RECORD_FILE).read_text())
    except (OSError, ValueError):
        found = {}
    wanted = asdict(record)
    words = "; ".join(
        f"{key} {found.get(key, 'unknown')}, now {now}" for key, now in wanted.items() if found.get(key) != now
    )
    return (
        f"{model}: the compile cache {folder} is stale ({words}) and not used: compiling anew, which takes minutes."
        f" Where no other server needs it: rm -r {folder}"
    )
