from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.lipsync import main
from lipsync_core.extras import needs_extra
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("program", "absent", "extra"),
    [
        ("client.web --help", "uvicorn", "web"),
        ("export --help", "onnx", "export,torch"),
        ("perf sweep --help", "onnx", "export,perf"),
        ("perf benchmark --help", "psutil", "export,perf"),
        ("perf report x", "matplotlib", "export,perf"),
        ("client.demo", "skimage", "perf"),
    ],
)
def test_command_fails_in_one_line_without_its_extra(program: str, absent: str, extra: str) -> None:
    """It names what is missing and the extra that brings it."""
    program, *arguments = program.split()
    code = f"import runpy, sys; sys.modules[{absent!r}] = None; sys.argv = ['x', *{arguments}]"
    code += f"; runpy.run_module({program!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{absent}: expected this package, got none. Install it with: pip install 'lipsync-triton[{extra}]'"
    ]


def test_missing_module_of_ours_fails_as_what_it_is() -> None:
    """No extra brings it, so none is advised."""
    with pytest.raises(ModuleNotFoundError), needs_extra("web"):
        raise ModuleNotFoundError("No module named 'client.gone'", name="client.gone")


# Not a model repository, as of a client that was installed without a checkout
WITHOUT_REPOSITORY = {
    "models": "lipsync: --model-repository: expected a model repository, got none in {folder}. It is the folder",
    "serve": "lipsync: --model-repository: expected a model repository, got none in {folder}. It is the folder",
    "web": "lipsync web: --model-repository: expected a model repository, got none in {folder}. It is the folder",
}


@pytest.mark.parametrize("command", WITHOUT_REPOSITORY)
def test_command_fails_in_one_line_without_a_model_repository(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where one is, not to run a make target that is not there either."""
    if command == "web":
        pytest.importorskip("uvicorn", reason="needs the extra `web`")
    assert main([command, "--model-repository", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(WITHOUT_REPOSITORY[command].format(folder=tmp_path))
    assert line.endswith("of a checkout of this project: run there, or give that folder\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "version", "wanted"),
    [
        ("setup", (3, 10), "3.11 or 3.12"),
        ("setup", (3, 13), "3.11 or 3.12"),
        ("lock", (3, 13), "3.11 or 3.12"),
        ("test-client", (3, 10), "3.11 or later"),
    ],
)
def test_make_checks_python_first(target: str, version: tuple[int, int], wanted: str, tmp_path: Path) -> None:
    """Before a virtual environment is made or anything is downloaded."""
    python = tmp_path / "python"
    program = f"""import sys\nsys.version_info = ({version[0]}, {version[1]}, 0, "final", 0)\nexec(sys.argv[2])\n"""
    (tmp_path / "as.py").write_text(program)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "as.py"} "$@"\n')
    python.chmod(0o755)
    command = ["make", "--no-print-directory", target, f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = f"make: expected Python {wanted}, got {version[0]}.{version[1]}. Name another: make {target} PYTHON="
    assert done.stderr.splitlines()[0].startswith(expected)
    assert done.stdout == ""
    assert not (tmp_path / "venv").exists()
