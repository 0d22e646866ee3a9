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
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from client.errors import LipSyncError, UsageError
from client.lanes.stage import DrawnFrame
from client.live.clock import StreamClock
from client.live.engine import LiveEngine
from client.live.settings import StreamLimits, StreamSettings
from client.live.voice import GrowingVoice
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

logger = logging.getLogger(__name__)
LEAD_S = 0.06  # how long before its time a frame is drawn, where frames are drawn one by one
CHUNK_LEAD = 0.75  # of the time that a chunk is shown: how long before it is drawn
LATE_S = 0.12  # a frame that is later than this is not drawn, so that the next ones are on time
POLL_S = 0.5  # how often a waiting thread looks whether the client is gone
KEPT_S = 12.0  # of voice behind the pictures, which pipelines hear again
FORGET_EVERY_S = 2.0
SAME_TIME_S = 1e-4  # the last sample may end so much after a frame begins without getting a frame of its own


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame on its way to the client.

    Attributes:
        number: counts the frames of the stream, those that are left out included.
        time_s: when it is shown on the stream's timeline, in seconds.
        duration_s: for how long, in seconds.
        rgb: uint8 RGB [H, W, 3]; None if the last picture stays, as this one could not be drawn in time.
        sound: float32 mono [S], the voice of this time at the stream's rate.
        speaks: whether the mouth follows the voice.
        waiting_s: voice that waits to be shown, in seconds.
        taken_s: voice that was taken so far, in seconds; what does not wait was shown or dropped.
        left_out: pictures that were left out before it, as the client did not read.
    """

    number: int
    time_s: float
    duration_s: float
    rgb: np.ndarray | None
    sound: np.ndarray
    speaks: bool
    waiting_s: float = 0.0
    taken_s: float = 0.0
    left_out: int = 0


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
        self._voice = GrowingVoice(settings.rate)
        self._early: list[np.ndarray] = []  # voice that came before the clip was loaded
        self._changed = threading.Condition()
        self._engine: LiveEngine | None = None
        self._ready: deque[tuple[DrawnFrame, Shown]] = deque()  # each as it was before it was drawn
        self._redo: list[DrawnFrame] = []
        self._drawn = 0  # frames
        self._cut_s: float | None = None  # where the mouth is to be closed
        self._cuts = 0
        self._unread: deque[int] = deque()  # numbers of frames that the client has not confirmed
        self._left_out = 0
        self._taken_s = 0.0
        self._shown_until_s = 0.0
        self._drawn_until_s = 0.0
        self._voice_until_s = 0.0
        self._silence_until_s = 0.0  # where silence that was added ends
        self._timeline = StreamClock(clock)
        self._heard_at = clock()
        self._is_ending = False
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
            waiting_s = self._waiting_s() + len(samples) / max(rate, 1)
            self._taken_s += len(samples) / max(rate, 1)  # also if it is refused, and so dropped
            self._check_voice(samples, rate)
            if self._is_ending or self._is_over:
                raise UsageError(about="voice", expected="a stream that goes on", got="one that was ended")
            if waiting_s > self._limits.max_voice_s:
                raise UsageError(
                    about="voice",
                    expected=f"at most {self._limits.max_voice_s:g} s that wait to be shown",
                    got=f"{waiting_s:.1f} s",
                    advice="Send it as it is shown; this piece was dropped",
                )
            if self._engine is None:
                self._early.append(samples)
            else:
                self._append(self._engine, samples)
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Drop the voice that is not shown yet, and close the mouth."""
        with self._changed:
            self._heard_at = self._clock()
            self._early.clear()
            if self._engine is None:
                return
            cut_s = self._ready[0][0].shown.time_s if self._ready else self._drawn_until_s
            self._voice.cut(cut_s)
            self._cut_s = cut_s
            self._cuts += 1
            self._voice_until_s = self._silence_until_s = self._voice.duration
            self._redo = [frame for frame, _ in self._ready] + self._redo
            self._drawn -= len(self._ready)
            self._ready.clear()
            self._drawn_until_s = cut_s
            self._changed.notify_all()

    def end(self) -> None:
        """Show the voice that waits, then end."""
        with self._changed:
            self._heard_at = self._clock()
            self._is_ending = True
            if self._engine is not None:
                self._voice.finish()
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
                engine = self._open_engine(self._settings, self._voice, stack)
                self._redo = engine.next_frames()
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
            for samples in self._early:
                self._append(engine, samples)
            self._early.clear()
            if self._is_ending:
                self._voice.finish()

    def _append(self, engine: LiveEngine, samples: np.ndarray) -> None:
        """Add voice; one that begins is put where its pieces can still arrive before their frames are drawn."""
        if self._is_paced and self._voice.duration <= self._silence_until_s:
            start_s = max(self._voice.duration, self._drawn_until_s + engine.hears_ahead_s) + self._limits.jitter_s
            self._add_silence(round(start_s * AUDIO_SAMPLE_RATE))
        self._voice.append(samples)
        self._voice_until_s = self._voice.duration

    def _is_full(self) -> bool:
        return len(self._unread) >= self._limits.max_unread

    def _stop_unless_drawn(self) -> None:
        if not self._all_drawn:
            self.stop()

    # Drawing

    def _draw_all(self, engine: LiveEngine) -> None:
        while True:
            with self._changed:
                count = engine.live.chunk_frames
                frames, self._redo = self._redo[:count], self._redo[count:]
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
                if self._is_behind_end(first.time_s):
                    return False
                if self._cut_s is not None:
                    return True  # `_draw` puts them back
                if self._is_paced:
                    wait_s = first.time_s - lead_s - self._timeline.now_s
                elif len(self._ready) >= self._limits.max_unread:
                    wait_s = POLL_S
                else:
                    wait_s = 0.0 if self._is_ending or self._voice.speech_length >= needed else POLL_S
                if wait_s <= 0:
                    if self._voice.speech_length < needed:
                        self._add_silence(needed)
                    return True
                self._changed.wait(min(wait_s, POLL_S))
            return False

    def _add_silence(self, speech_length: int) -> None:
        self._voice.be_silent_until(speech_length)
        self._silence_until_s = self._voice.duration

    def _draw(self, engine: LiveEngine, frames: list[DrawnFrame]) -> None:
        cuts = self._cuts
        is_late = self._is_paced and self._timeline.now_s - frames[-1].shown.time_s > LATE_S
        with self._changed:
            if self._cut_s is not None:
                self._put_back(frames)
                return
        drawn = frames if is_late else engine.draw(frames)
        speaks = engine.speaks(frames)
        pictures = [None if is_late else engine.treat(frame, self._drawn + i).rgb() for i, frame in enumerate(drawn)]
        with self._changed:
            if cuts != self._cuts:  # interrupted meanwhile
                self._put_back(frames)
                return
            for frame, rgb in zip(frames, pictures, strict=True):
                at = frame.shown
                sound = self._voice.sound(at.time_s, at.time_s + at.duration_s)
                self._ready.append((frame, Shown(self._drawn, at.time_s, at.duration_s, rgb, sound, speaks)))
                self._drawn += 1
            self._drawn_until_s = frames[-1].shown.time_s + frames[-1].shown.duration_s
            self._changed.notify_all()

    def _put_back(self, frames: list[DrawnFrame]) -> None:
        """Let frames be drawn again, in their order."""
        self._redo = sorted(self._redo + frames, key=lambda frame: frame.shown.time_s)

    # Showing

    def _show_all(self) -> None:
        try:
            forgotten_s = 0.0
            while (shown := self._next_shown()) is not None:
                self._viewer.show(shown)
                if shown.time_s - forgotten_s > FORGET_EVERY_S:
                    forgotten_s = shown.time_s
                    self._voice.forget(forgotten_s - KEPT_S)
        except Exception:
            logger.exception("a live session cannot send its pictures")
            self.stop(LipSyncError("the stream failed; the server's log says why"))

    def _next_shown(self) -> Shown | None:
        """Wait for the next frame and its time; None at the end."""
        with self._changed:
            while not self._is_over:
                self._check_life()
                if not self._ready and self._all_drawn:
                    return None
                if not self._ready or (self._is_full() and self._holds):
                    if self._ready:
                        self._timeline.stop()
                    self._changed.wait(POLL_S)
                    continue
                _, shown = self._ready[0]
                if self._is_behind_end(shown.time_s):
                    return None
                wait_s = shown.time_s - self._timeline.now_s if self._is_paced else 0.0
                if wait_s > 0:
                    self._changed.wait(min(wait_s, POLL_S))
                    continue
                self._ready.popleft()
                self._shown_until_s = shown.time_s + shown.duration_s
                self._changed.notify_all()
                if self._is_full():
                    self._left_out += 1
                    continue
                self._unread.append(shown.number)
                left_out, self._left_out = self._left_out, 0
                return replace(shown, waiting_s=self._waiting_s(), taken_s=self._taken_s, left_out=left_out)
            return None

    def _is_behind_end(self, time_s: float) -> bool:
        """Return whether the stream ends before a frame."""
        return self._is_ending and time_s >= self._voice_until_s - SAME_TIME_S

    def _waiting_s(self) -> float:
        early_s = sum(map(len, self._early)) / self._settings.rate
        return max(0.0, self._voice_until_s - self._shown_until_s) + early_s

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

    def _check_voice(self, samples: np.ndarray, rate: int) -> None:
        if rate != self._settings.rate:
            raise UsageError(
                about="rate",
                expected=f"{self._settings.rate} Hz, as the stream was opened",
                got=f"{rate} Hz",
                advice="Open the stream with the voice's rate",
            )
        if not len(samples):
            raise UsageError(about="voice", expected="at least one sample", got="none")
        if not np.isfinite(samples).all():
            raise UsageError(about="voice", expected="finite samples", got="NaN or infinity")
