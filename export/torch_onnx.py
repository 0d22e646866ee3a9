"""torch modules to ONNX: exported, checked by ONNX's checker, and compared with torch on the same inputs."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
OPSET = 18  # the newest that every TensorRT 10 reads


@dataclass(frozen=True)
class GraphPlan:
    """How a module becomes a graph.

    Attributes:
        examples: input name -> an example tensor; a batch of two or more, so that no axis counts as fixed at one.
        free_axes: input name -> axis -> its name; axes of one name have one size.
        outputs: the outputs' names.
    """

    examples: Mapping[str, Tensor]
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]


class HalfPrecision(nn.Module):
    """A network in half precision behind the float32 inputs and outputs of its contract."""

    def __init__(self, network: nn.Module) -> None:
        """Halve a copy of the network."""
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Cast, run, cast back; inputs that are whole numbers stay."""
        halved = (value.half() if value.is_floating_point() else value for value in inputs)
        outputs = self.network(*halved)
        return outputs.float() if isinstance(outputs, Tensor) else tuple(value.float() for value in outputs)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return a copy whose batch normalisations are part of the convolutions before them."""
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
                convolution = child[0]
                assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, child[1], transpose=transposed))
    return folded


def to_onnx(network: nn.Module, plan: GraphPlan, precision: Precision) -> onnx.ModelProto:
    """Export a module with torch's exporter; the result has passed ONNX's checker.

    Raises:
        ValueError: the checker refuses the graph.
    """
    module = network if precision == "fp32" else HalfPrecision(network)
    dims = {name: torch.export.Dim(name) for axes in plan.free_axes.values() for name in axes.values()}
    shapes = [{axis: dims[name] for axis, name in plan.free_axes[input_name].items()} for input_name in plan.examples]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # "torchvision is not installed"
        program = torch.onnx.export(
            module.eval(),
            tuple(plan.examples.values()),
            input_names=list(plan.examples),
            output_names=list(plan.outputs),
            dynamic_shapes=shapes if precision == "fp32" else (tuple(shapes),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"export: expected a valid ONNX graph, got {error}") from error
    return model


def max_error(model: onnx.ModelProto, network: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Run ONNX Runtime and torch on the same inputs and return the largest absolute difference."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.inference_mode():
        outputs = network(*inputs.values())
    expected = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True))
