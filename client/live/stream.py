"""The client's side of a live stream: sends voice, and gives pictures with their sound as they come."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from client.errors import LipSyncError, NoAnswer, RequestRejected, ServerBusy, ServerLost, UsageError
from client.live.messages import ID_BYTES, MODEL, Event, Request, as_float, read_event
from client.live.settings import DEFAULT_RATE, Pace, SlowReader, StreamSettings
from client.media.pixels import COLOR_UNSPECIFIED, LIMITED_RANGE, ColorTags
from client.servers.addresses import Address, parse_address
from client.servers.channel import open_channel, stop_stream
from client.servers.security import IN_THE_CLEAR, Security
from client.servers.status import client_error
from client.tracing import trace_headers

TIMEOUT_S = 10.0
OPEN_TIMEOUT_S = 60.0  # a clip is decoded at its first use
CONFIRM_EVERY = 5  # pictures
MAX_AHEAD_S = 50.0  # of voice that waits on the server; it takes 60 s by default
BUSY_MARK = "streams at once"
UNLOADED_MARK = "no available versions"  # of the model, while its server stops


class StreamEnded(LipSyncError):
    """Voice was sent to a stream that has ended."""


@dataclass(frozen=True, eq=False)
class LivePicture:
    """A picture of a stream, and the voice of its time.

    Attributes:
        number: counts the pictures of the stream, those that were left out included.
        time_s: when it is shown, in seconds from the stream's beginning.
        duration_s: for how long, in seconds.
        rgb: uint8 RGB [H, W, 3]; the picture before it again where the server could not draw it in time.
        sound: float32 mono [S] at the stream's rate.
        speaks: whether the mouth follows the voice.
        is_held: whether it is the picture before it, again.
        waiting_s: voice that waits on the server to be shown, in seconds.
        left_out: pictures that were left out before it because they were not read in time.
    """

    number: int
    time_s: float
    duration_s: float
    rgb: np.ndarray
    sound: np.ndarray
    speaks: bool
    is_held: bool
    waiting_s: float
    left_out: int


@dataclass(frozen=True)
class StreamFacts:
    """What the server says of a stream when it opens.

    Attributes:
        width: width of the pictures, in pixels.
        height: height of the pictures, in pixels.
        video_fps: pictures per second; the average where the clip's rate varies.
        rate: samples per second of the voice and of the sound.
        look_ahead_s: how much of the voice after a picture must be there before it is drawn, in seconds.
        is_marked: whether changed pictures carry the imperceptible mark.
        is_signed: whether the stream carries signed credentials: it does not, as only complete files can.
        color_space: matrix of the clip's colours by ITU-T H.273; unspecified as a rule means that of BT.601.
        color_primaries: its primaries.
        color_transfer: its transfer function.
    """

    width: int
    height: int
    video_fps: float
    rate: int
    look_ahead_s: float
    is_marked: bool
    is_signed: bool
    color_space: int = COLOR_UNSPECIFIED
    color_primaries: int = COLOR_UNSPECIFIED
    color_transfer: int = COLOR_UNSPECIFIED

    @property
    def color_tags(self) -> ColorTags:
        """Tags of a video of its pictures."""
        return ColorTags(LIMITED_RANGE, self.color_space, self.color_primaries, self.color_transfer)


class LiveSession:
    """A live stream on a server with the model `live`; a context manager, whose exit ends the stream at once.

    One thread may send voice while another one iterates over the pictures. Pictures that are read are confirmed to the
    server by themselves; a reader that is too slow misses some, or stops the stream's clock: see `slow_reader`.

    Attributes:
        facts: what the server says of the stream.
    """

    facts: StreamFacts

    def __init__(
        self,
        url: str | Address,
        clip: str,
        *,
        rate: int = DEFAULT_RATE,
        options: Mapping[str, object] | None = None,
        pace: Pace = "real_time",
        slow_reader: SlowReader = "drop",
        security: Security = IN_THE_CLEAR,
        timeout_s: float = TIMEOUT_S,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> None:
        """Open a stream, and wait until its clip is loaded.

        Args:
            url: HOST:PORT of the server's gRPC endpoint, or its address.
            clip: name of the prepared clip on the server.
            rate: samples per second of the voice, in Hz.
            options: options of the pipeline by their names, as texts or JSON values.
            pace: real_time shows pictures at their times, idle ones where no voice comes; fast draws them as soon as
                their voice is there.
            slow_reader: drop leaves out pictures that are not read in time, hold stops the stream's clock.
            security: encryption, certificates and token.
            timeout_s: how long a picture, or room for voice, is waited for.
            open_timeout_s: how long the opening is waited for.

        Raises:
            UsageError: a choice cannot be used.
            ServerUnavailable: there is no server, or no room for another stream.
            RequestRejected: the server refuses the stream: there is no such clip, or the options do not fit.
        """
        settings = StreamSettings(clip, rate, pace, slow_reader, dict(options or {}))
        self._address = url if isinstance(url, Address) else parse_address(url)
        self._url = self._address.url
        self._timeout_s = timeout_s
        self._is_paced = pace == "real_time"
        self._id = secrets.token_hex(ID_BYTES)
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._early: dict[int, Event] = {}  # by position; answers to two requests may overtake each other
        self._received = 0
        self._expected: int | None = None  # pictures in all, once the server has told
        self._errors: deque[LipSyncError] = deque()
        self._opened: Event | None = None
        self._is_over = False
        self._is_closed = False
        self._unconfirmed = 0
        self._interruptions = 0
        self._sent_s = self._shown_s = 0.0  # of voice; what was dropped counts as shown
        self._last_rgb = np.zeros((0, 0, 3), np.uint8)
        self._rate = rate
        self._client = open_channel(self._address, security)
        try:
            self._client.start_stream(partial(_take, self), headers=trace_headers())
            self._ask(Request("open", self._id, settings))
            self.facts = self._wait_until_open(open_timeout_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LiveSession:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the stream at once."""
        self.close()

    @property
    def sent_s(self) -> float:
        """How much voice was sent, in seconds."""
        return self._sent_s

    @property
    def shown_s(self) -> float:
        """How much of it was shown or dropped, as far as pictures were read, in seconds."""
        return self._shown_s

    @property
    def unread(self) -> int:
        """How many pictures have come and wait to be read."""
        return len(self._events)

    def send(self, pcm: np.ndarray, rate: int | None = None) -> None:
        """Add voice behind what was sent before; waits while too much of it waits to be shown.

        An interruption meanwhile drops it, too.

        Args:
            pcm: mono samples [S], int16 or float from -1 to 1; 20 to 100 ms are a good length.
            rate: samples per second, which must be the stream's; None for that.

        Raises:
            UsageError: the samples cannot be used.
            NoAnswer: there was no room for them in time; they were not sent.
            StreamEnded: the stream has ended.
            LipSyncError: the stream failed.
        """
        samples = as_float(pcm)
        if not len(samples):
            raise UsageError(about="voice", expected="at least one sample", got="none")
        length_s = len(samples) / (rate or self._rate)
        with self._changed:
            deadline, interruptions = time.monotonic() + self._timeout_s, self._interruptions
            while self._sent_s - self._shown_s > MAX_AHEAD_S and not self._is_over and not self._errors:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise NoAnswer(
                        about="voice",
                        expected="pictures to be read while it is sent",
                        got=f"{MAX_AHEAD_S:g} s of voice that wait",
                        advice="Read the pictures in another thread",
                    )
                if self._interruptions > interruptions:
                    return
            self._raise_error()
            self._check_open()
            self._sent_s += length_s
        self._ask(Request("voice", self._id, samples=samples, rate=rate or self._rate))

    def interrupt(self) -> None:
        """Drop the voice that is not shown yet; the mouth closes within 100 ms of the stream's time."""
        self._check_open()
        with self._changed:
            self._interruptions += 1
            self._changed.notify_all()
        self._ask(Request("interrupt", self._id))

    def end(self) -> None:
        """Tell that no voice follows; the pictures end with what was sent."""
        if not self._is_over:
            self._ask(Request("end", self._id))

    def close(self) -> None:
        """End at once; safe to call again."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = self._is_over = True
            self._changed.notify_all()
        stop_stream(self._client, has_ended=self._received == self._expected)
        self._client.close()

    def __iter__(self) -> Iterator[LivePicture]:
        """Yield pictures until the stream ends; see `next_picture`."""
        while (picture := self.next_picture()) is not None:
            yield picture

    def next_picture(self, timeout_s: float | None = None) -> LivePicture | None:
        """Wait for the next picture.

        Args:
            timeout_s: how long it is waited for; None for the stream's usual time.

        Returns:
            The picture; None at the end of the stream.

        Raises:
            NoAnswer: none came in time.
            LipSyncError: the stream failed, or the server refused something that was sent before.
        """
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            while not self._events:
                self._raise_error()
                if self._is_over:
                    return None
                if not self._changed.wait(deadline - time.monotonic()) and not self._events:
                    raise NoAnswer(about=self._url, expected="a picture in time", got="none")
            event = self._events.popleft()
            picture = self._read(event)
            self._shown_s = max(self._shown_s, event.facts["taken_s"] - picture.waiting_s)
            self._changed.notify_all()
        self._confirm(picture)
        return picture

    def _read(self, event: Event) -> LivePicture:
        is_held = event.kind == "held"
        if not is_held:
            self._last_rgb = event.frame
        facts = event.facts
        return LivePicture(
            number=facts["number"],
            time_s=facts["time_s"],
            duration_s=facts["duration_s"],
            rgb=self._last_rgb,
            sound=event.sound,
            speaks=facts["speaks"],
            is_held=is_held,
            waiting_s=facts["waiting_s"],
            left_out=facts["left_out"],
        )

    def _confirm(self, picture: LivePicture) -> None:
        self._unconfirmed += 1
        if self._unconfirmed >= CONFIRM_EVERY and not self._is_over:
            self._unconfirmed = 0
            self._ask(Request("confirm", self._id, number=picture.number))

    def _wait_until_open(self, timeout_s: float) -> StreamFacts:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._opened is None:
                self._raise_error()
                if not self._changed.wait(deadline - time.monotonic()) and self._opened is None:
                    raise NoAnswer(about=self._url, expected="the stream to open in time", got="no answer")
            return StreamFacts(**self._opened.facts)

    def _ask(self, request: Request) -> None:
        inputs = []
        for name, array in request.tensors().items():
            tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        try:
            self._client.async_stream_infer(MODEL, inputs, request_id=request.action)
        except InferenceServerException as error:
            with self._changed:
                self._raise_error()
            raise client_error(self._url, error) from error

    def _raise_error(self) -> None:
        if self._errors:
            raise self._errors.popleft()

    def _check_open(self) -> None:
        if self._is_over:
            raise StreamEnded(about="stream", expected="one that goes on", got="one that has ended")


def _take(session: LiveSession, result: Any, error: InferenceServerException | None) -> None:
    """Take an answer, in the channel's thread."""
    with session._changed:
        if error is not None:
            _take_error(session, error)
        else:
            _take_event(session, read_event({name: result.as_numpy(name) for name in ("event", "frame", "sound")}))
        session._changed.notify_all()


