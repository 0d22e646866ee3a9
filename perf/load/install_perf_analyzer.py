"""Downloads perf_analyzer and the CUDA runtime that it is linked with, from hash-pinned wheels, into build/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.shared.files import write_whole
from export.shared.wheel import PinnedWheel, check_wheel, fetch_wheel, read_members
from perf.load.perf_analyzer import BINARY, CUDA_LIBRARY, FOLDER, LIBRARY_FOLDER

# The last wheel whose binary runs on glibc 2.36 (Debian 12); PyPI's package perf-analyzer needs 2.38.
TRITON_CLIENT = PinnedWheel(
    requirement="tritonclient==2.50.0",
    file_name="tritonclient-2.50.0-py3-none-manylinux1_x86_64.whl",
    sha256="421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889",
    python_version="3.11",
    platform="manylinux1_x86_64",
)
CUDA_RUNTIME = PinnedWheel(
    requirement="nvidia-cuda-runtime-cu12==12.9.79",
    file_name="nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256="25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3",
    python_version="3.11",
    platform="manylinux2014_x86_64",
)


@dataclass(frozen=True)
class PinnedFile:
    """A file in a wheel, with the hash of its content, and where to write it."""

    wheel: PinnedWheel
    member: str
    sha256: str
    target: Path


FILES = (
    PinnedFile(
        TRITON_CLIENT,
        "tritonclient-2.50.0.data/data/bin/perf_analyzer",
        "ae8cbf583a990235c617a50b380a7cd41e790ba8d414f382a8349e2ffbaae7fa",
        FOLDER / BINARY,
    ),
    PinnedFile(
        CUDA_RUNTIME,
        "nvidia/cuda_runtime/lib/libcudart.so.12",
        "256e6409e4f06f618e1fb53d4844a6b81cdded1013afa8ade40c22f99eb133b7",
        LIBRARY_FOLDER / CUDA_LIBRARY,
    ),
)
EXECUTABLE = 0o755


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files under build/ and print their paths.

    Raises:
        ValueError: a wheel cannot be downloaded, or is not the pinned one.
    """
    parser = argparse.ArgumentParser(prog="python -m perf install-perf-analyzer", description=__doc__)
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="folder with the two wheels; nothing is downloaded")
    options = parser.parse_args(argv)
    for file in FILES:
        path = options.wheels / file.wheel.file_name if options.wheels else fetch_wheel(file.wheel)
        check_wheel(path, file.wheel)
        write_whole(file.target, read_members(path, {file.member: file.sha256})[file.member])
        file.target.chmod(EXECUTABLE)
        print(f"{file.target}: from {file.wheel.file_name}")
    print("perf_analyzer: BSD-3-Clause, NVIDIA. On Debian and Ubuntu it also needs: apt-get install libb64-0d")
    return 0


if __name__ == "__main__":
    sys.exit(main())
