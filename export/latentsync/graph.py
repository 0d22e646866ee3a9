"""LatentSync's modules to ONNX graphs in the model repository, each compared with torch.

Knows modules and their axes, no checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes
import onnxruntime
import torch
from onnxscript import opset18
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import Tensor, nn

from export.shared.external_data import write_graph
from export.shared.torch_onnx import GraphPlan, Precision, export_program

# largest accepted difference of ONNX from torch in fp32, in standard deviations of the output
BOUNDS: Mapping[Precision, float] = {"fp32": 1e-4, "fp16": 0.05}


@dataclass(frozen=True)
class Part:
    """One model of the repository.

    Attributes:
        model: its folder.
        module: computes it.
        free_axes: input -> axis -> name, of the axes that may have any size.
        outputs: the graph's outputs.
        trial: makes inputs to export with, or to compare by; sizes depend on the given number.
        open_axes: tensor -> axis -> name, of sizes that the weights fix but config.pbtxt leaves open.
    """

    model: str
    module: nn.Module
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    trial: Callable[[int], dict[str, Tensor]]
    open_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def export(part: Part, precision: Precision, repository: Path) -> str:
    """Export one model, compare it with torch, and put it into the model repository.

    Returns:
        Lines that say what was written, and how far it is from torch.

    Raises:
        ValueError: it differs by more than its bound, or from its config.pbtxt.
    """
    graph = to_graph(part, precision)
    errors: list[float] = []
    bound = BOUNDS[precision]

    def check(path: Path) -> None:
        errors.append(relative_error(path, part.module, part.trial(3)))
        if not errors[0] <= bound:  # NaN included
            raise ValueError(
                f"{part.model}: expected ONNX within {bound:g} standard deviations of torch, got {errors[0]:.2g}."
                + (" Export it with --precision fp32" if precision == "fp16" else "")
            )

    written = write_graph(graph, repository, part.model, check)
    return (
        f"{written}\n  {precision}, largest difference from torch in fp32 {errors[0]:.2g} of the output's standard"
        f" deviation, bound {bound:g}"
    )


def to_graph(part: Part, precision: Precision) -> ir.Model:
    """Export a model with torch's exporter; its constants are folded, its checks are still to come."""
    plan = GraphPlan(part.trial(2), part.free_axes, part.outputs)
    translations = {torch.ops.aten.repeat_interleave.self_int: _repeat_rows}
    # the exporter's own optimiser takes minutes for these graphs, and ONNX Runtime and TensorRT have theirs
    graph = export_program(part.module, plan, precision, optimize=False, translations=translations).model
    _replace_cast_like(graph)
    fold_constants(graph)
    remove_unused_nodes(graph)
    ir_passes.CommonSubexpressionEliminationPass()(graph)
    ir_passes.LiftConstantsToInitializersPass(lift_all_constants=False)(graph)
    ir_passes.ClearMetadataAndDocStringPass()(graph)  # stack traces of this machine
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        assert value.name is not None
        assert value.shape is not None
        open_axes = part.open_axes.get(value.name, {})
        value.shape = ir.Shape([open_axes.get(axis, size) for axis, size in enumerate(value.shape)])
    return graph


def relative_error(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Run ONNX Runtime and torch on the same inputs: largest difference, in standard deviations of the output."""
    with torch.inference_mode():
        outputs = module(*inputs.values())
    expected = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    found = open_session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return max(
        float(np.abs(ours - theirs.numpy()).max() / theirs.numpy().std())
        for ours, theirs in zip(found, expected, strict=True)
    )


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph with ONNX Runtime, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_cpu_mem_arena = False  # at full size 13 GB at most instead of 19, and no slower
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _repeat_rows(x: Any, repeats: Any, dim: int | None = None, output_size: int | None = None) -> Any:  # noqa: ARG001
    """Repeat each row, [B, C] -> [(B repeats), C]; the exporter's own repeats the columns where `repeats` is free."""
    times = opset18.Concat(
        opset18.Constant(value_ints=[1]),
        opset18.Reshape(repeats, opset18.Constant(value_ints=[-1])),
        opset18.Constant(value_ints=[1]),
        axis=0,
    )
    spread = opset18.Expand(opset18.Unsqueeze(x, opset18.Constant(value_ints=[1])), times)
    return opset18.Reshape(spread, opset18.Constant(value_ints=[-1, x.shape[1]]))


def _replace_cast_like(graph: ir.Model) -> None:
    """Write casts with the type that is known: CastLike is an operator that few runtimes optimise."""
    for node in list(graph.graph):
        if node.op_type == "CastLike":
            source, like = node.inputs
            dtype = _dtype(like)
            cast = ir.node("Cast", [source], attributes={"to": int(dtype)})
            cast.outputs[0].dtype, cast.outputs[0].shape = dtype, node.outputs[0].shape
            ir.convenience.replace_nodes_and_values(graph.graph, node, [node], [cast], node.outputs, cast.outputs)


def _dtype(value: ir.Value | None) -> ir.DataType:
    """Say a value's type; values made inside of a translation carry none, but their first input's."""
    while value is not None and value.dtype is None:
        node = value.producer()
        value = node.inputs[0] if node else None
    assert value is not None
    assert value.dtype is not None
    return value.dtype
