"""Reads and writes exported programs, with the names of their inputs and outputs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from lipsync_core.network_files import NETWORK_FILES

PROGRAM_FILE = NETWORK_FILES["torch"]
NAMES_FILE = "tensors.json"  # inside the program's file
METADATA_CHECK = torch.ops.aten._assert_tensor_metadata.default


@dataclass(frozen=True)
class Program:
    """A network on its device; takes its inputs in order and returns its outputs in order."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def save_program(program: Any, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write an exported program, with the names of its inputs and outputs in order."""
    names = {"inputs": list(inputs), "outputs": list(outputs), "torch": torch.__version__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        torch.export.save(program, path, extra_files={NAMES_FILE: json.dumps(names)})


def load_program(path: Path, device: torch.device) -> Program:
    """Load a program onto a device, in float32.

    Raises:
        ValueError: The file is missing, or not a program that this version of torch can read.
    """
    extra = {NAMES_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(path, extra_files=extra)
            if device.type != "cpu":
                exported = move_to_device_pass(exported, device)
        names = json.loads(extra[NAMES_FILE])
        module = exported.module(check_guards=False)
    except Exception as error:
        # torch raises many types for truncated files and other versions
        raise ValueError(
            f"{path}: expected a program for torch {torch.__version__}, got {type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}"
        ) from error
    _drop_checks(module)
    return Program(module, tuple(names["inputs"]), tuple(names["outputs"]))


def _drop_checks(module: Any) -> None:
    """Remove the trace's checks of dtypes, which differ in half precision, and of sizes.

    torch assumes at least two rows on free axes, but these networks do not depend on it: the export compares a batch
    of one too, and Triton checks the rest against config.pbtxt.
    """
    module._forward_pre_hooks.clear()
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is METADATA_CHECK:
            module.graph.erase_node(node)
    module.recompile()
