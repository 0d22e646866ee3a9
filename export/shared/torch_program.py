"""Exports torch modules to programs (model.pt2) with torch.export, and compares both."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.shared.comparison import difference_unit, largest_difference, run_module
from export.shared.files import READABLE_BY_ALL, describe_file
from export.shared.network import ServedModel
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.programs.program import PROGRAM_FILE, Program, load_program, save_program

# Largest accepted difference from the module, as a fraction of the output's root mean square or of the labels: the
# operators and their order are the same
BOUND = 1e-5


def write_program(repository: Path, model: ServedModel, module: nn.Module) -> str:
    """Export a model's module, and write it to where Triton looks for it, if it agrees with torch and config.pbtxt.

    Args:
        repository: Model repository.
        model: Names, free axes and example inputs.
        module: Computes the model, in float32; the served precision is a parameter of configs/torch.pbtxt.

    Returns:
        Lines with the file's size and SHA-256, and with the difference from torch.

    Raises:
        ValueError: The program differs from the module, or from config.pbtxt.
    """
    folder = repository / model.name / VERSION_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        path = Path(unfinished) / PROGRAM_FILE
        save_program(to_program(model, module), path, tuple(model.trial(2)), model.outputs)
        contract, program = read_contract(repository / model.name), load_program(path, torch.device("cpu"))
        unit = difference_unit(contract)
        difference = max(_compare_program(program, contract, model, module, rows) for rows in (1, 3))
        if not difference <= BOUND:  # NaN included
            raise ValueError(f"{model.name}: expected the program within {BOUND:g} {unit}, got {difference:.2g}")
        path.chmod(READABLE_BY_ALL)
        os.replace(path, folder / PROGRAM_FILE)
    return (
        f"{describe_file(folder / PROGRAM_FILE)}\n  for torch {torch.__version__}, largest difference from torch"
        f" {difference:.2g} {unit}, bound {BOUND:g}"
    )


def to_program(model: ServedModel, module: nn.Module) -> Any:
    """Trace a model's module with torch.export, its free axes free."""
    inputs = model.trial(2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own code
        # torch finds the limits of free axes itself; the comparison shows whether they are free
        shapes = tuple(dict.fromkeys(model.free_axes[name], torch.export.Dim.AUTO) for name in inputs)
        return torch.export.export(module.eval(), tuple(inputs.values()), dynamic_shapes=shapes, strict=False)


def _compare_program(
    program: Program, contract: ModelContract, model: ServedModel, module: nn.Module, rows: int
) -> float:
    """Run a program as it was written and its module on the same inputs.

    Returns:
        Largest difference, as a fraction of the output's root mean square.

    Raises:
        ValueError: The program's tensors are not those of config.pbtxt.
    """
    inputs = model.trial(rows)
    found = run_module(program.module, inputs)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    _check_contract(contract, arrays, dict(zip(program.outputs, found, strict=True)))
    return largest_difference(found, run_module(module, inputs))


def _check_contract(contract: ModelContract, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    for side, arrays, specs in (("input", inputs, contract.inputs), ("output", outputs, contract.outputs)):
        expected = {spec.name: (spec.dtype, spec.dims) for spec in specs}
        agree = arrays.keys() == expected.keys() and all(
            _agrees(array, *expected[name]) for name, array in arrays.items()
        )
        if not agree:
            ours = {name: (str(array.dtype), list(array.shape[1:])) for name, array in arrays.items()}
            theirs = {name: (str(dtype), list(dims)) for name, (dtype, dims) in expected.items()}
            raise ValueError(f"{contract.name}: expected the {side}s of config.pbtxt, {theirs}, got {ours}")


def _agrees(array: np.ndarray, dtype: np.dtype, dims: tuple[int, ...]) -> bool:
    sizes = array.shape[1:]
    fits = len(sizes) == len(dims) and all(dim in (-1, size) for dim, size in zip(dims, sizes, strict=True))
    return fits and array.dtype == dtype
