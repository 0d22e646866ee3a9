"""Converts between torch and Triton tensors on the CPU and on GPUs, for Python models and backends that use torch.

Imports triton_python_backend_utils, which exists only inside Triton's Python backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton_python_backend_utils as pb_utils

from lipsync_core.triton.step import TritonStep


def from_triton(tensor: Any) -> torch.Tensor:
    """View one of Triton's tensors, [...], as a torch tensor on the same device, without a copy."""
    if tensor.is_cpu():
        return torch.from_numpy(tensor.as_numpy())
    return torch.utils.dlpack.from_dlpack(tensor.to_dlpack())


def to_triton(name: str, tensor: torch.Tensor) -> Any:
    """Pass a tensor, [...], to Triton on its own device.

    On a GPU its computation must have finished: readers use other streams.
    """
    if tensor.device.type == "cpu":
        return pb_utils.Tensor(name, tensor.contiguous().numpy())
    return pb_utils.Tensor.from_dlpack(name, tensor.contiguous())


class TorchStep(TritonStep):
    """A Python model that calls networks with torch tensors; these stay on the GPU if the networks run there."""

    def infer_tensors(
        self, model: str, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str] = ()
    ) -> dict[str, torch.Tensor]:
        """Call another model with torch tensors and wait for its outputs; see `TritonStep.infer`.

        Args:
            model: The model's name.
            inputs: Tensors [...] by input name.
            outputs: Names of the requested outputs; all if empty.

        Returns:
            Tensors [...] by output name, on the device where that model left them.

        Raises:
            CallFailed: The model returned an error.
        """
        for tensor in inputs.values():
            if tensor.device.type == "cuda":
                torch.cuda.current_stream(tensor.device).synchronize()
        found = self.call(model, [to_triton(name, tensor) for name, tensor in inputs.items()], outputs)
        return {tensor.name(): from_triton(tensor) for tensor in found}
