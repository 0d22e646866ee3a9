"""A live session without a server: the same head all the time, and the voice that is sent as its sound."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from client.errors import LipSyncError
from client.live.settings import StreamSettings
from client.live.stream import LivePicture, StreamFacts
from client.options import MODEL
from client.prepared.clip import MANIFEST, Manifest
from tests.server.clips import swaying_head

FPS = 25
LOUD = 0.01  # of samples with a voice


class FakeSession:
    """Speaks while there is voice, and idles in real time.

    Attributes:
        asked: what the caller asked for, in order.
        sent_s: voice that was sent, in seconds.
        shown_s: voice that was shown or dropped, in seconds.
    """

    def __init__(
        self, settings: StreamSettings, pace_s: float = 1 / FPS, frames: list[np.ndarray] | None = None
    ) -> None:
        """Open it.

        Args:
            settings: of the stream.
            pace_s: seconds from one picture to the next.
            frames: its pictures, shown again and again; None for small grey ones.
        """
        self.settings = settings
        self.asked: list[str] = []
        self.sent_s = self.shown_s = 0.0
        self._pace_s = pace_s
        self._frames = frames or [np.full((64, 64, 3), 90, np.uint8)]
        self._per_picture = settings.rate // FPS
        self._voice = np.zeros(0, np.float32)
        self._changed = threading.Condition()
        self._has_ended = self.is_closed = False
        height, width = self._frames[0].shape[:2]
        self.facts = StreamFacts(width, height, float(FPS), settings.rate, 0.25, is_marked=False, is_signed=False)

    def send(self, pcm: np.ndarray) -> None:
        """Add voice, int16 [S]."""
        with self._changed:
            if self.is_closed:
                raise LipSyncError(about="stream", expected="one that goes on", got="one that has ended")
            self.asked.append(f"{len(pcm)} samples")
            self.sent_s += len(pcm) / self.settings.rate
            self._voice = np.concatenate([self._voice, pcm.astype(np.float32) / 32768])

    def interrupt(self) -> None:
        """Drop the voice."""
        with self._changed:
            self.asked.append("interrupt")
            self._voice = self._voice[:0]
            self.shown_s = self.sent_s

    def end(self) -> None:
        """End after the voice."""
        self.asked.append("end")
        self._has_ended = True

    def close(self) -> None:
        """End at once."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[LivePicture]:
        """Yield pictures until the end."""
        number, began = 0, time.monotonic()
        while not self.is_closed and not (self._has_ended and not len(self._voice)):
            with self._changed:
                self._changed.wait_for(lambda: self.is_closed, began + number * self._pace_s - time.monotonic())
                sound, self._voice = self._voice[: self._per_picture], self._voice[self._per_picture :]
                self.shown_s += len(sound) / self.settings.rate
            speaks = bool(np.abs(sound).max(initial=0) > LOUD)
            sound = np.pad(sound, (0, self._per_picture - len(sound)))
            rgb = self._frames[number % len(self._frames)]
            yield LivePicture(number, number / FPS, 1 / FPS, rgb, sound, speaks, False, 0.0, 0)
            number += 1


def head_session(settings: StreamSettings) -> FakeSession:
    """Open a session that shows a head that sways."""
    return FakeSession(settings, frames=swaying_head(50))


def write_clip(folder: Path, model: str = "mouth-motion") -> None:
    """Write what the web service reads of a prepared clip: it does not show it."""
    folder.mkdir(parents=True)
    manifest = Manifest({MODEL.name: model}, "clip.mp4", "", {})
    (folder / MANIFEST).write_text(manifest.as_json())
