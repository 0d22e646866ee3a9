from __future__ import annotations

import signal
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
