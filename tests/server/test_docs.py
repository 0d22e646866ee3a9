from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.server.clips import SPEECH, head_frame, write_video

pytestmark = pytest.mark.server


def test_the_client_of_a_few_lines_runs(server: EmbeddedServer, tmp_path: Path) -> None:
    """As it stands in docs/how-it-works.md, with another address."""
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    write_video(tmp_path / "in.mp4", [head_frame(shift) for shift in range(5)])
    shutil.copy(SPEECH, tmp_path / "speech.wav")  # a file's content decides how it is read
    assert "127.0.0.1:8001" in program
    program = program.replace("127.0.0.1:8001", server.url) + "print(synced_frames.shape, synced_frames.dtype)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    height, width = head_frame().shape[:2]
    assert done.stdout == f"(5, {height}, {width}, 3) uint8\n"
