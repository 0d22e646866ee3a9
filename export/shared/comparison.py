"""Compares the outputs of exported networks with torch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from export.shared.labels import OF_LABELS, gives_labels, share_of_other_labels
from lipsync_core.contract import ModelContract


def run_module(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
    """Run a module on inputs in order, and return all of its outputs as arrays."""
    with torch.inference_mode():
        outputs = module(*inputs.values())
    return [value.numpy() for value in ([outputs] if isinstance(outputs, Tensor) else outputs)]


def largest_difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the largest difference of any output, as a fraction of that output's root mean square; NaN if it has NaN.

    Outputs of whole numbers are labels: of these, the share that differs.

    Args:
        found: One array per output.
        expected: Arrays of the same shapes.
    """
    return float(np.max([_difference(ours, theirs) for ours, theirs in zip(found, expected, strict=True)]))


def difference_unit(contract: ModelContract) -> str:
    """Say what `largest_difference` of a model's outputs is a fraction of."""
    return OF_LABELS if gives_labels(contract) else "of the output's root mean square"


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if (share := share_of_other_labels(found, expected)) is not None:
        return share
    return float(np.abs(found - expected).max() / np.sqrt(np.square(expected, dtype=np.float64).mean()))
