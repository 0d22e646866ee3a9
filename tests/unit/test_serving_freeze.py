from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from lipsync_core.serving import freeze
from lipsync_core.serving.freeze import FreezeWatch
from lipsync_core.serving.processes import descendants
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as process:
        wait_until(lambda: len(descendants(process.pid)) == 2)
        yield process
        for pid in reversed(descendants(process.pid)):
            os.kill(pid, signal.SIGKILL)


def test_freeze_is_noticed(server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a single process, once it is longer than Triton waits."""
    monkeypatch.setattr(freeze, "FROZEN_S", 0.3)
    watch = FreezeWatch(server.pid)
    os.kill(descendants(server.pid)[1], signal.SIGSTOP)
    assert not watch.look()
    started = time.monotonic()
    wait_until(watch.look)
    assert time.monotonic() - started > 0.3


def test_pause_of_the_watcher_itself_is_noticed(
    server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all stood still nobody could look, and the time between two looks tells."""
    monkeypatch.setattr(freeze, "PAUSED_S", 0.2)
    watch = FreezeWatch(server.pid)
    assert not watch.look()
    time.sleep(0.3)
    assert watch.look()
