"""The report of a job: counts and times, printed as text or JSON."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from client.active.speaking import FOUND_BY, Speaking
from client.errors import Spell, by_name, spelled
from client.flow import close
from client.provenance.report import ProvenanceReport
from client.quality.report import QualityReport
from client.system import peak_memory_mb
from client.wording import counted
from lipsync_core.reasons import Reason

Item = TypeVar("Item")

MAX_SPANS_LISTED = 1000  # keeps the report small whatever the video
SPANS_SHOWN = 5  # of each reason, in the summary
SAME_TIME_S = 1e-3


class StageClock:
    """Sums up the working time of each stage. Stages overlap, so the sum exceeds the job's time."""

    def __init__(self) -> None:
        """Start with no time for any stage."""
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        with self._lock:
            return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time spent inside the context to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[stage] += time.perf_counter() - start

    def time_items(self, stage: str, items: Iterable[Item]) -> Generator[Item, None, None]:
        """Yield items, adding the time that each takes to produce to a stage."""
        iterator = iter(items)
        try:
            while True:
                with self.time(stage):
                    item = next(iterator, _END)
                if item is _END:
                    return
                yield item  # type: ignore[misc]
                del item
        finally:
            close(iterator)


_END = object()


@dataclass
class UnchangedFrames:
    """Frames that passed through for the same reason.

    Attributes:
        reason: why, for people.
        frames: how many.
        spans: [start, end] in seconds of the result, the first thousand.
    """

    reason: str
    frames: int = 0
    spans: list[list[float]] = field(default_factory=list)

    def add(self, start_s: float, end_s: float) -> None:
        """Count one frame."""
        self.frames += 1
        _add_span(self.spans, start_s, end_s)


@dataclass
class SpeakerReport:
    """What became of one speaker.

    Attributes:
        name: the speaker's name.
        frames_synced: frames whose mouth was changed.
        unchanged: the frames in which it was not, by reason; those of nobody's speech too.
    """

    name: str
    frames_synced: int = 0
    unchanged: dict[str, UnchangedFrames] = field(default_factory=dict)

    def count_frame(self, start_s: float, end_s: float, reason: Reason) -> None:
        """Count one written frame, shown from start_s to end_s."""
        if reason is Reason.CHANGED:
            self.frames_synced += 1
        else:
            self.unchanged.setdefault(reason.key, UnchangedFrames(reason.text)).add(start_s, end_s)

    def summary(self) -> str:
        """Return one line of text."""
        parts = [f"{counted(self.frames_synced, 'frame')} lip-synced"]
        parts += [f"{found.frames} unchanged, {found.reason}" for found in _by_count(self.unchanged)]
        return f"{self.name}: {'; '.join(parts)}"


