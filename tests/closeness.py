"""How far two computations of the same numbers may lie apart on any processor; does not depend on torch.

Processors, thread counts and library versions sum in another order, so bounds are relative to the values compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def relative_error(found: Any, expected: Any, scale: float | None = None) -> float:
    """Return the largest difference, as a share of the largest expected value.

    Args:
        found: any shape and dtype, an array or a torch tensor on the CPU.
        expected: the same shape.
        scale: what to divide by instead; for values that are small differences of larger ones.

    Raises:
        AssertionError: the shapes differ, or one holds NaN or infinity where the other does not.
    """
    left, right = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert left.shape == right.shape, f"shapes differ: found {left.shape}, expected {right.shape}"
    finite = np.isfinite(right)
    assert np.array_equal(left[~finite], right[~finite], equal_nan=True), "NaN or infinity in other places"
    difference = float(np.abs(left - right)[finite].max(initial=0))
    if not difference:
        return 0.0
    largest = float(np.abs(right[finite]).max()) if scale is None else scale
    return difference / largest if largest else float("inf")


def assert_close(found: Any, expected: Any, *, rel: float, scale: float | None = None, what: str = "values") -> None:
    """Fail unless two arrays agree within `rel` of the largest expected value, or of `scale`."""
    error = relative_error(found, expected, scale)
    assert error <= rel, f"{what}: expected a relative error of at most {rel:g}, got {error:.3g}"
