"""What the `wav2lip` export knows of its two networks: how each is built, filled, exported and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.shared.batch_norms import fold_batch_norms
from export.shared.checkpoint import Shapes, load_checkpoint, module_shapes
from export.shared.model_file import write_model
from export.shared.synthetic_weights import generator_weights, s3fd_weights
from export.shared.torch_onnx import Format, GraphPlan, Precision, max_error, to_onnx
from export.shared.torch_program import write_program
from export.wav2lip.generator import Wav2LipGenerator
from export.wav2lip.s3fd import S3FD

TRIAL_SEED = 0


@dataclass(frozen=True)
class Network:
    """One network to export.

    Attributes:
        model: its folder in the model repository.
        what: what its checkpoint holds, in words.
        option: the option that takes its checkpoint.
        license_line: printed when real weights are loaded.
        build: makes the untrained module.
        synthetic: makes up weights from shapes and a seed shift.
        free_axes: input -> axis -> name, of the axes that may have any size.
        outputs: the graph's outputs.
        bounds: precision -> largest accepted difference of ONNX from torch in fp32.
    """

    model: str
    what: str
    option: str
    license_line: str
    build: Callable[[], nn.Module]
    synthetic: Callable[[Shapes, int], dict[str, np.ndarray]]
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    bounds: Mapping[Precision, float]


GENERATOR = Network(
    model="wav2lip_generator",
    what="the Wav2Lip generator",
    option="--checkpoint",
    license_line="licence of the weights: personal, research and non-commercial use (Wav2Lip, trained on LRS2)",
    build=Wav2LipGenerator,
    synthetic=generator_weights,
    free_axes={"mel": {0: "batch"}, "face": {0: "batch"}},
    outputs=("drawn",),
    bounds={"fp32": 1e-4, "fp16": 0.05},  # of 0..1
)
DETECTOR = Network(
    model="s3fd",
    what="the S3FD face detector",
    option="--s3fd",
    license_line="licence of the weights: see the face_alignment project (S3FD, trained on WIDER FACE)",
    build=S3FD,
    synthetic=s3fd_weights,
    free_axes={"images": {0: "batch", 1: "height", 2: "width"}},
    outputs=("logits", "offsets"),
    bounds={"fp32": 1e-3, "fp16": 0.5},  # of logits and offsets, which go up to some tens
)
NETWORKS = (GENERATOR, DETECTOR)


def load(network: Network, checkpoint: Path | None, seed_shift: int = 0) -> nn.Module:
    """Build a network and fill it from its checkpoint, or with made-up weights where none is given.

    Raises:
        ValueError: the checkpoint is missing, broken or not this network's.
    """
    module = network.build()
    if checkpoint is not None:
        others = {other.what: (other.option, module_shapes(other.build())) for other in NETWORKS if other != network}
        load_checkpoint(checkpoint, module, network.what, others)
    else:
        weights = network.synthetic(module_shapes(module), seed_shift)
        module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return module.eval()


def export(
    network: Network, module: nn.Module, precision: Precision, repository: Path, to_format: Format = "onnx"
) -> str:
    """Export one network, compare it with torch, and put it into the model repository.

    Args:
        network: which one.
        module: it, with its weights.
        precision: of the ONNX graph; programs are float32, and served in any.
        repository: the model repository.
        to_format: what is written.

    Returns:
        Two lines that say what was written, and how far it is from torch.

    Raises:
        ValueError: it differs by more than its bound, or from its config.pbtxt.
    """
    plan = GraphPlan(trial_inputs(network, batch=2), network.free_axes, network.outputs)
    folded = fold_batch_norms(module)
    if to_format == "torch":
        return write_program(repository, network.model, folded, plan, partial(trial_inputs, network))
    graph = to_onnx(folded, plan, precision)
    error = max_error(graph, module, trial_inputs(network, batch=3))
    bound = network.bounds[precision]
    if not error <= bound:  # NaN included
        raise ValueError(f"{network.model}: expected ONNX within {bound:g} of torch, got {error:.2g}")
    written = write_model(graph, repository, network.model)
    return f"{written}\n  {precision}, largest difference from torch in fp32 {error:.2g}, bound {bound:g}"


def trial_inputs(network: Network, batch: int) -> dict[str, Tensor]:
    """Make inputs to export with, or to compare by; free sizes depend on the batch."""
    random = torch.Generator().manual_seed(TRIAL_SEED)
    if network is GENERATOR:
        mel = 8 * torch.rand(batch, 1, 80, 16, generator=random) - 4
        return {"mel": mel, "face": torch.rand(batch, 6, 96, 96, generator=random)}
    size = (batch, 30 + 33 * batch, 50 + 33 * batch, 3)
    return {"images": torch.randint(256, size, dtype=torch.uint8, generator=random)}
