"""All streams of a server: opens, feeds and ends them. Knows no Triton."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from client.errors import LipSyncError, ServerBusy, UsageError
from client.live.clips import ClipStore
from client.live.engine import LiveEngine, live_models, live_values
from client.live.frame_queue import Shown
from client.live.messages import NO_FRAME, Event, Request, plain_event
from client.live.session import Session
from client.live.settings import StreamLimits, StreamSettings
from client.live.voice import GrowingVoice
from client.servers.calls import TritonCalls, check_served

END_TIMEOUT_S = 5.0
ASK_EVERY_S = 0.2  # whether the client is gone


class Answers(Protocol):
    """Where the answers to one request go."""

    def send(self, event: Event) -> None:
        """Send an answer."""

    def fail(self, error: LipSyncError) -> None:
        """Send an error as the last answer."""

    def close(self) -> None:
        """Tell that there are no more answers."""

    def is_gone(self) -> bool:
        """Say whether the client is known to be gone."""


@dataclass(eq=False)
class LiveService:
    """The streams.

    Attributes:
        triton: the server's models.
        clips: the clips that can be shown.
        limits: what the server allows.
    """

    triton: TritonCalls
    clips: ClipStore
    limits: StreamLimits
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)
    _streams: dict[str, _Stream] = field(default_factory=dict, init=False)

    def handle(self, request: Request, answers: Answers) -> None:
        """Do what a request asks; returns at once. Requests that open or confirm are answered by a stream's events.

        Raises:
            LipSyncError: it cannot be done; nothing was answered.
        """
        if request.action == "open":
            self._open(request, answers)
            return
        if request.action == "confirm":
            self._confirm(request, answers)
            return
        session = self._stream(request.session).session
        if request.action == "voice":
            session.add_voice(request.samples, request.rate)
        elif request.action == "interrupt":
            session.interrupt()
        else:
            session.end()
        answers.close()

    def count(self) -> int:
        """Return the number of streams."""
        with self._guard:
            return len(self._streams)

    def close(self) -> None:
        """End all streams."""
        with self._guard:
            sessions = [stream.session for stream in self._streams.values()]
        for session in sessions:
            session.stop(LipSyncError("the server is stopping"))
        for session in sessions:
            session.join(END_TIMEOUT_S)

    def _open(self, request: Request, answers: Answers) -> None:
        settings = request.settings
        assert settings is not None
        with self._guard:
            if request.session in self._streams:
                raise UsageError(about="session", expected="an id that no other stream has", got="a used one")
            if len(self._streams) >= self.limits.max_sessions:
                raise ServerBusy(
                    about="live",
                    expected=f"at most {self.limits.max_sessions} streams at once",
                    got="one more",
                    advice="Try again later",
                )
            viewer = _Viewer(answers, lambda: self._forget(request.session))
            session = Session(settings, self.limits, viewer, self._open_engine)
            self._streams[request.session] = _Stream(session, viewer)

    def _confirm(self, request: Request, answers: Answers) -> None:
        """Note what was read, and send what follows as answers to this request.

        Triton holds all answers to a request until the last one, so that none may be answered for long.
        """
        with self._guard:
            stream = self._streams.get(request.session)
        if stream is None or not stream.viewer.go_on_with(answers):
            answers.close()  # the stream's last pictures are still being read
            return
        stream.session.confirm(request.number)

    def _open_engine(self, settings: StreamSettings, voice: GrowingVoice, stack: ExitStack) -> LiveEngine:
        clip = self.clips.find(settings.clip)
        values = live_values(clip, settings.options)
        for model in live_models(values):
            check_served(self.triton, model, "a server with this model", "Export and serve it too")
        return LiveEngine(self.triton, stack.enter_context(self.clips.use(clip)), values, voice)

    def _stream(self, name: str) -> _Stream:
        with self._guard:
            stream = self._streams.get(name)
        if stream is None:
            raise UsageError(
                about="session", expected="one that is open", got="none of this id", advice="Open another one"
            )
        return stream

    def _forget(self, name: str) -> None:
        with self._guard:
            self._streams.pop(name, None)


@dataclass(frozen=True, eq=False)
class _Stream:
    session: Session
    viewer: _Viewer


class _Viewer:
    """Sends a stream's events as the answers to the last request that opened or confirmed it."""

    def __init__(self, answers: Answers, forget: Callable[[], None]) -> None:
        self._answers = answers
        self._forget = forget
        self._guard = threading.Lock()
        self._has_begun = self._has_ended = self._is_gone = False
        self._asked_at = 0.0
        self._pictures = 0

    def go_on_with(self, answers: Answers) -> bool:
        """Send the next events as answers to another request; return whether there will be any."""
        with self._guard:
            if self._has_ended:
                return False
            before, self._answers = self._answers, answers
            before.close()
            return True

    def opened(self, engine: LiveEngine) -> None:
        width, height = engine.size
        event = plain_event(
            "opened",
            width=width,
            height=height,
            video_fps=engine.video_fps,
            rate=engine.voice.rate,
            look_ahead_s=engine.live.look_ahead_s,
            is_marked=engine.is_marked,
            is_signed=False,
            color_space=engine.color_tags.space,
            color_primaries=engine.color_tags.primaries,
            color_transfer=engine.color_tags.transfer,
        )
        with self._guard:
            self._has_begun = True
            self._answers.send(event)

    def show(self, shown: Shown) -> None:
        facts = {
            "position": self._pictures,
            "number": shown.number,
            "time_s": shown.time_s,
            "duration_s": shown.duration_s,
            "speaks": shown.speaks,
            "waiting_s": round(shown.waiting_s, 4),
            "taken_s": round(shown.taken_s, 4),
            "left_out": shown.left_out,
        }
        self._pictures += 1
        if shown.rgb is None:
            event = Event("held", facts, NO_FRAME, shown.sound)
        else:
            event = Event("picture", facts, shown.rgb, shown.sound)
        with self._guard:
            self._answers.send(event)

    def is_gone(self) -> bool:
        """Ask now and then, and never of answers that are complete: Triton 2.51 ends with a segmentation fault then."""
        with self._guard:
            now = time.monotonic()
            if not self._has_ended and now - self._asked_at > ASK_EVERY_S:
                self._asked_at = now
                self._is_gone = self._answers.is_gone()
            return self._is_gone

    def ended(self, error: LipSyncError | None) -> None:
        self._forget()
        with self._guard:
            self._has_ended = True
            if error is not None and not self._has_begun:
                self._answers.fail(error)
                return
            told = None if error is None else str(error)
            self._answers.send(plain_event("ended", pictures=self._pictures, error=told))
            self._answers.close()
