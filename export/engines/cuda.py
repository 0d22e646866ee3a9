"""GPU memory and a stream, through the C functions of CUDA's runtime library. Does not need torch.

Source: CUDA Runtime API, https://docs.nvidia.com/cuda/cuda-runtime-api/.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LIBRARY = "libcudart.so"
WHEEL_LIBRARIES = f"nvidia/*/lib/{LIBRARY}*"  # where NVIDIA's wheels for pip have it
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind


class CudaMemory:
    """Device memory and one stream, freed at the end of the context.

    Attributes:
        stream: The stream's handle.
    """

    stream: int

    def __init__(self, library: str | None = None) -> None:
        """Load the runtime library: this file, or the one that is installed.

        Raises:
            ValueError: There is none.
        """
        self._cuda = ctypes.CDLL(library) if library else _find_library()
        self._cuda.cudaGetErrorString.restype = ctypes.c_char_p
        self._blocks: list[ctypes.c_void_p] = []

    def __enter__(self) -> CudaMemory:
        """Make the stream.

        Raises:
            ValueError: CUDA cannot use the GPU.
        """
        handle = ctypes.c_void_p()
        self._check(self._cuda.cudaStreamCreate(ctypes.byref(handle)))
        self.stream = handle.value or 0
        return self

    def __exit__(self, *_: object) -> None:
        """Free everything; errors are of no interest any more."""
        for block in self._blocks:
            self._cuda.cudaFree(block)
        self._blocks.clear()
        self._cuda.cudaStreamDestroy(ctypes.c_void_p(self.stream))

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes on the device.

        Raises:
            ValueError: There is no room.
        """
        block = ctypes.c_void_p()
        self._check(self._cuda.cudaMalloc(ctypes.byref(block), ctypes.c_size_t(size)))
        self._blocks.append(block)
        return block.value or 0

    def upload(self, array: np.ndarray) -> int:
        """Copy an array to the device; returns its address there."""
        array = np.ascontiguousarray(array)
        address = self.allocate(array.nbytes)
        self._copy(address, array.ctypes.data, array.nbytes, TO_DEVICE)
        return address

    def download(self, address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Copy an array from the device."""
        array = np.empty(shape, dtype)
        self._copy(array.ctypes.data, address, array.nbytes, TO_HOST)
        return array

    def synchronize(self) -> None:
        """Wait for the stream's work.

        Raises:
            ValueError: It failed.
        """
        self._check(self._cuda.cudaStreamSynchronize(ctypes.c_void_p(self.stream)))

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        copied = self._cuda.cudaMemcpy(
            ctypes.c_void_p(target), ctypes.c_void_p(source), ctypes.c_size_t(size), ctypes.c_int(kind)
        )
        self._check(copied)

    def _check(self, code: int) -> None:
        if code:
            text = self._cuda.cudaGetErrorString(code).decode(errors="replace")
            raise ValueError(f"GPU: expected CUDA to go on, got error {code}: {text}. Check with nvidia-smi")


def _find_library() -> ctypes.CDLL:
    for name in _library_names():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ValueError(
        f"CUDA: expected its runtime library {LIBRARY}, got none. Run this in NVIDIA's TensorRT container, or install"
        " the CUDA toolkit"
    )


def _library_names() -> Iterator[str]:
    """List what the loader may find, and what NVIDIA's wheels install."""
    yield LIBRARY
    found = ctypes.util.find_library("cudart")
    if found:
        yield found
    for folder in filter(None, sys.path):
        yield from map(str, sorted(Path(folder).glob(WHEEL_LIBRARIES)))
