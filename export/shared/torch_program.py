"""torch modules to programs, model.pt2: exported by torch.export, read back and compared with the module."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.shared.external_data import file_sha256
from export.shared.torch_onnx import GraphPlan
from lipsync_core.contract import ModelContract, read_contract
from lipsync_core.programs.program import PROGRAM_FILE, Program, load_program, save_program
from lipsync_core.repository import VERSION_FOLDER

BOUND = 1e-5  # of the output's standard deviation: the same operators, in the same order


def write_program(
    repository: Path, model: str, module: nn.Module, plan: GraphPlan, trial: Callable[[int], Mapping[str, Tensor]]
) -> str:
    """Export a module and put it where Triton looks for it, once it agrees with torch and the model's config.pbtxt.

    Args:
        repository: the model repository.
        model: the model's name in it.
        module: in float32; the served precision is a parameter of configs/torch.pbtxt.
        plan: its example inputs, free axes and outputs.
        trial: makes inputs to compare by from a number of rows.

    Returns:
        Lines that say what was written, its size and its sha256, and how far it is from torch.

    Raises:
        ValueError: the program differs from the module, or from config.pbtxt.
    """
    folder = repository / model / VERSION_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        path = Path(unfinished) / PROGRAM_FILE
        save_program(export_program(module, plan), path, tuple(plan.examples), plan.outputs)
        contract, program = read_contract(repository / model), load_program(path, torch.device("cpu"))
        error = max(compare_program(program, contract, module, trial(rows)) for rows in (1, 3))
        if not error <= BOUND:  # NaN included
            raise ValueError(f"{model}: expected the program within {BOUND:g} standard deviations, got {error:.2g}")
        digest, size = file_sha256(path), path.stat().st_size
        path.chmod(0o644)
        os.replace(path, folder / PROGRAM_FILE)
    return (
        f"{folder / PROGRAM_FILE}: {size:,} bytes, sha256 {digest}\n  for torch {torch.__version__},"
        f" largest difference from torch {error:.2g} of the output's standard deviation, bound {BOUND:g}"
    )


def export_program(module: nn.Module, plan: GraphPlan) -> Any:
    """Trace a module with torch.export, its free axes free."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        # torch finds the limits of the free axes itself; `compare_program` shows whether they are free
        shapes = tuple(dict.fromkeys(plan.free_axes[name], torch.export.Dim.AUTO) for name in plan.examples)
        return torch.export.export(module.eval(), tuple(plan.examples.values()), dynamic_shapes=shapes, strict=False)


def compare_program(
    program: Program, contract: ModelContract, module: nn.Module, inputs: Mapping[str, Tensor]
) -> float:
    """Run a program as it was written and its module on the same inputs: largest difference, in standard deviations.

    Raises:
        ValueError: its tensors are not those of config.pbtxt.
    """
    with torch.inference_mode():
        expected, found = (_as_list(network(*inputs.values())) for network in (module, program.module))
    _check_contract(contract, inputs, dict(zip(program.outputs, found, strict=True)))
    return max(float((a - b).abs().max() / b.std()) for a, b in zip(found, expected, strict=True))


def _as_list(outputs: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _check_contract(contract: ModelContract, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
    for side, tensors, specs in (("input", inputs, contract.inputs), ("output", outputs, contract.outputs)):
        expected = {spec.name: (spec.dtype, spec.dims) for spec in specs}
        agree = tensors.keys() == expected.keys() and all(
            _agrees(tensor, *expected[name]) for name, tensor in tensors.items()
        )
        if not agree:
            ours = {name: (str(tensor.dtype), list(tensor.shape[1:])) for name, tensor in tensors.items()}
            theirs = {name: (str(dtype), list(dims)) for name, (dtype, dims) in expected.items()}
            raise ValueError(f"{contract.name}: expected the {side}s of config.pbtxt, {theirs}, got {ours}")


def _agrees(tensor: Tensor, dtype: np.dtype, dims: tuple[int, ...]) -> bool:
    sizes = tuple(tensor.shape[1:])
    fits = len(sizes) == len(dims) and all(dim in (-1, size) for dim, size in zip(dims, sizes, strict=True))
    return fits and tensor.numpy().dtype == dtype
