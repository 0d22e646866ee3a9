"""Outputs of whole numbers: labels, of which the share that differs counts. Does not depend on torch."""

from __future__ import annotations

import numpy as np

from lipsync_core.contract import ModelContract

OF_LABELS = "of the labels"  # what differences of labels are a fraction of


def gives_labels(contract: ModelContract) -> bool:
    """Say whether all outputs of a model are labels."""
    return all(np.issubdtype(spec.dtype, np.integer) for spec in contract.outputs)


def share_of_other_labels(found: np.ndarray, expected: np.ndarray) -> float | None:
    """Return the share of an output's labels that differ; None if the output does not hold labels."""
    return float((found != expected).mean()) if np.issubdtype(expected.dtype, np.integer) else None
