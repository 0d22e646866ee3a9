"""One stream: takes voice as it comes, and shows pictures at their times. Knows no Triton.

Two threads work for it: one draws, the other shows. Whatever is shown follows from the voice's timeline alone, to which
silence is added where no voice came in time; so the frames are those of a job with that sound.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np

from client.errors import LipSyncError
from client.lanes.stage import DrawnFrame
from client.live.clock import StreamClock
from client.live.engine import LiveEngine
from client.live.frame_queue import FrameQueue, Shown
from client.live.incoming import IncomingVoice
from client.live.settings import StreamLimits, StreamSettings
from client.live.voice import GrowingVoice

logger = logging.getLogger(__name__)
LEAD_S = 0.06  # how long before its time a frame is drawn, where frames are drawn one by one
CHUNK_LEAD = 0.75  # of the time that a chunk is shown: how long before it is drawn
LATE_S = 0.12  # a frame that is later than this is not drawn, so that the next ones are on time
POLL_S = 0.5  # how often a waiting thread looks whether the client is gone
KEPT_S = 12.0  # of voice behind the pictures, which pipelines hear again
FORGET_EVERY_S = 2.0


class Viewer(Protocol):
    """Where a stream's pictures go."""

    def opened(self, engine: LiveEngine) -> None:
        """Tell that the stream begins."""

    def show(self, shown: Shown) -> None:
        """Take a frame."""

    def is_gone(self) -> bool:
        """Say whether nobody takes frames any more."""

    def ended(self, error: LipSyncError | None) -> None:
        """Tell that the stream has ended; called once, whatever happens."""


OpenEngine = Callable[[StreamSettings, GrowingVoice, ExitStack], LiveEngine]


