"""torch modules to ONNX: exported, checked by ONNX's checker, and compared with torch on the same inputs."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
Format = Literal["onnx", "torch"]
OPSET = 18  # the newest that every TensorRT 10 reads


@dataclass(frozen=True)
class GraphPlan:
    """How a module becomes a graph.

    Attributes:
        examples: input name -> an example tensor; a batch of two or more, so that no axis counts as fixed at one.
        free_axes: input name -> axis -> its name; axes of one name have one size, `8*height` is a multiple of 8.
        outputs: the outputs' names.
    """

    examples: Mapping[str, Tensor]
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]


class HalfPrecision(nn.Module):
    """A network in half precision behind the float32 inputs and outputs of its contract.

    Its norms stay in float32, as their sums of squares overflow half precision first; engines take precisions from
    the graph.
    """

    def __init__(self, network: nn.Module) -> None:
        """Halve a copy of the network, weight by weight: a whole copy in full precision would not fit everywhere."""
        super().__init__()
        halved = {
            id(weight): nn.Parameter(weight.detach().half(), requires_grad=False) for weight in network.parameters()
        }
        self.network = copy.deepcopy(network, dict[int, Any](halved)).half()  # takes these for copies already made
        for module in self.network.modules():
            if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                _keep_in_float32(module)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Cast, run, cast back; inputs that are whole numbers stay."""
        halved = (value.half() if value.is_floating_point() else value for value in inputs)
        outputs = self.network(*halved)
        return outputs.float() if isinstance(outputs, Tensor) else tuple(value.float() for value in outputs)


def _keep_in_float32(module: nn.Module) -> None:
    """Have a module of a halved network compute in float32 between casts."""
    module.float()
    module.register_forward_pre_hook(lambda _module, inputs: tuple(value.float() for value in inputs))
    module.register_forward_hook(lambda _module, _inputs, output: output.half())


def to_onnx(network: nn.Module, plan: GraphPlan, precision: Precision) -> onnx.ModelProto:
    """Export a module with torch's exporter; the result has passed ONNX's checker.

    Raises:
        ValueError: the checker refuses the graph.
    """
    model = export_program(network, plan, precision).model_proto
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"export: expected a valid ONNX graph, got {error}") from error
    return model


def export_program(
    network: nn.Module,
    plan: GraphPlan,
    precision: Precision,
    *,
    optimize: bool = True,
    translations: Mapping[Any, Callable[..., Any]] | None = None,
) -> torch.onnx.ONNXProgram:
    """Export a module with torch's exporter; not checked yet.

    Args:
        network: the module.
        plan: its example inputs, free axes and outputs.
        precision: of the weights and of what is computed.
        optimize: let the exporter rewrite the graph; minutes for thousands of nodes.
        translations: torch operator -> onnxscript function that replaces the exporter's own.
    """
    module = network if precision == "fp32" else HalfPrecision(network)
    shapes = _dynamic_shapes(plan)
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
            optimize=optimize,
            custom_translation_table=dict(translations or {}),
        )
    assert program is not None
    return program


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


def _dynamic_shapes(plan: GraphPlan) -> list[dict[int, object]]:
    """Give torch its dimensions, one object per name."""
    names = {name for axes in plan.free_axes.values() for name in axes.values()}
    dims: dict[str, object] = {}
    for name in sorted(names):
        factor, _, base = name.rpartition("*")
        dims[name] = int(factor) * torch.export.Dim(base) if factor else torch.export.Dim(name)
    return [{axis: dims[name] for axis, name in plan.free_axes[input_name].items()} for input_name in plan.examples]
