"""Reads the tensors of checkpoint files; nothing in them is run. Does not depend on any particular network."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# Keys of training checkpoints and of OpenAI's files; their other entries (optimizer, counters, dims) are dropped
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
# Left by data-parallel training and by torch.compile, anywhere in a key
PREFIXES = re.compile(r"module\.|_orig_mod\.")
DOWNLOAD_AGAIN = "Download it again, as a file"
# First bytes -> what the file is instead, and what to do
TEXT_FILES = {
    b"<": ("an HTML page", DOWNLOAD_AGAIN),
    b"version https://git-lfs": ("a git-lfs pointer", DOWNLOAD_AGAIN),
    b"{": ("a JSON file", "Give the file that holds the weights"),
}
BINARY_FILES = {
    b"GGUF": ("a GGUF file", "Give the original checkpoint"),
    b"\x89HDF": ("an HDF5 file, as TensorFlow writes", "Give the original checkpoint"),
    b"\x1f\x8b\x08": ("a gzip archive", "Unpack it, and give the checkpoint inside"),
}
ZIP_MARK, PICKLE_MARK, HEADER_MARK = b"PK", b"\x80", b"{"
HEADER_PLACE = 8  # bytes before the header of a safetensors file: its length
CUT_OFF = ("incomplete metadata", "header too", "invalid header length")  # how safetensors calls that
NOT_ALLOWED = re.compile(r"GLOBAL ([\w.]+) was not an allowed global")
READ_SIZE = 1 << 20  # bytes


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by key, without the prefixes of parallel training and compilation.

    Args:
        path: A file of torch (zip or older), a TorchScript archive, or a safetensors file, whatever its name.

    Raises:
        ValueError: The file does not exist, is damaged or is not a checkpoint.
    """
    check_file(path)
    content = _read(path)
    for key in STATE_DICT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: expected a state dict, got {_type_of(content)}. Give the original checkpoint")
    strays = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strays:
        raise ValueError(
            f"{path}: expected tensors by name, got {_type_of(content[strays[0]])} at {strays[0]!r}."
            " Give the original checkpoint"
        )
    return {PREFIXES.sub("", key): value for key, value in content.items()}


def check_file(path: Path) -> None:
    """Check that a path leads to a file that may be a checkpoint, from its first bytes.

    Raises:
        ValueError: There is no such file, or it is empty, of another kind or a truncated archive.
    """
    if not path.is_file():
        got, advice = "no such file", "Give the path of the downloaded file"
        if path.is_dir():
            got, advice = "a folder", "Give the file in it"
        raise ValueError(f"{path}: expected a checkpoint file, got {got}. {advice}")
    with path.open("rb") as file:
        start = file.read(64)
    if not start.strip():
        raise ValueError(f"{path}: expected a checkpoint, got an empty file. {DOWNLOAD_AGAIN}")
    marks = BINARY_FILES if b"\0" in start else BINARY_FILES | TEXT_FILES  # < or { may be a part of a length
    for mark, (name, advice) in marks.items():
        if start.lstrip().startswith(mark):
            raise ValueError(f"{path}: expected a checkpoint, got {name}. {advice}")
    if start.startswith(ZIP_MARK) and not _has_directory(path):
        raise _truncated(path)


def _read(path: Path) -> object:
    """Read a file in the format that its first bytes tell; names are often wrong."""
    with path.open("rb") as file:
        start = file.read(HEADER_PLACE + 1)
    if start.startswith(ZIP_MARK):
        names = _check_archive(path)
        return _read_torchscript(path, names) if _has(names, "/constants.pkl") else _read_torch(path)
    named = path.suffix == ".safetensors" and not start.startswith(PICKLE_MARK)
    return _read_safetensors(path) if named or start.endswith(HEADER_MARK) else _read_torch(path)


