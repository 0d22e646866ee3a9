"""Synthetic weights for the S3FD of SyncNet's pipeline; needs torch.

Source: docs/specs/synthetic-weights.md, "S3FD of SyncNet".
"""

from __future__ import annotations

import numpy as np
import torch

from export.shared.synthetic_weights import make_weights, scaled_by_inputs
from export.wav2lip.s3fd import S3FD, SYNCNET_NAMES, SYNCNET_S3FD
from perf.scores.syncnet.weights import detector_shapes

DETECTOR_SEED = 4004
DETECTOR_NORM_SCALES = {"L2Norm3_3.weight": 10.0, "L2Norm4_3.weight": 8.0, "L2Norm5_3.weight": 5.0}
FIRST_GAIN, CONFIDENCE_GAIN, OTHER_GAIN = 0.03, 3.0, 1.4


def sfd_weights() -> dict[str, np.ndarray]:
    """Make float32 weights by the key names of the published file."""
    return make_weights(detector_shapes(), DETECTOR_SEED, _detector_values)


def synthetic_detector() -> S3FD:
    """Build the detector with synthetic weights, which know nothing about faces."""
    network = S3FD(SYNCNET_S3FD)
    network.load_state_dict({_own_key(key): torch.from_numpy(value) for key, value in sfd_weights().items()})
    return network.eval()


def _own_key(published: str) -> str:
    layer, _, kind = published.rpartition(".")
    return f"{SYNCNET_NAMES[layer]}.{kind}"


def _detector_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key in DETECTOR_NORM_SCALES:
        return DETECTOR_NORM_SCALES[key] * (1 + 0.1 * noise)
    if key.endswith(".bias"):
        return 0.05 * noise
    if key == "vgg.0.weight":
        return scaled_by_inputs(noise, FIRST_GAIN)
    return scaled_by_inputs(noise, CONFIDENCE_GAIN if key.startswith("conf.") else OTHER_GAIN)
