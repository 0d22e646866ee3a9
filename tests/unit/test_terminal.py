from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
COMMAND = f"{sys.executable} {ROOT / 'client' / 'lipsync.py'}"
TALKER = """
import os, sys
from lipsync_core.terminal import forgive_streams, output_problem
forgive_streams()
with open("first", "w") as opened:
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    os.system("echo said by a child; echo and there >&2")
    print(NAME)
    opened.write(f"{output_problem()}")
"""


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    python = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=python, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("streams", "problem"),
    [
        ("", "None"),
        (">&- 2>&-", "None"),
        (">&- 2>&- <&-", "None"),
        (">/dev/full 2>/dev/full", "[Errno 28] No space left on device"),
        (">/dev/full 2>&-", "[Errno 28] No space left on device"),
        ("| true", "None"),
    ],
)
def test_a_program_outlives_its_terminal(tmp_path: Path, streams: str, problem: str) -> None:
    """What it prints is lost, never written into a file that it opened; nothing stops it."""
    (tmp_path / "talker.py").write_text(TALKER.replace("NAME", '"a name"'))
    ended = shell(f"{sys.executable} talker.py {streams}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "first").read_text() == problem
    if not streams:
        assert sorted(ended.stdout.splitlines()) == ["a name", "said by a child", "said on stdout"]
        assert ended.stderr == "said on stderr\nand there\n"


def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path) -> None:
    """A name that is no text, or that the terminal's encoding lacks, is printed all the same."""
    (tmp_path / "talker.py").write_text(TALKER.replace("NAME", r'"\udcff é"'))
    for encoding in ("utf-8", "ascii"):
        ended = shell(f"{sys.executable} talker.py", tmp_path, PYTHONIOENCODING=encoding, LC_ALL="C.UTF-8")
        assert ended.returncode == 0, ended.stderr
        assert r"\udcff" in ended.stdout


def test_lost_result_of_a_listing_fails_with_the_reason(tmp_path: Path) -> None:
    """A listing is all that `models` does, so losing it is an error."""
    full = shell(f"{COMMAND} models >/dev/full", tmp_path)
    assert full.returncode == 7
    assert full.stderr == "lipsync: stdout: expected room for what is printed, got No space left on device\n"


@pytest.mark.parametrize(
    ("program", "name"), [("client.lipsync", "lipsync"), ("client.web", "lipsync web"), ("export", "export")]
)
def test_ctrl_c_while_starting_is_one_line(tmp_path: Path, program: str, name: str) -> None:
    """In the middle of an import nothing has been made yet, so the program just ends."""
    if program == "client.web":
        pytest.importorskip("uvicorn", reason="needs the extra `web`")
    interrupt = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'numpy': os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.meta_path.insert(0, Finder); runpy.run_module({program!r}, run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "interrupted.py").write_text(interrupt)
    ended = shell(f"env --default-signal=INT {sys.executable} interrupted.py", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"{name}: interrupted\n")


def test_log_lines_are_json_in_any_encoding(tmp_path: Path) -> None:
    """A machine reads them whatever the terminal can show."""
    ended = shell(
        f"{COMMAND} --log-json --video é --audio a --output o.mp4", tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8"
    )
    assert ended.returncode == 3
    assert "é" in json.loads(ended.stderr.splitlines()[-1])["message"]
