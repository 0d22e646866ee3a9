"""torch tensors in and out of Triton, on the CPU and on GPUs alike; for Python models and backends that use torch.

Imports triton_python_backend_utils, which exists inside Triton's Python stub alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton_python_backend_utils as pb_utils

from lipsync_core.triton.step import TritonStep


def from_triton(tensor: Any) -> torch.Tensor:
    """View one of Triton's tensors where it lies."""
    if tensor.is_cpu():
        return torch.from_numpy(tensor.as_numpy())
    return torch.utils.dlpack.from_dlpack(tensor.to_dlpack())


def to_triton(name: str, tensor: torch.Tensor) -> Any:
    """Hand a tensor to Triton where it lies; on a GPU it must be complete, as readers use streams of their own."""
    if tensor.device.type == "cpu":
        return pb_utils.Tensor(name, tensor.contiguous().numpy())
    return pb_utils.Tensor.from_dlpack(name, tensor.contiguous())


class TorchStep(TritonStep):
    """A Python model that calls networks with torch tensors, which stay on the GPU where the networks are there."""

    def infer_tensors(
        self, model: str, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str] = ()
    ) -> dict[str, torch.Tensor]:
        """Call another model, as `infer` does, with torch tensors; results lie where that model left them.

        Raises:
            CallFailed: the model answered with an error.
        """
        for tensor in inputs.values():
            if tensor.device.type == "cuda":
                torch.cuda.current_stream(tensor.device).synchronize()
        found = self.call(model, [to_triton(name, tensor) for name, tensor in inputs.items()], outputs)
        return {tensor.name(): from_triton(tensor) for tensor in found}