def _take_error(session: LiveSession, error: InferenceServerException) -> None:
    if session._is_closed:
        return
    known = _known_error(session, error)
    session._errors.append(known)
    session._is_over = session._is_over or error.status() is not None or isinstance(known, ServerLost)


def _known_error(session: LiveSession, error: InferenceServerException) -> LipSyncError:
    """Map an answer of the model, or an error of gRPC, which has a status and ends the channel."""
    known = client_error(session._url, error)
    if error.status() is not None:
        return known
    if BUSY_MARK in error.message():
        return ServerBusy(error.message())
    if UNLOADED_MARK in error.message() and session._opened is not None:
        return ServerLost(about=session._url, expected="a running Triton", got="one that is stopping")
    return RequestRejected(error.message()) if type(known) is RequestRejected else known


def _take_event(session: LiveSession, event: Event) -> None:
    if event.kind == "opened":
        session._opened = event
        return
    if event.kind == "ended":
        session._expected = event.facts["pictures"]
        if event.facts["error"] is not None:
            session._errors.append(_known_error(session, InferenceServerException(event.facts["error"])))
    else:
        session._early[event.facts["position"]] = event
    while session._received in session._early:
        session._events.append(session._early.pop(session._received))
        session._received += 1
    session._is_over = session._is_over or session._received == session._expected
