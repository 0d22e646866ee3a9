"""The client's side of a stream, on a channel that answers nothing but the opening."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from client.errors import RequestRejected, ServerLost
from client.live import stream
from client.live.messages import plain_event
from client.live.stream import MAX_AHEAD_S, LiveSession
from tests.waiting import wait_until

RATE = 16_000
FACTS = {
    "width": 64, "height": 48, "video_fps": 25.0, "rate": RATE, "look_ahead_s": 0.25, "is_marked": False,
    "is_signed": False,
}  # fmt: skip


class Channel:
    """Opens streams.

    Attributes:
        asked: actions, in order.
    """

    _stream = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def start_stream(self, callback: Callable[..., None], headers: object) -> None:
        self._callback = callback

    def async_stream_infer(self, model: str, inputs: list[Any], request_id: str) -> None:
        self.asked.append(request_id)
        if request_id == "open":
            self._callback(SimpleNamespace(as_numpy=plain_event("opened", **FACTS).tensors().get), None)

    def end(self, error: str) -> None:
        """Let the stream end with an error."""
        event = plain_event("ended", pictures=0, error=error)
        self._callback(SimpleNamespace(as_numpy=event.tensors().get), None)

    def fail(self, message: str) -> None:
        """Let the model answer with an error."""
        self._callback(None, InferenceServerException(message))

    def stop_stream(self, cancel_requests: bool) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Channel:
    """The channel of all streams."""
    made = Channel()
    monkeypatch.setattr(stream, "open_channel", lambda *_: made)
    return made


@pytest.fixture
def live(channel: Channel) -> Iterator[LiveSession]:
    """An open stream."""
    with LiveSession("127.0.0.1:1", "ann") as session:
        yield session


def test_an_interruption_drops_the_voice_that_waits_for_room(channel: Channel, live: LiveSession) -> None:
    """It was given before, and must not be said after it."""
    live.send(np.zeros(round((MAX_AHEAD_S + 1) * RATE), np.float32))
    sender = threading.Thread(target=live.send, args=(np.ones(RATE, np.float32),))
    sender.start()
    wait_until(lambda: live._changed._waiters)  # type: ignore[attr-defined]
    live.interrupt()
    sender.join(5)
    assert not sender.is_alive()
    assert channel.asked == ["open", "voice", "interrupt"]


def test_a_server_that_stops_fails_in_one_line(channel: Channel, live: LiveSession) -> None:
    """It unloads the model first, and the stream is over; other errors of the model leave it open."""
    channel.fail("voice: expected at least one sample, got none")
    with pytest.raises(RequestRejected, match="at least one sample"):
        live.next_picture()
    channel.fail("Request for unknown model: 'live' has no available versions")
    with pytest.raises(ServerLost, match="expected a running Triton, got one that is stopping"):
        live.next_picture()
    assert live.next_picture() is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("mouth_motion: Server is stopping, scheduler for model has stopped accepting new requests", ServerLost),
        ("session: expected a message within 30 s, got none. Open another one", RequestRejected),
    ],
)
def test_a_stream_that_ends_early_fails_with_its_reason(
    channel: Channel, live: LiveSession, error: str, kind: type[Exception]
) -> None:
    """A server that stops is told from a stream that was refused."""
    channel.end(error)
    with pytest.raises(kind):
        live.next_picture()
    assert live.next_picture() is None
