"""A part of a video in time: which timestamps lie in it, and what it refuses. Reads no file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from client.errors import UsageError, ref
from client.media.facts import VideoFacts
from client.media.reader import frame_ticks

GAP_FRAMES, GAP_S = 1.5, 0.25  # a span begins with the frame before it if its next one comes later than either


@dataclass(frozen=True)
class Span:
    """A part of a video.

    Attributes:
        start_s: Where it starts, in seconds from the first frame.
        end_s: Where it ends; None for the end of the file.
        first_pts: Timestamp of the file's first frame, in ticks.
        time_base: Seconds per tick.
        rate: Average frames per second.
    """

    start_s: float
    end_s: float | None
    first_pts: int
    time_base: Fraction
    rate: Fraction

    @classmethod
    def of_video(cls, facts: VideoFacts, start_s: float, end_s: float | None) -> Span:
        """Choose a part of a video.

        Raises:
            UsageError: it is a single picture, or the part ends before it starts.
        """
        if facts.is_still and (start_s or end_s is not None):
            raise UsageError(
                option=("start", "end"),
                expected="a video",
                got="a single picture",
                advice="Cut the audio instead",
            )
        if end_s is not None and end_s <= start_s:
            raise UsageError(
                option="end",
                expected=f"a time after {ref('start')} ({start_s:g} s)",
                got=f"{end_s:g} s",
                advice="Swap or drop one",
            )
        return cls(start_s, end_s, facts.start_pts, facts.time_base, facts.rate)

    @property
    def start_pts(self) -> int:
        """Timestamp at which it starts."""
        return self.pts_at(self.start_s)

    @property
    def step(self) -> int:
        """Ticks of an average frame."""
        return frame_ticks(self.rate, self.time_base)

    @property
    def gap(self) -> int:
        """Ticks; if the next frame is further from the start, the span begins with the frame on screen at the start."""
        return min(round(GAP_FRAMES * self.step), round(GAP_S / self.time_base))

    def pts_at(self, time_s: float) -> int:
        """Return the timestamp at a time in seconds from the file's first frame."""
        return self.first_pts + round(time_s / self.time_base)

    def holds(self, pts: int) -> bool:
        """Return whether a timestamp lies in it."""
        return pts >= self.start_pts and not self.is_past_end(pts)

    def is_past_end(self, pts: int) -> bool:
        """Return whether a timestamp lies behind it."""
        return self.end_s is not None and pts >= self.pts_at(self.end_s)

    def cut(self, next_pts: int) -> int:
        """Return when its last frame leaves the screen: with the frame behind it, or where it ends before that."""
        return next_pts if self.end_s is None else min(next_pts, self.pts_at(self.end_s))

    def starts_too_late(self, path: Path) -> UsageError:
        """Return the error of a span behind the end of its file."""
        return UsageError(
            option="start",
            expected=f"a time within {path}",
            got=f"{self.start_s:g} s",
            advice="Choose an earlier one",
        )
