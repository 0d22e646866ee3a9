"""Reads published checkpoints strictly: tensors alone, nothing else unpickled, every key and shape as expected.

Knows files and keys, no network.
"""

from __future__ import annotations

import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# of training checkpoints, and of OpenAI's; what lies beside it (optimizer, counters, dims) is dropped
STATE_DICT_KEYS = ("state_dict", "model_state_dict")
PARALLEL_PREFIX = "module."  # left by data-parallel training, anywhere in a key
KEYS_SHOWN = 3
TEXT_MARKS = {b"<": "an HTML page", b"version https://git-lfs": "a git-lfs pointer"}
DOWNLOAD_AGAIN = "Download it again, as a file"
SAFETENSORS_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}

Shapes = Mapping[str, tuple[int, ...]]
Others = Mapping[str, tuple[str, Shapes]]  # what a network is called -> the option that takes it, its shapes


def module_shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """List a module's state-dict keys with their shapes."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def load_checkpoint(path: Path, module: torch.nn.Module, what: str, others: Others | None = None) -> None:
    """Fill a module from a checkpoint file.

    Args:
        path: a .pth or .pt (zip or older), a TorchScript archive, or .safetensors.
        module: takes the weights; every key and shape must be there, and no other.
        what: what the file should hold, for the message.
        others: networks that it may have been mixed up with.

    Raises:
        ValueError: the file is missing, broken, or holds something else.
    """
    weights = read_weights(path)
    check_weights(path, weights, module_shapes(module), what, others or {})
    module.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by key, without `module.` in them.

    Raises:
        ValueError: the file is missing or is no checkpoint.
    """
    _check_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in STATE_DICT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: expected a state dict, got {_kind(content)}. Give the original checkpoint")
    strays = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strays:
        raise ValueError(
            f"{path}: expected tensors by name, got {_kind(content[strays[0]])} at {strays[0]!r}."
            " Give the original checkpoint"
        )
    return {key.replace(PARALLEL_PREFIX, ""): value for key, value in content.items()}


def check_weights(path: Path, weights: Mapping[str, Tensor], shapes: Shapes, what: str, others: Others) -> None:
    """Compare weights with the shapes that a network has, and look for values that are no numbers.

    Raises:
        ValueError: they differ; the message holds the first keys that do.
    """
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differences = _differences(found, shapes)
    if differences:
        taken_for = [
            f"It holds {name}; give it with {option}" for name, (option, other) in others.items() if found == other
        ]
        advice = taken_for[0] if taken_for else "Give the original checkpoint of this network"
        raise ValueError(f"{path}: expected {what}, got {'; '.join(differences)}. {advice}")
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(
            f"{path}: expected finite weights, got NaN or infinity in {_some(broken)}. The file is damaged or its"
            f" training diverged. {DOWNLOAD_AGAIN}"
        )


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: expected a checkpoint file, got no such file. Give the path of the downloaded file")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise ValueError(f"{path}: expected a checkpoint, got an empty file. {DOWNLOAD_AGAIN}")
    for mark, name in TEXT_MARKS.items():
        if start.startswith(mark):
            raise ValueError(f"{path}: expected a checkpoint, got {name}. {DOWNLOAD_AGAIN}")
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise _truncated(path)


def _read_torch(path: Path) -> object:
    if _is_torchscript(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wants another format; the files that are out there stay
            archive: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return dict(archive.state_dict())
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: expected a checkpoint of tensors, got no checkpoint or one with other objects, which are not"
            " loaded. Give the original checkpoint"
        ) from error
    except Exception as error:  # broken bytes make an unpickler fail in any way, struct.error included
        raise _truncated(path) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the safetensors format: the header's length, a JSON header, the tensors' bytes."""
    content = path.read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        return {key: _tensor(memoryview(content)[start:], **entry) for key, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _truncated(path) from error


def _tensor(content: memoryview, dtype: str, shape: Sequence[int], data_offsets: tuple[int, int]) -> Tensor:
    begin, end = data_offsets
    values = np.frombuffer(content[begin:end], SAFETENSORS_DTYPES[dtype])
    if values.size != math.prod(shape):
        raise ValueError(f"expected {math.prod(shape)} values, got {values.size}")
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return torch.from_numpy(values.reshape(shape).copy())


def _differences(found: Shapes, expected: Shapes) -> list[str]:
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [
        f"{key} {list(found[key])} for {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    parts = {"no": missing, "unexpected": unexpected, "wrong shapes:": reshaped}
    return [f"{label} {_some(keys)}" for label, keys in parts.items() if keys]


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
    return ", ".join(keys[:KEYS_SHOWN]) + more


def _truncated(path: Path) -> ValueError:
    size = path.stat().st_size
    return ValueError(
        f"{path}: expected a whole checkpoint, got {size:,} bytes that are cut off or no checkpoint. {DOWNLOAD_AGAIN}"
    )


def _kind(value: object) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__
