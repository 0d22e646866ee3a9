"""Reads published checkpoints strictly: only tensors are unpickled, and every key and shape must match.

Does not depend on any particular network.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# Keys of training checkpoints and of OpenAI's files; their other entries (optimizer, counters, dims) are dropped
STATE_DICT_KEYS = ("state_dict", "model_state_dict")
PARALLEL_PREFIX = "module."  # left by data-parallel training, anywhere in a key
KEYS_SHOWN = 3
TEXT_MARKS = {b"<": "an HTML page", b"version https://git-lfs": "a git-lfs pointer"}
DOWNLOAD_AGAIN = "Download it again, as a file"

Shapes = Mapping[str, tuple[int, ...]]
Others = Mapping[str, tuple[str, Shapes]]  # title of a network -> the option that takes its checkpoint, its shapes


def module_shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """List the keys of a module's state dict with their shapes."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by key, without the prefix `module.`.

    Args:
        path: A .pth, .pt or .bin file of torch (zip or older), a TorchScript archive, or a .safetensors file.

    Raises:
        ValueError: The file does not exist or is not a checkpoint.
    """
    check_file(path)
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


def check_file(path: Path) -> None:
    """Check that a path leads to a file that may be a checkpoint, from its first bytes.

    Raises:
        ValueError: There is no such file, or it is empty, a web page, a git-lfs pointer or a truncated archive.
    """
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


def check_weights(path: Path, weights: Mapping[str, Tensor], shapes: Shapes, title: str, others: Others) -> None:
    """Check that weights have the keys and shapes of a network, and that all values are finite.

    Args:
        path: File that the weights are from, for the message.
        weights: Tensors by key.
        shapes: Expected shape by key.
        title: What the file should hold, for the message.
        others: Networks whose checkpoints may have been mixed up with this one.

    Raises:
        ValueError: They differ; the message names the first keys that do.
    """
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differences = _differences(found, shapes)
    if differences:
        mixed_up = [(name, option) for name, (option, other_shapes) in others.items() if found == other_shapes]
        advice = "Give the original checkpoint of this network"
        if mixed_up:
            advice = "It holds {}; give it with {}".format(*mixed_up[0])
        raise ValueError(f"{path}: expected {title}, got {'; '.join(differences)}. {advice}")
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(
            f"{path}: expected finite weights, got NaN or infinity in {_some(broken)}. The file is damaged or its"
            f" training diverged. {DOWNLOAD_AGAIN}"
        )


def _read_torch(path: Path) -> object:
    if _is_torchscript(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates TorchScript, but such files have been published
            archive: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return dict(archive.state_dict())
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: expected a checkpoint of tensors, got no checkpoint or one with other objects, which are not"
            " loaded. Give the original checkpoint"
        ) from error
    except Exception as error:  # damaged bytes make an unpickler fail in any way, struct.error included
        raise _truncated(path) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _truncated(path) from error


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
