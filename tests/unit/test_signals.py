from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from client.process import EndedBySignal, end_on_signals


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give this process its own handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_leave_by_an_exception() -> None:
    """Contexts are closed on the way out, and shells see the signal in the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_on_signals()
    with pytest.raises(EndedBySignal) as ending:
        signal.raise_signal(signal.SIGHUP)
    assert ending.value.code == 128 + signal.SIGHUP


def test_ignored_hang_up_stays_ignored() -> None:
    """What was started by nohup outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_on_signals()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_jobs_end_by_signals_when_memory_is_short() -> None:
    """OpenBLAS would ask for its work area for ever, and no signal would get through, if it came for it this late."""
    program = (
        "import resource, signal\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from client.system import reserve_matrix_memory\n"
        "reserve_matrix_memory()\n"
        "size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + 4_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        "signal.alarm(10)\n"
        "for dtype in (np.float32, np.float64): np.ones((468, 2), dtype) @ np.ones((2, 2), dtype)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
