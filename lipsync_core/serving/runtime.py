"""Finds the tritonserver in the nvidia-pytriton wheel and prepares what it needs to start."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lipsync_core.extras import install_advice

BACKENDS_DIR = Path(__file__).parent / "backends"  # our Python-based backends, one folder each
SYSTEM, MACHINE = "linux", "x86_64"  # what the wheel is built for
PYTHONS = ((3, 11), (3, 12))  # what its numpy is built for, of those that this project runs on
INSTALL_HINT = install_advice("server")


class ServerStartError(RuntimeError):
    """The server cannot start; the message says what to do."""


class NoServerHere(ServerStartError):
    """No server is installed, or none can be on this machine; one on another machine can still be used."""


@dataclass(frozen=True)
class TritonRuntime:
    """Where the wheel keeps the server, its libraries, its backends and this interpreter's Python stub."""

    executable: Path
    library_dirs: tuple[Path, ...]
    python_backend_dir: Path
    python_stub: Path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment for the server: libraries found, stubs in this interpreter's environment."""
        libraries = [str(path) for path in self.library_dirs]
        if base.get("LD_LIBRARY_PATH"):
            libraries.append(base["LD_LIBRARY_PATH"])
        interpreter_dir = str(Path(sys.executable).parent)
        return {
            **base,
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PATH": os.pathsep.join([interpreter_dir, base.get("PATH", os.defpath)]),
            # Each stub serves one request at a time; more threads than instances only fight over the cores.
            "OMP_NUM_THREADS": base.get("OMP_NUM_THREADS", "1"),
            "OPENBLAS_NUM_THREADS": base.get("OPENBLAS_NUM_THREADS", "1"),
            # ONNX Runtime would report its use to Microsoft, and leave a file of that in the temporary folder.
            "ORT_DISABLE_TELEMETRY": base.get("ORT_DISABLE_TELEMETRY", "1"),
        }

    def lay_out_backends(self, folder: Path) -> Path:
        """Collect the Python backend and this project's backends in one folder, as tritonserver expects them.

        The Python backend is copied: tritonserver refuses a library that a link takes out of its folder.
        """
        python_dir = folder / "python"
        python_dir.mkdir(parents=True)
        for path in (*self.python_backend_dir.glob("*.so"), *self.python_backend_dir.glob("*.py")):
            shutil.copy2(path, python_dir)
        shutil.copy2(self.python_stub, python_dir)
        for path in BACKENDS_DIR.iterdir():
            if (path / "model.py").is_file():
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        return folder


def find_runtime() -> TritonRuntime:
    """Locate the server in the installed nvidia-pytriton wheel.

    Raises:
        ServerStartError: the wheel cannot be had on this system or Python, or the wheel, this Python's stub, or the
            shared libpython is missing.
    """
    _check_platform()
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise NoServerHere(f"tritonserver: expected the nvidia-pytriton wheel, got none. {INSTALL_HINT}")
    root = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    executable = root / "bin" / "tritonserver"
    for path in (executable, stub):
        if not path.is_file():
            raise NoServerHere(f"tritonserver: expected {path}, got no such file. {INSTALL_HINT}")
    libraries = root.parent.parent / "nvidia_pytriton.libs"
    return TritonRuntime(executable, (libraries, _libpython_dir()), root / "backends" / "python", stub)


def _check_platform() -> None:
    """Check that the wheel exists for this system and this Python."""
    python = sys.version_info[:2]
    if sys.platform != SYSTEM or platform.machine() != MACHINE or python not in PYTHONS:
        names = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        raise NoServerHere(
            f"embedded server: expected Linux on x86-64 with Python {names},"
            f" got {sys.platform} on {platform.machine()} with Python {python[0]}.{python[1]}"
        )


def _libpython_dir() -> Path:
    """Return the folder of the shared libpython that the wheel's Python stub is linked against."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    candidates = [
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix) / "lib",
        Path(sys.base_prefix) / "lib64",
    ]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    candidates += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}", "/usr/lib64", "/usr/local/lib"]
    for folder in filter(None, candidates):
        if (Path(folder) / name).is_file():
            return Path(folder)
    if ctypes.util.find_library(name.removeprefix("lib").split(".so", maxsplit=1)[0]):
        return Path("/usr/lib")
    package = name.split(".so", maxsplit=1)[0]
    raise ServerStartError(
        f"tritonserver: expected the shared library {name}, got none. On Debian or Ubuntu: apt-get install {package}"
    )
