"""Exports torch modules to ONNX graphs, and compares both. Does not depend on checkpoints or on the repository."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes
import onnxruntime
import torch
from onnxscript import opset18
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import Tensor, nn

from export.shared.arguments import Precision
from export.shared.comparison import largest_difference, run_module
from export.shared.half_precision import HalfPrecision
from export.shared.network import ServedModel

OPSET = 18  # the newest that every TensorRT 10 reads
LOG_ERRORS_ONLY = 3  # ONNX Runtime's severity level


def to_graph(model: ServedModel, module: nn.Module, precision: Precision) -> ir.Model:
    """Export a model's module with torch's exporter, fold constants, and name the free axes.

    Args:
        model: Names, free axes and example inputs.
        module: Computes the model, in float32.
        precision: Precision of weights and operators; inputs and outputs stay as they are.

    Returns:
        The graph, not checked yet.
    """
    exported = module.eval() if precision == "fp32" else HalfPrecision(module).eval()
    shapes = _dynamic_shapes(model)
    inputs = model.trial(2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own code
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # "torchvision is not installed"
        program = torch.onnx.export(
            exported,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(model.outputs),
            dynamic_shapes=shapes if precision == "fp32" else (tuple(shapes),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,  # takes minutes for large graphs, and ONNX Runtime and TensorRT optimise on their own
            custom_translation_table={torch.ops.aten.repeat_interleave.self_int: _repeat_rows},
        )
    assert program is not None
    graph = program.model
    _simplify(graph)
    _open_axes(graph, model.open_axes)
    return graph


def compare_graph(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Run ONNX Runtime and torch on the same inputs.

    Args:
        path: ONNX file.
        module: What the file was exported from.
        inputs: Inputs by name.

    Returns:
        Largest difference, as a fraction of the output's root mean square.
    """
    found = open_session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return largest_difference(found, run_module(module, inputs))


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file with ONNX Runtime on the CPU, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_cpu_mem_arena = False  # saves 6 of 19 GB for the full-size UNet, and is no slower
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _dynamic_shapes(model: ServedModel) -> list[dict[int, object]]:
    """Give torch the free axes of each input, with one object per name."""
    names = {name for axes in model.free_axes.values() for name in axes.values()}
    dims: dict[str, object] = {}
    for name in sorted(names):
        factor, _, base = name.rpartition("*")
        dims[name] = int(factor) * torch.export.Dim(base) if factor else torch.export.Dim(name)
    return [{axis: dims[name] for axis, name in model.free_axes[input_name].items()} for input_name in model.trial(2)]


def _simplify(graph: ir.Model) -> None:
    _replace_cast_like(graph)
    fold_constants(graph)
    remove_unused_nodes(graph)
    ir_passes.CommonSubexpressionEliminationPass()(graph)
    ir_passes.LiftConstantsToInitializersPass(lift_all_constants=False)(graph)
    ir_passes.ClearMetadataAndDocStringPass()(graph)  # stack traces with this machine's paths


def _open_axes(graph: ir.Model, open_axes: Mapping[str, Mapping[int, str]]) -> None:
    """Name sizes that are fixed by the weights but free in config.pbtxt."""
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        assert value.name is not None
        assert value.shape is not None
        names = open_axes.get(value.name, {})
        value.shape = ir.Shape([names.get(axis, size) for axis, size in enumerate(value.shape)])


def _repeat_rows(x: Any, repeats: Any, dim: int | None = None, output_size: int | None = None) -> Any:  # noqa: ARG001
    """Repeat each row, [B, C] -> [(B repeats), C].

    The exporter's own translation repeats the columns where `repeats` is a free size.
    """
    times = opset18.Concat(
        opset18.Constant(value_ints=[1]),
        opset18.Reshape(repeats, opset18.Constant(value_ints=[-1])),
        opset18.Constant(value_ints=[1]),
        axis=0,
    )
    spread = opset18.Expand(opset18.Unsqueeze(x, opset18.Constant(value_ints=[1])), times)
    return opset18.Reshape(spread, opset18.Constant(value_ints=[-1, x.shape[1]]))


def _replace_cast_like(graph: ir.Model) -> None:
    """Replace CastLike, which few runtimes optimise, by Cast to the known type."""
    for node in list(graph.graph):
        if node.op_type == "CastLike":
            source, like = node.inputs
            dtype = _dtype(like)
            cast = ir.node("Cast", [source], attributes={"to": int(dtype)})
            cast.outputs[0].dtype, cast.outputs[0].shape = dtype, node.outputs[0].shape
            ir.convenience.replace_nodes_and_values(graph.graph, node, [node], [cast], node.outputs, cast.outputs)


def _dtype(value: ir.Value | None) -> ir.DataType:
    """Return a value's type; a value made inside a translation has none, but its first input does."""
    while value is not None and value.dtype is None:
        node = value.producer()
        value = node.inputs[0] if node else None
    assert value is not None
    assert value.dtype is not None
    return value.dtype
