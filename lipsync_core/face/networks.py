"""The face networks as functions: what they take and give, and calls in batches. Does not depend on Triton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
RunDetector = Network  # images, uint8 RGB [N, S, S, 3] -> regressors [N, anchors, 16] and logits [N, anchors]
RunLandmarks = Network  # crops, uint8 RGB [N, S, S, 3] -> landmarks [N, 468, 3] in pixels of the crop, logits [N, 1]


def in_batches(network: Network, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over images, at most `batch_size` per call.

    Args:
        network: A face network with two outputs.
        images: uint8 RGB [N, S, S, 3], at least one.
        batch_size: The most images per call.

    Returns:
        The network's two outputs, [N, ...] each.
    """
    starts = range(0, len(images), batch_size)
    first, second = zip(*(network(images[start : start + batch_size]) for start in starts), strict=True)
    return np.concatenate(first), np.concatenate(second)
