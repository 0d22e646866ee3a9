"""What measures lip-sync by the papers' protocol: SyncNet and its face detector, filled from their published files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from export.shared.checkpoint import Others, check_weights, module_shapes
from export.shared.checkpoint_file import read_weights
from export.syncnet.network import SyncNet
from export.syncnet.synthetic_weights import syncnet_weights
from export.wav2lip.s3fd import S3FD, SYNCNET_NAMES, SYNCNET_S3FD

Value = TypeVar("Value")

SYNCNET = "SyncNet (syncnet_v2.model)"
DETECTOR = "SyncNet's S3FD (sfd_face.pth)"
SYNTHETIC_LINE = "the weights are synthetic: the figures mean nothing"
PUBLISHED_NAMES = {own: published for published, own in SYNCNET_NAMES.items()}


def load_syncnet(path: Path) -> SyncNet:
    """Build SyncNet and fill it from the published file, every key and shape checked.

    Raises:
        ValueError: the file is missing, broken or holds something else, an older SyncNet for example.
    """
    network = SyncNet()
    weights = read_weights(path)
    others: Others = {DETECTOR: ("--s3fd", detector_shapes())}
    check_weights(path, weights, module_shapes(network), SYNCNET, others)
    network.load_state_dict(weights, strict=False)  # the counters alone may be missing
    return network.eval()


def load_detector(path: Path) -> S3FD:
    """Build SyncNet's face detector and fill it from the published file, every key and shape checked.

    Raises:
        ValueError: the file is missing, broken or holds something else, Wav2Lip's detector for example.
    """
    weights = read_weights(path)
    others: Others = {
        SYNCNET: ("--weights", module_shapes(SyncNet())),
        "Wav2Lip's S3FD": ("python -m export wav2lip --s3fd", module_shapes(S3FD())),
    }
    check_weights(path, weights, detector_shapes(), DETECTOR, others)
    network = S3FD(SYNCNET_S3FD)
    network.load_state_dict(_renamed(weights, SYNCNET_NAMES))
    return network.eval()


def synthetic_syncnet() -> SyncNet:
    """Build SyncNet with synthetic weights, which know nothing about lips."""
    network = SyncNet()
    weights = syncnet_weights(module_shapes(network))
    network.load_state_dict({key: torch.as_tensor(value) for key, value in weights.items()})
    return network.eval()


def detector_shapes() -> dict[str, tuple[int, ...]]:
    """List the detector's weights by their published names."""
    return _renamed(module_shapes(S3FD(SYNCNET_S3FD)), PUBLISHED_NAMES)


def _renamed(values: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    """Rename the layers in keys such as conv1_1.weight."""
    parts = {key: key.rpartition(".") for key in values}
    return {f"{names[layer]}.{kind}": values[key] for key, (layer, _, kind) in parts.items()}
