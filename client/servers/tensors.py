"""Turns a request's arrays into Triton's tensors: in the message, or large ones in a region of shared memory."""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import np_to_triton_dtype

from client.servers.calls import InferRequest, LargeOutput, is_text
from client.servers.shared_memory import Region, align

LARGE_TENSOR_BYTES = 64 * 1024  # smaller ones always travel in the message


def shared_nbytes(request: InferRequest) -> int:
    """Return how much shared memory a request's large tensors need, in bytes."""
    inputs = [array.nbytes for array in request.inputs.values() if _is_shareable(array)]
    outputs = [output.nbytes for output in request.large_outputs.values() if output.nbytes >= LARGE_TENSOR_BYTES]
    return sum(align(nbytes) for nbytes in inputs + outputs)


class Packer:
    """Describes the tensors of one request, the large ones one after the other in a region.

    Attributes:
        views: Arrays over the region by output name. Clear them before the region is given back.
    """

    def __init__(self, region: Region | None) -> None:
        """Use this region, of at least `shared_nbytes`; None to send everything in the message."""
        self._region = region
        self._offset = 0
        self.views: dict[str, np.ndarray] = {}

    def input(self, name: str, array: np.ndarray) -> triton_grpc.InferInput:
        """Describe an input, and copy a large one into the region."""
        tensor = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        if self._region is None or not _is_shareable(array):
            tensor.set_data_from_numpy(np.ascontiguousarray(array))
            return tensor
        self._region.view(self._offset, array.dtype, array.shape)[...] = array
        tensor.set_shared_memory(self._region.name, array.nbytes, self._offset)
        self._offset += align(array.nbytes)
        return tensor

    def output(self, name: str, large: LargeOutput | None) -> triton_grpc.InferRequestedOutput:
        """Describe an output, and reserve a part of the region for a large one."""
        output = triton_grpc.InferRequestedOutput(name)
        if self._region is None or large is None or large.nbytes < LARGE_TENSOR_BYTES:
            return output
        output.set_shared_memory(self._region.name, large.nbytes, self._offset)
        self.views[name] = self._region.view(self._offset, large.dtype, large.shape)
        self._offset += align(large.nbytes)
        return output


def _is_shareable(array: np.ndarray) -> bool:
    """Say whether an input travels through shared memory; texts do not, as Triton expects them serialized."""
    return array.nbytes >= LARGE_TENSOR_BYTES and not is_text(array)
