"""Programs as files: what torch.export made of a network, with the names of what it takes and gives."""

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

from lipsync_core.repository import NETWORK_FILES

PROGRAM_FILE = NETWORK_FILES["torch"]
NAMES_FILE = "tensors.json"  # inside of the program's file
METADATA_CHECK = torch.ops.aten._assert_tensor_metadata.default


@dataclass(frozen=True)
class Program:
    """A network on its device; called with its inputs in order, it returns its outputs in order."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def save_program(program: Any, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write an exported program, with the names of its tensors in order."""
    names = {"inputs": list(inputs), "outputs": list(outputs), "torch": torch.__version__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.export.save(program, path, extra_files={NAMES_FILE: json.dumps(names)})


def load_program(path: Path, device: torch.device) -> Program:
    """Read a program onto a device, its tensors in float32.

    Raises:
        ValueError: no such file, or not a program that this torch reads; say what writes it.
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
        # torch raises nearly anything for files that are cut off or another version's
        raise ValueError(
            f"{path}: expected a program for torch {torch.__version__}, got {type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}"
        ) from error
    _drop_checks(module)
    return Program(module, tuple(names["inputs"]), tuple(names["outputs"]))


def _drop_checks(module: Any) -> None:
    """Remove the trace's checks: of dtypes, which are others in half precision, and of sizes.

    torch assumes that free axes have two rows or more, on which these networks do not depend; the export compares
    a batch of one too, and Triton checks the rest against config.pbtxt.
    """
    module._forward_pre_hooks.clear()
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is METADATA_CHECK:
            module.graph.erase_node(node)
    module.recompile()
