from __future__ import annotations

import subprocess
import sys

import pytest

from lipsync_core.extras import needs_extra
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("program", "absent", "extra"), [("client.web", "uvicorn", "web"), ("export", "onnx", "export,torch")]
)
def test_command_fails_in_one_line_without_its_extra(program: str, absent: str, extra: str) -> None:
    """It names what is missing and the extra that brings it."""
    code = f"import runpy, sys; sys.modules[{absent!r}] = None; sys.argv = ['x', '--help']"
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