def _check_archive(path: Path) -> list[str]:
    """Check that an archive is torch's and not damaged, and list its files.

    Torch itself does not compare the checksums of what it reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.CRC:  # torch can be told to write none
                    _read_through(archive, entry)
            names = archive.namelist()
    except Exception as error:  # damaged bytes make zipfile fail in any way
        raise ValueError(
            f"{path}: expected a whole checkpoint, got damaged bytes ({_first_line(error)}). {DOWNLOAD_AGAIN}"
        ) from error
    if not _has(names, "/data.pkl"):
        inside = f", such as {names[0]}" if names else ""
        raise ValueError(
            f"{path}: expected a checkpoint, got a zip archive of other files{inside}."
            " Unpack it, and give the checkpoint inside"
        )
    return names


def _has_directory(path: Path) -> bool:
    """Check that an archive has its list of files, which is at its end."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # for some damaged ones
        return False


def _read_through(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read a file of an archive to its end, where its checksum is compared."""
    with archive.open(entry) as file:
        while file.read(READ_SIZE):
            pass


def _has(names: list[str], ending: str) -> bool:
    return any(name.endswith(ending) for name in names)


def _read_torchscript(path: Path, names: list[str]) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates TorchScript, but such files have been published
            archive: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return dict(archive.state_dict())
    except Exception as error:  # whatever its parts do not agree on
        got = "one that torch cannot read" if any("/code/" in name for name in names) else "one without its code"
        raise ValueError(
            f"{path}: expected a TorchScript archive, got {got}. Download it again, or give a state dict"
        ) from error


def _read_torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_harmless_globals()), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = NOT_ALLOWED.search(str(error))
        if refused is None:
            raise ValueError(
                f"{path}: expected a checkpoint of tensors, got no checkpoint. Give the original checkpoint"
            ) from error
        if _ends_with(path, refused[1].rpartition(".")[2]):  # the rest of the name is missing
            raise _truncated(path) from error
        raise ValueError(
            f"{path}: expected a checkpoint of tensors, got one with other objects, {refused[1]}, which are not loaded."
            " Give the original checkpoint, or save its state dict alone"
        ) from error
    except Exception as error:  # damaged bytes make an unpickler fail in any way, struct.error included
        raise _out_of_memory(path, error) or _truncated(path) from error


def _ends_with(path: Path, text: str) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(text) - 1))  # torch takes the last letter for the line's end
        return text.encode() in file.read()


def _harmless_globals() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """List what training scripts put beside the weights: arguments, paths and NumPy's values. It holds data only."""
    functions: list[tuple[Callable[..., object], str]] = [
        (function, f"{package}.multiarray.{name}")  # NumPy 2 renamed the package
        for function, name in ((_maker(np.int64(0)), "scalar"), (_maker(np.zeros(1)), "_reconstruct"))
        for package in ("numpy.core", "numpy._core")
    ]
    dtypes = [type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?SU"]
    return [argparse.Namespace, type(Path()), np.ndarray, np.dtype, *dtypes, *functions]


def _maker(value: np.generic | np.ndarray) -> Callable[..., object]:
    """Return the function that a pickled value of NumPy is made with."""
    made = value.__reduce__()
    assert isinstance(made, tuple)
    return made[0]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # KeyError for a dtype that torch does not have
        reason = _first_line(error).removeprefix("Error while deserializing header: ")
        if isinstance(error, SafetensorError) and not reason.startswith(CUT_OFF):
            raise ValueError(
                f"{path}: expected a safetensors file, got one with an unreadable header ({reason[:100]})."
                f" {DOWNLOAD_AGAIN}"
            ) from error
        raise _out_of_memory(path, error) or _truncated(path) from error


def _out_of_memory(path: Path, error: Exception) -> ValueError | None:
    if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
        return None
    return ValueError(
        f"{path}: expected {path.stat().st_size:,} bytes of free memory to read it, got less. Free some memory"
    )


def _truncated(path: Path) -> ValueError:
    size = path.stat().st_size
    return ValueError(
        f"{path}: expected a whole checkpoint, got {size:,} bytes that are cut off or no checkpoint. {DOWNLOAD_AGAIN}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _type_of(value: object) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__