class Session:
    """One stream, from its opening to its end. All methods return at once."""

    def __init__(
        self,
        settings: StreamSettings,
        limits: StreamLimits,
        viewer: Viewer,
        open_engine: OpenEngine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the stream's threads.

        Args:
            settings: what the client chose.
            limits: what the server allows.
            viewer: where the pictures go.
            open_engine: loads the clip; what it enters into the stack is left when the stream ends.
            clock: seconds from any moment; it must not jump.
        """
        self._settings = settings
        self._limits = limits
        self._viewer = viewer
        self._open_engine = open_engine
        self._clock = clock
        self._is_paced = settings.pace == "real_time"
        self._holds = settings.slow_reader == "hold" or not self._is_paced
        self._incoming = IncomingVoice(settings, limits)
        self._queue = FrameQueue()
        self._changed = threading.Condition()
        self._engine: LiveEngine | None = None
        self._cut_s: float | None = None  # where the mouth is to be closed
        self._cuts = 0
        self._unread: deque[int] = deque()  # numbers of frames that the client has not confirmed
        self._left_out = 0
        self._shown_until_s = 0.0
        self._timeline = StreamClock(clock)
        self._heard_at = clock()
        self._is_over = False
        self._all_drawn = False
        self._error: LipSyncError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="live session")
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._is_over

    def add_voice(self, samples: np.ndarray, rate: int) -> None:
        """Add voice behind what is there.

        Args:
            samples: float32 mono [S], -1 to 1; at least one.
            rate: samples per second.

        Raises:
            UsageError: there is no sample, the rate is not the stream's, a sample is no number, too much voice waits,
                or the stream was ended.
        """
        with self._changed:
            self._heard_at = self._clock()
            self._incoming.add(samples, rate, self._shown_until_s, self._heard_until_s())
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Drop the voice that is not shown yet, and close the mouth."""
        with self._changed:
            self._heard_at = self._clock()
            if self._engine is not None:
                self._cut_s = self._queue.cut()
                self._cuts += 1
            self._incoming.cut(self._queue.drawn_until_s)
            self._changed.notify_all()

    def end(self) -> None:
        """Show the voice that waits, then end."""
        with self._changed:
            self._heard_at = self._clock()
            self._incoming.end()
            self._changed.notify_all()

    def confirm(self, number: int) -> None:
        """Note that the client has read the frame of a number, and those before it."""
        with self._changed:
            self._heard_at = self._clock()
            while self._unread and self._unread[0] <= number:
                self._unread.popleft()
            if not self._is_full():
                self._timeline.go_on()
            self._changed.notify_all()

    def stop(self, error: LipSyncError | None = None) -> None:
        """End now."""
        with self._changed:
            self._error = self._error or error
            self._is_over = True
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until its threads have ended; return whether they have."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Open the clip, draw until the end, and tell the client."""
        try:
            with ExitStack() as stack:
                engine = self._open_engine(self._settings, self._incoming.voice, stack)
                self._queue = FrameQueue(engine.next_frames())
                self._viewer.opened(engine)
                self._begin(engine)
                shower = threading.Thread(target=self._show_all, daemon=True, name="live pictures")
                shower.start()
                stack.callback(shower.join)
                stack.callback(self._stop_unless_drawn)
                self._draw_all(engine)
        except LipSyncError as error:
            self.stop(error)
        except Exception:
            logger.exception("a live session failed")
            self.stop(LipSyncError("the stream failed; the server's log says why"))
        finally:
            self._is_over = True
            self._viewer.ended(self._error)

    def _begin(self, engine: LiveEngine) -> None:
        with self._changed:
            self._heard_at = self._clock()
            self._timeline.begin(LEAD_S)
            self._engine = engine
            self._incoming.begin(self._heard_until_s())

    def _heard_until_s(self) -> float:
        """Return up to where the voice was heard, or will be for the next frames."""
        return self._queue.drawn_until_s + (self._engine.hears_ahead_s if self._engine is not None else 0.0)

    def _is_full(self) -> bool:
        return len(self._unread) >= self._limits.max_unread

    def _stop_unless_drawn(self) -> None:
        if not self._all_drawn:
            self.stop()

    def _draw_all(self, engine: LiveEngine) -> None:
        while True:
            with self._changed:
                frames = self._queue.again(engine.live.chunk_frames)
                cut_s, self._cut_s = self._cut_s, None
            if cut_s is not None:
                engine.hush(cut_s)
            frames = frames or engine.next_frames()
            if not self._wait_to_draw(engine, frames):
                break
            self._draw(engine, frames)
        with self._changed:
            self._all_drawn = not self._is_over
            self._changed.notify_all()

    def _wait_to_draw(self, engine: LiveEngine, frames: list[DrawnFrame]) -> bool:
        """Wait until it is time to draw some frames; return whether they are to be drawn."""
        first, needed = frames[0].shown, engine.needed(frames)
        lead_s = max(LEAD_S, CHUNK_LEAD * sum(frame.shown.duration_s for frame in frames))
        with self._changed:
            while not self._is_over:
                self._check_life()
                if self._incoming.is_over(first.time_s):
                    return False
                if self._cut_s is not None:
                    return True  # `_draw` puts them back
                if self._is_paced:
                    wait_s = first.time_s - lead_s - self._timeline.now_s
                elif len(self._queue) >= self._limits.max_unread:
                    wait_s = POLL_S
                else:
                    wait_s = 0.0 if self._incoming.is_known(needed) else POLL_S
                if wait_s <= 0:
                    self._incoming.fill(needed)
                    return True
                self._changed.wait(min(wait_s, POLL_S))
            return False

    def _draw(self, engine: LiveEngine, frames: list[DrawnFrame]) -> None:
        cuts = self._cuts
        is_late = self._is_paced and self._timeline.now_s - frames[-1].shown.time_s > LATE_S
        with self._changed:
            if self._cut_s is not None:
                self._queue.put_back(frames)
                return
        drawn = frames if is_late else engine.draw(frames)
        speaks = engine.speaks(frames)
        first = self._queue.count
        pictures = [None if is_late else engine.treat(frame, first + i).rgb() for i, frame in enumerate(drawn)]
        with self._changed:
            if cuts != self._cuts:  # interrupted meanwhile
                self._queue.put_back(frames)
                return
            rows = enumerate(zip(frames, pictures, strict=True), first)
            self._queue.add([(frame, self._shown(frame, number, rgb, speaks)) for number, (frame, rgb) in rows])
            self._changed.notify_all()

    def _shown(self, frame: DrawnFrame, number: int, rgb: np.ndarray | None, speaks: bool) -> Shown:
        time_s, duration_s = frame.shown.time_s, frame.shown.duration_s
        sound = self._incoming.voice.sound(time_s, time_s + duration_s)
        return Shown(number, time_s, duration_s, rgb, sound, speaks)

    def _show_all(self) -> None:
        try:
            forgotten_s = 0.0
            while (shown := self._next_shown()) is not None:
                self._viewer.show(shown)
                if shown.time_s - forgotten_s > FORGET_EVERY_S:
                    forgotten_s = shown.time_s
                    self._incoming.voice.forget(forgotten_s - KEPT_S)
        except Exception:
            logger.exception("a live session cannot send its pictures")
            self.stop(LipSyncError("the stream failed; the server's log says why"))

    def _next_shown(self) -> Shown | None:
        """Wait for the next frame and its time; None at the end."""
        with self._changed:
            while not self._is_over:
                self._check_life()
                if not self._queue and self._all_drawn:
                    return None
                if not self._queue or (self._is_full() and self._holds):
                    if self._queue:
                        self._timeline.stop()
                    self._changed.wait(POLL_S)
                    continue
                shown = self._queue.next
                if self._incoming.is_over(shown.time_s):
                    return None
                wait_s = shown.time_s - self._timeline.now_s if self._is_paced else 0.0
                if wait_s > 0:
                    self._changed.wait(min(wait_s, POLL_S))
                    continue
                self._queue.take()
                self._shown_until_s = shown.time_s + shown.duration_s
                self._changed.notify_all()
                if self._is_full():
                    self._left_out += 1
                    continue
                self._unread.append(shown.number)
                left_out, self._left_out = self._left_out, 0
                waiting_s = self._incoming.waiting_s(self._shown_until_s)
                return replace(shown, waiting_s=waiting_s, taken_s=self._incoming.taken_s, left_out=left_out)
            return None

    def _check_life(self) -> None:
        """End if the client is gone or silent."""
        if self._viewer.is_gone():
            self._is_over = True
        elif self._clock() - self._heard_at > self._limits.idle_timeout_s:
            self._is_over = True
            self._error = LipSyncError(
                about="session",
                expected=f"a message within {self._limits.idle_timeout_s:g} s",
                got="none",
                advice="Open another one",
            )