@dataclass
class Report:
    """The result of a job.

    Attributes:
        output: the file that was written.
        job_id: names the job in requests and logs.
        model: name of the pipeline.
        transport: how frames were sent to the server, shm or grpc.
        width, height: size of the picture as shown, in pixels.
        video_fps: frames per second of the source, its average where the rate varies.
        duration_s: duration of the result, in seconds.
        frames: frames written.
        frames_synced: frames whose mouth was changed.
        frames_without_face: all other frames; they passed through unchanged, for any reason.
        spans_without_face: [start, end] of unchanged spans in seconds of the result, the first thousand.
        unchanged: the unchanged frames by reason, such as no_face or covered.
        speakers: the same for each speaker.
        speaking: what told who speaks in the video, lips or syncnet; None if no face was to be found by that.
        sound: what the sound is made of, one sentence each.
        provenance: how the result is marked and signed; None until it is complete.
        quality: what the check of the result found; None if it was not checked.
        requests: number of requests, those answered from the work folder included.
        requests_reused: number of requests answered from the work folder.
        seconds: time from opening the media to the finished file, the check included, without the start of a server;
            of both runs where lips were corrected.
        server_start_s: time until the embedded server was ready; None for a running server.
        seconds_per_stage: working time per stage; stages overlap.
        realtime_factor: processing seconds per second of the result.
        peak_rss_mb: the client's largest resident memory, in MB; 0 where the system does not tell.
        warnings: what the user should know, one sentence each; may refer to options with `ref`.
    """

    output: str
    job_id: str
    model: str
    transport: str
    width: int
    height: int
    video_fps: float
    duration_s: float = 0.0
    frames: int = 0
    frames_synced: int = 0
    frames_without_face: int = 0
    spans_without_face: list[list[float]] = field(default_factory=list)
    unchanged: dict[str, UnchangedFrames] = field(default_factory=dict)
    speakers: list[SpeakerReport] = field(default_factory=list)
    speaking: Speaking | None = None
    sound: list[str] = field(default_factory=list)
    provenance: ProvenanceReport | None = None
    quality: QualityReport | None = None
    requests: int = 0
    requests_reused: int = 0
    seconds: float = 0.0
    server_start_s: float | None = None
    seconds_per_stage: dict[str, float] = field(default_factory=dict)
    realtime_factor: float = 0.0
    peak_rss_mb: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def count_frame(self, start_s: float, end_s: float, reason: Reason) -> None:
        """Count one written frame, shown from start_s to end_s."""
        self.frames += 1
        self.duration_s = round(max(self.duration_s, end_s), 3)
        if reason is Reason.CHANGED:
            self.frames_synced += 1
            return
        self.frames_without_face += 1
        _add_span(self.spans_without_face, start_s, end_s)
        self.unchanged.setdefault(reason.key, UnchangedFrames(reason.text)).add(start_s, end_s)

    def finish(self, seconds: float, clock: StageClock) -> None:
        """Fill in the fields that are known only at the end."""
        self.seconds = round(seconds, 3)
        self.seconds_per_stage = clock.seconds
        self.realtime_factor = round(seconds / self.duration_s, 3) if self.duration_s else 0.0
        self.peak_rss_mb = peak_memory_mb()

    def add_run(self, seconds: float) -> None:
        """Add the time of an earlier run, whose result was not kept."""
        self.seconds = round(self.seconds + seconds, 3)
        self.realtime_factor = round(self.seconds / self.duration_s, 3) if self.duration_s else 0.0

    def as_dict(self, spell: Spell = by_name) -> dict[str, object]:
        """Return all fields, for JSON; options in warnings spelled as a front end calls them."""
        return {**dataclasses.asdict(self), "warnings": self._warnings(spell)}

    def summary(self, spell: Spell = by_name) -> str:
        """Return the report as a few lines of text, options spelled as a front end calls them."""
        name = Path(self.output).name
        lines = [
            f"{name}: {counted(self.frames, 'frame')}, {self.duration_s:.1f} s at {self.width}x{self.height},"
            f" made in {self.seconds:.1f} s ({self.realtime_factor:.2f} s per second)"
        ]
        lines += [
            f"{counted(part.frames, 'frame')} unchanged, {part.reason}: {_some(part.spans)}"
            for part in _by_count(self.unchanged)
        ]
        if len(self.speakers) > 1:
            lines += [speaker.summary() for speaker in self.speakers]
        if self.speaking is not None:
            lines.append(FOUND_BY[self.speaking])
        if self.provenance is not None and self.provenance.is_notable:
            lines.append(self.provenance.sentence())
        if self.quality is not None:
            lines.append(self.quality.sentence())
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self._warnings(spell))])

    def reasons(self) -> str:
        """Return why frames are unchanged, such as `20 no usable face, 5 mouth covered`."""
        return ", ".join(f"{found.frames} {found.reason}" for found in _by_count(self.unchanged))

    def _warnings(self, spell: Spell) -> list[str]:
        return [spelled(warning, spell) for warning in self.warnings]


def _by_count(unchanged: Mapping[str, UnchangedFrames]) -> list[UnchangedFrames]:
    return sorted(unchanged.values(), key=lambda found: -found.frames)


def _add_span(spans: list[list[float]], start_s: float, end_s: float) -> None:
    """Append a span, or lengthen the last one if it ends where this begins."""
    if spans and abs(spans[-1][1] - start_s) < SAME_TIME_S:
        spans[-1][1] = round(end_s, 3)
    elif len(spans) < MAX_SPANS_LISTED:
        spans.append([round(start_s, 3), round(end_s, 3)])


def _some(spans: list[list[float]]) -> str:
    more = ", ..." if len(spans) > SPANS_SHOWN else ""
    return ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in spans[:SPANS_SHOWN]) + more
