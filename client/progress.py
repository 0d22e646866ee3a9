"""Shows the progress of a job: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class JobProgress(Protocol):
    """Receives the progress of a job."""

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Start a stage; total_frames if known."""

    def advance(self, frames: int) -> None:
        """Count frames as done."""


class SilentProgress:
    """Shows nothing."""

    def __enter__(self) -> SilentProgress:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Ignore the stage."""

    def advance(self, frames: int) -> None:
        """Ignore the frames."""


class TerminalProgress:
    """A progress bar with stage, percent, frames per second and remaining time."""

    def __init__(self) -> None:
        """Prepare the bar on stderr."""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, rate="")
        self._started = 0.0
        self._frames = 0

    def __enter__(self) -> TerminalProgress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Reset the bar for a stage."""
        self._started, self._frames = time.monotonic(), 0
        self._bar.reset(self._task, total=total_frames, description=name, rate="")

    def advance(self, frames: int) -> None:
        """Advance the bar."""
        self._frames += frames
        rate = self._frames / max(time.monotonic() - self._started, 1e-6)
        self._bar.update(self._task, advance=frames, rate=f"{rate:.1f} fps")


class LineProgress:
    """Prints a line on stderr when a stage starts, and every few seconds."""

    def __init__(self) -> None:
        """Start before the first stage."""
        self._name = ""
        self._total: int | None = None
        self._frames = 0
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> LineProgress:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Print which stage starts."""
        self._name, self._total, self._frames = name, total_frames, 0
        self._started = self._printed = time.monotonic()
        print(f"lipsync: {name}", file=sys.stderr, flush=True)

    def advance(self, frames: int) -> None:
        """Print how far the stage is, every few seconds."""
        self._frames += frames
        now = time.monotonic()
        if now - self._printed < LINE_EVERY_S:
            return
        self._printed = now
        rate = self._frames / max(now - self._started, 1e-6)
        percent, remaining = "", ""
        if self._total:
            percent = f" {min(100 * self._frames // self._total, 100)} %"
            remaining = f", {max(self._total - self._frames, 0) / rate:.0f} s left"
        print(f"lipsync: {self._name}{percent}, {rate:.1f} fps{remaining}", file=sys.stderr, flush=True)


def open_progress(*, quiet: bool) -> TerminalProgress | LineProgress | SilentProgress:
    """Return a bar if stderr is a terminal, else lines; silent if quiet."""
    if quiet:
        return SilentProgress()
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
