"""One client under measurement: speaks utterances with pauses, interrupts some, and notes all that it sees and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from client.errors import LipSyncError
from client.live.stream import LivePicture, LiveSession

PIECE_S = 0.04  # of voice, sent when it was spoken
HEARD_S = 0.2  # of voice, after which the first frame is waited for
PAUSE_S = 1.4  # longer than what is still to be shown of an utterance
PHASES, PHASE_S = 8, 0.011  # added to it in turn, so that utterances begin at any time between two pictures
INTERRUPTED_EVERY = 3  # utterances
INTERRUPTED_AFTER_S = 1.8  # of its voice
JOIN_S = 20.0


@dataclass(frozen=True)
class Seen:
    """A picture as the client got it.

    Attributes:
        at: when, in seconds of a clock that does not jump.
        time_s: its time on the stream's timeline, in seconds.
        skew_s: how far the sound that comes with it is from the time that the picture on screen was drawn for, in
            seconds.
        has_voice: whether its sound is voice, and not silence between utterances.
        speaks: whether its mouth follows the voice.
        is_held: whether it is the picture before it, again.
        left_out: pictures before it that the client missed.
    """

    at: float
    time_s: float
    skew_s: float
    has_voice: bool
    speaks: bool
    is_held: bool
    left_out: int


@dataclass
class Observed:
    """What one client did and saw.

    Attributes:
        seen: pictures, in order.
        began: when utterances began.
        heard: when the first 200 ms of each were sent.
        interrupted: when it interrupted.
        failure: the error that ended the stream early; None if none did.
    """

    seen: list[Seen] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    interrupted: list[float] = field(default_factory=list)
    failure: LipSyncError | None = None


class Speaker:
    """Feeds a stream from one thread and reads it in another."""

    def __init__(self, live: LiveSession, voice: Iterator[np.ndarray], until: float, *, is_paced: bool) -> None:
        """Take an open stream.

        Args:
            live: the stream; it is closed at the end.
            voice: utterances, float32 [S] without exact zeros.
            until: when to end, by `time.monotonic`.
            is_paced: whether it speaks in real time, with pauses and interruptions; else as fast as it is taken.
        """
        self.observed = Observed()
        self._live, self._voice, self._until, self._is_paced = live, voice, until, is_paced
        self._clock = SoundClock(live.facts.rate)
        self._threads = [threading.Thread(target=self._guarded, args=(run,), daemon=True) for run in self._runs()]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end of both; the stream is cut where it does not end in time."""
        for thread in self._threads:
            thread.join(max(0.0, self._until - time.monotonic()) + JOIN_S)
        self._live.close()

    def _runs(self) -> tuple[Callable[[], None], ...]:
        return (self._speak if self._is_paced else self._pour), self._watch

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except LipSyncError as error:
            self.observed.failure = self.observed.failure or error
            self._live.close()

    def _speak(self) -> None:
        rate, number = self._live.facts.rate, 0
        while time.monotonic() + PAUSE_S < self._until:
            number += 1
            is_interrupted = number % INTERRUPTED_EVERY == 0
            utterance = next(self._voice)
            self._say(utterance[: round(INTERRUPTED_AFTER_S * rate)] if is_interrupted else utterance, rate)
            if is_interrupted:
                self.observed.interrupted.append(time.monotonic())
                self._live.interrupt()
            time.sleep(PAUSE_S + number % PHASES * PHASE_S)
        self._live.end()

    def _say(self, utterance: np.ndarray, rate: int) -> None:
        """Send an utterance piece by piece, each when it has been spoken."""
        began = time.monotonic()
        self.observed.began.append(began)
        length = round(PIECE_S * rate)
        for number, start in enumerate(range(0, len(utterance), length), 1):
            time.sleep(max(0.0, began + number * PIECE_S - time.monotonic()))
            self._live.send(utterance[start : start + length])
            if number == round(HEARD_S / PIECE_S):
                self.observed.heard.append(time.monotonic())

    def _pour(self) -> None:
        """Send voice without pauses, as fast as it is taken."""
        length = round(PIECE_S * self._live.facts.rate)
        while time.monotonic() < self._until:
            utterance = next(self._voice)
            for start in range(0, len(utterance), length):
                self._live.send(utterance[start : start + length])
        self._live.interrupt()  # what still waits would take longer than the measurement
        self._live.end()

    def _watch(self) -> None:
        for picture in self._live:
            self.observed.seen.append(self._clock.note(picture, time.monotonic()))


class SoundClock:
    """Counts the samples of a stream, and compares them with the times of its pictures."""

    def __init__(self, rate: int) -> None:
        """Take the samples per second."""
        self._rate = rate
        self._played: int | None = None  # samples
        self._drawn_s = 0.0  # time of the picture on screen

    def note(self, picture: LivePicture, at: float) -> Seen:
        """Return what there is to know of a picture that came at a time."""
        if self._played is None or picture.left_out:  # the sound of pictures that were left out is missing, too
            self._played = round(picture.time_s * self._rate)
        if not picture.is_held:
            self._drawn_s = picture.time_s
        skew_s = self._played / self._rate - self._drawn_s
        self._played += len(picture.sound)
        has_voice = bool(picture.sound.any())
        return Seen(at, picture.time_s, skew_s, has_voice, picture.speaks, picture.is_held, picture.left_out)
