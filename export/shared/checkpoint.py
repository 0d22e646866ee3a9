"""Compares a checkpoint's tensors with what a network expects, strictly; knows nothing of files and networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

KEYS_SHOWN = 3
COUNTER = "num_batches_tracked"  # of batch norms; not used after training, and left out of some files
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ORIGINAL = "Give the original checkpoint of this network"
# Kind of tensor that cannot be exported -> what to do
UNUSABLE: Mapping[str, str] = {
    "tensors without values": "Save it again from a device that holds them",
    "sparse tensors": "Save them as dense ones",
    "unsupported types": "Give the original checkpoint, with floating-point weights of 16 or 32 bits",
}

Shapes = Mapping[str, tuple[int, ...]]
Others = Mapping[str, tuple[str, Shapes]]  # title of a network -> the option that takes its checkpoint, its shapes


def module_shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """List the keys of a module's state dict with their shapes."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def is_counter(key: str) -> bool:
    """Say whether a key is a batch norm's counter, which a checkpoint may lack."""
    return key.endswith(COUNTER)


def check_weights(
    path: Path,
    weights: Mapping[str, Tensor],
    shapes: Shapes,
    title: str,
    others: Others,
    may_lack: Callable[[str], bool] = is_counter,
) -> None:
    """Check that weights have the keys and shapes of a network, and are finite numbers of full or half precision.

    Args:
        path: File that the weights are from, for the message.
        weights: Tensors by key.
        shapes: Expected shape by key.
        title: What the file should hold, for the message.
        others: Networks whose checkpoints may have been mixed up with this one.
        may_lack: Says of a key whether it may be missing.

    Raises:
        ValueError: They differ; the message names the first keys that do.
    """
    found = {key: tuple(value.shape) for key, value in weights.items()}
    differences = _differences(found, shapes, may_lack)
    if differences:
        mixed_up = [
            f"It holds {name}; give it with {option}"
            for name, (option, other_shapes) in others.items()
            if not _differences(found, other_shapes, is_counter)
        ]
        raise ValueError(f"{path}: expected {title}, got {'; '.join(differences)}. {[*mixed_up, ORIGINAL][0]}")
    unusable = {kind: [key for key, value in weights.items() if kind == _unusable(key, value)] for kind in UNUSABLE}
    for kind, keys in unusable.items():
        if keys:
            dtypes = ", ".join(sorted({str(weights[key].dtype).removeprefix("torch.") for key in keys}))
            raise ValueError(f"{path}: expected {title}, got {kind} ({dtypes}) in {_some(keys)}. {UNUSABLE[kind]}")
    broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(
            f"{path}: expected finite weights, got NaN or infinity in {_some(broken)}. The file is damaged or its"
            " training diverged. Download it again, as a file"
        )


def _unusable(key: str, value: Tensor) -> str | None:
    """Return the kind of a tensor that cannot be exported, or None."""
    without_values, sparse, unsupported = UNUSABLE
    if value.is_meta:
        return without_values
    if value.layout != torch.strided:
        return sparse
    return unsupported if value.dtype not in DTYPES and not is_counter(key) else None


def _differences(found: Shapes, expected: Shapes, may_lack: Callable[[str], bool]) -> list[str]:
    missing = [key for key in expected if key not in found and not may_lack(key)]
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
