"""Tokens leave the arguments of a server as soon as it has read them, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.cli.shown_tokens import token_warnings
from lipsync_core.serving import supervisor
from lipsync_core.serving.access import RESTRICT_GRPC

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LOADER_LINE = b"ERROR: ld.so: object '/nonexistent/x.so' from LD_PRELOAD cannot be preloaded: ignored.\n"
TRITON_LINE = b'I1129 14:02:18.406978 8918 cuda_memory_manager.cc:117] "CUDA memory pool disabled"\n'


def test_tokens_that_stay_are_warned_of() -> None:
    """One line says what to use instead while a started server's arguments hold a token that is not overwritten."""
    assert token_warnings(0) == []
    for token, expected in (("Bearer a-token-of-some-length", 1), ("*" * 20, 0)):
        command = [sys.executable, "-c", "print(flush=True); input()", f"{RESTRICT_GRPC}inference:a-key={token}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the kernel shows no arguments at first
            warnings = token_warnings(0)
            process.communicate(b"\n")
        assert len(warnings) == expected
        assert all("--tls-client-ca" in line for line in warnings)


def test_tokens_stay_until_triton_itself_has_spoken(tmp_path: Path) -> None:
    """The loader of libraries writes to the same log before the server reads its arguments."""
    log = tmp_path / "triton.log"
    argument = f"{RESTRICT_GRPC}inference:a-key=Bearer a-token-of-some-length"
    command = [sys.executable, "-c", "print(flush=True); input()", argument]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the kernel shows no arguments at first
        arguments = Path(f"/proc/{process.pid}/cmdline")
        for content, hidden in ((b"", False), (LOADER_LINE, False), (LOADER_LINE + TRITON_LINE, True)):
            log.write_bytes(content)
            assert supervisor._hide_tokens(process.pid, log) == hidden
            assert (b"a-token" not in arguments.read_bytes()) == hidden
        assert arguments.read_bytes().split(b"\0")[-2].startswith(f"{RESTRICT_GRPC}inference:a-key=***".encode())
        process.communicate(b"\n")
