"""Compares the outputs of exported networks with torch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def run_module(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
    """Run a module on inputs in order, and return all of its outputs as arrays."""
    with torch.inference_mode():
        outputs = module(*inputs.values())
    return [value.numpy() for value in ([outputs] if isinstance(outputs, Tensor) else outputs)]


def largest_difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the largest difference of any output, as a fraction of that output's root mean square; NaN if it has NaN.

    Args:
        found: One array per output.
        expected: Arrays of the same shapes.
    """
    fractions = [
        float(np.abs(ours - theirs).max() / np.sqrt(np.square(theirs, dtype=np.float64).mean()))
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return float(np.max(fractions))
