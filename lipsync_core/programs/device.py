"""Chooses the device of a program, and explains why one cannot be used: driver, memory, compiler."""

from __future__ import annotations

import locale
import os
import platform
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import torch

LOW_MEMORY_FLAVOUR = "torch_low_memory"
SOURCE_LOCALE = "C.UTF-8"
GIB = 1 << 30


def choose_device(kind: str, device_id: int = 0) -> torch.device:
    """Return the torch device for an instance's kind, CPU or GPU.

    Raises:
        ValueError: There is no such GPU, or torch cannot use it; the message says what to do.
    """
    if kind == "CPU":
        return torch.device("cpu")
    if kind != "GPU":
        raise ValueError(f"instance_group: expected KIND_CPU or KIND_GPU, got KIND_{kind}")
    if torch.version.cuda is None:
        raise ValueError(
            f"GPU: expected torch with CUDA for KIND_GPU, got {torch.__version__}, a build for CPUs."
            " Install torch with CUDA, or serve without the flavour torch"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:
        # RuntimeError without GPU or driver, other types with a broken driver
        raise ValueError(_gpu_trouble(str(error))) from error
    if device_id >= torch.cuda.device_count():
        raise ValueError(
            f"GPU: expected number {device_id}, got {torch.cuda.device_count()} in total."
            " nvidia-smi lists them; choose with `gpus` in instance_group"
        )
    return torch.device("cuda", device_id)


def card_name(device: torch.device) -> str:
    """Name the processor that code is compiled for."""
    if device.type == "cpu":
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)}, {major}.{minor}, CUDA {torch.version.cuda}"


def find_compiler(mode: str) -> None:
    """Check that torch.compile finds a C++ compiler, and set the locale that its sources need.

    Raises:
        ValueError: There is no C++ compiler, or no such locale.
    """
    if mode == "eager":
        return
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"compile: expected a C++ compiler for {mode!r}, got no {compiler}."
            " Install one (apt-get install g++), or set compile to eager in configs/torch.pbtxt"
        )
    try:
        locale.setlocale(locale.LC_CTYPE, SOURCE_LOCALE)  # Triton's Python backend sets none
    except locale.Error as error:
        raise ValueError(
            f"compile: expected the locale {SOURCE_LOCALE}, got none. Use an image that has it,"
            " or set compile to eager in configs/torch.pbtxt"
        ) from error


@contextmanager
def clear_memory_errors(device: torch.device) -> Generator[None, None, None]:
    """Report exhausted GPU memory in one line.

    Raises:
        MemoryError: Instead of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info(device)
        raise MemoryError(
            f"GPU memory: expected room for more, got {free / GIB:.1f} of {total / GIB:.1f} GiB free."
            f" Serve the flavour {LOW_MEMORY_FLAVOUR}, or stop what else uses the GPU (see nvidia-smi)"
        ) from error


def _gpu_trouble(error: str) -> str:
    if "driver" in error and "too old" in error:
        return (
            f"GPU: expected a driver for CUDA {torch.version.cuda}, which torch {torch.__version__} is built with,"
            " got an older one. Update the driver (nvidia-smi shows it), or install a torch built for it"
        )
    return (
        f"GPU: expected one that torch {torch.__version__} can use, got: {' '.join(error.split())[:200]}."
        " Check with nvidia-smi, start containers with GPUs, or serve without the flavour torch"
    )
