"""Weights, files and figures for the tests of MuseTalk's networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from export.musetalk.network import PARSER
from export.shared.network import load_synthetic

Weights = dict[str, torch.Tensor]
BOUND = 1e-4  # of the largest value: float32 sums in another order; measured 1e-6
TRAINING_HEADS = ("conv_out16.", "conv_out32.")  # of the parser; not exported
HEAD_SHAPES = {"conv.conv.weight": (64, 128, 3, 3), "conv_out.weight": (19, 64, 1, 1), "conv.bn.weight": (64,)}


def run(module: torch.nn.Module, *inputs: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(*map(torch.from_numpy, inputs)).numpy()


def figures_of(output: np.ndarray) -> list[float]:
    """The goldens' figures of a layer's output."""
    values = output.astype(np.float64)
    return [values.mean(), values.std(ddof=1), values.min(), values.max()]


def save(path: Path, weights: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save(weights, path)
    return path


def published_parser() -> Weights:
    """The face parser's weights under the original's names, with the heads of its training."""
    weights = {PARSER.checkpoint_key(key): value for key, value in load_synthetic(PARSER).state_dict().items()}
    heads = {head + key: torch.ones(shape) for head in TRAINING_HEADS for key, shape in HEAD_SHAPES.items()}
    return weights | heads
