"""Where a program runs, and what is wrong where it cannot: no GPU, an old driver, too little memory, no compiler."""

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
    """Turn an instance's kind, CPU or GPU, into a device that torch can use.

    Raises:
        ValueError: there is no such GPU, or torch cannot use it; the message says what to run.
    """
    if kind == "CPU":
        return torch.device("cpu")
    if kind != "GPU":
        raise ValueError(f"instance_group: expected KIND_CPU or KIND_GPU, got KIND_{kind}")
    if torch.version.cuda is None:
        raise ValueError(
            f"GPU: expected torch with CUDA for KIND_GPU, got {torch.__version__}, a build for CPUs."
            " Install torch with CUDA, or serve without --model-config-name torch"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:
        # RuntimeError for no GPU or driver, others for what a broken driver does
        raise ValueError(_gpu_trouble(str(error))) from error
    if device_id >= torch.cuda.device_count():
        raise ValueError(
            f"GPU: expected number {device_id}, got {torch.cuda.device_count()} in all."
            " nvidia-smi lists them; choose with `gpus` in instance_group"
        )
    return torch.device("cuda", device_id)


def card_name(device: torch.device) -> str:
    """Name the processor that compiled code belongs to."""
    if device.type == "cpu":
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)}, {major}.{minor}, CUDA {torch.version.cuda}"


def find_compiler(mode: str) -> None:
    """Check that torch.compile finds what it builds with, and give it the locale that its sources are written in.

    Raises:
        ValueError: there is no C++ compiler, or no such locale.
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
        locale.setlocale(locale.LC_CTYPE, SOURCE_LOCALE)  # Triton's stubs have none
    except locale.Error as error:
        raise ValueError(
            f"compile: expected the locale {SOURCE_LOCALE}, got none. Use an image that has it,"
            " or set compile to eager in configs/torch.pbtxt"
        ) from error


@contextmanager
def clear_memory_errors(device: torch.device) -> Generator[None, None, None]:
    """Say in one line when a GPU's memory does not suffice.

    Raises:
        MemoryError: in place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info(device)
        raise MemoryError(
            f"GPU memory: expected room for more, got {free / GIB:.1f} of {total / GIB:.1f} GiB free."
            f" Serve with --model-config-name {LOW_MEMORY_FLAVOUR}, or end what else uses the card (see nvidia-smi)"
        ) from error


def _gpu_trouble(error: str) -> str:
    if "driver" in error and "too old" in error:
        return (
            f"GPU: expected a driver for CUDA {torch.version.cuda}, which torch {torch.__version__} is built with,"
            " got an older one. Update the driver (nvidia-smi shows it), or install a torch built for it"
        )
    return (
        f"GPU: expected one that torch {torch.__version__} can use, got: {' '.join(error.split())[:200]}."
        " Check with nvidia-smi, start containers with --gpus all, or serve without --model-config-name torch"
    )
