"""Runs one job from files to file: open, scan, lip-sync, write, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import islice
from types import TracebackType

from client.chunks import chunk_frames
from client.errors import MediaError, NoFaceError, UsageError
from client.job_lanes import JobLanes
from client.job_options import JobOptions
from client.lanes.lane import Lane
from client.lanes.synchroniser import Synchroniser
from client.media import (
    ORIGINAL,
    TimelineFrame,
    VideoSource,
    VideoWriter,
    at_rate,
    estimate_frames,
    stop_as_original,
    timeline,
)
from client.options import CODEC, CRF, DECODER, ENCODER, END, FPS, LOSSLESS, NO_METADATA, PRESET, START
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from client.pipelines.live_options import LIVE_WINDOWS
from client.prepared.clip import PreparedClip
from client.progress import JobProgress, SilentProgress
from client.provenance.job import JobProvenance
from client.quality.job import JobCheck, LipsOffError
from client.report import Report, SpeakerReport, StageClock
from client.resume.calls import JobCalls
from client.resume.job_folder import changes_of, drop_folder, open_folder, wants_folder, work_dir
from client.resume.job_part import JobPart
from client.resume.work_folder import WorkFolder
from client.scene.media_checks import check_job
from client.servers.calls import TritonCalls
from client.servers.room import fitting_frames
from client.sound.job_sound import open_sound
from client.system import MB
from client.tracking.finder import FindsFaces
from client.verdict import check_result

LIVE_TAIL_FRAMES = 12  # followed behind the end with live windows: more than gaps and smoothing reach
CHANNELS = 3  # bytes per pixel of a frame on its way to the server


class Job:
    """A job with its media opened and checked; a context manager that leaves no file unless a run finished."""

    def __init__(self, options: JobOptions, ahead_s: float = 0.0) -> None:
        """Open and check the media, so that bad input is reported before any server starts.

        Args:
            options: the job.
            ahead_s: how much earlier than usual the lips are drawn, in seconds; later if negative.

        Raises:
            MediaError: the video or the audio cannot be used.
            OutputError: the output cannot be written.
            UsageError: an option's value does not fit the video or the output.
        """
        self.options = options
        self._values = values = options.values
        self._clock = StageClock()
        self._folder: WorkFolder | None = None
        self._warnings: list[str] = []
        self._provenance = JobProvenance(options)
        self._check = JobCheck(options.values, ahead_s)
        prepared = None if options.prepared is None else PreparedClip(options.prepared)
        if prepared is not None:
            prepared.check_video()
        self._video = VideoSource(options.video, values[START], values[END], values[DECODER])
        self._chunk_frames = chunk_frames(self._video.frame_bytes)
        live = options.pipeline.live if values[LIVE_WINDOWS] else None
        if live is not None:
            self._chunk_frames = min(self._chunk_frames, live.chunk_frames)
        with ExitStack() as stack:
            self._sound = stack.enter_context(open_sound(options.scene, values, self._video, options.output))
            check_job(options, self._video, self._sound.duration_s)
            self._check.hear(self._sound.plans, self._sound.voices)
            heard = {voice: voice.ahead(ahead_s) if ahead_s else voice for voice in self._sound.voices}
            voices = [heard[voice] for voice in self._sound.voices]
            self._lanes = JobLanes(options, self._video, voices, prepared, self._clock)
            self._writer = self._open_writer()
            stack.pop_all()

    def __enter__(self) -> Job:
        """Return the job itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what an unfinished run wrote, except the work folder, which the next run continues from."""
        self._writer.abort()
        self._sound.close()
        self._lanes.close()
        if self._folder is not None:
            if isinstance(error, (NoFaceError, MediaError, UsageError)):
                self._folder.remove()  # the next run would end alike
            elif error is not None and len(self._folder):
                error.add_note(f"finished parts are kept in {self._folder.path}; run the same command to continue")
            self._folder.close()

    def fit_into(self, room: int) -> None:
        """Send fewer frames per request where the server's shared memory is short.

        Args:
            room: its free bytes.

        Raises:
            ServerUnavailable: there is no room for a single frame.
        """
        changed = self._video.width * self._video.height * CHANNELS
        scale = (self.options.detector.long_side or math.inf) / max(self._video.width, self._video.height)
        fitting = fitting_frames(room, searched_bytes=round(changed * min(1.0, scale) ** 2), changed_bytes=changed)
        if fitting < self._chunk_frames:
            self._warnings.append(
                f"/dev/shm: {room // MB} MB are free, so that requests hold {fitting} frames instead of"
                f" {self._chunk_frames}; with 1 GB the job is faster"
            )
            self._chunk_frames = fitting

    def run(
        self, connection: TritonCalls, progress: JobProgress | None = None, server_start_s: float | None = None
    ) -> Report:
        """Run the job on one or several servers.

        Raises:
            NoFaceError: nothing was changed, as no frame has a usable face.
            LipsOffError: the lips are to be drawn again, earlier or later; see `client.quality.fixing`.
            LipSyncError: anything else that keeps the output from being complete. In every case nothing is left
                under the output's name, and what was there before stays.
        """
        progress = progress or SilentProgress()
        started = time.perf_counter()
        report = self._new_report(connection, server_start_s)
        report.warnings += self._warnings
        calls = self._open_calls(connection, progress, report)
        lanes, finder = self._lanes.open(calls, progress, self._chunk_frames)
        synchroniser = self._synchroniser(calls, lanes, finder)
        report.speaking = self._lanes.speaking
        self._check.open(
            connection,
            lanes,
            self._sound.voices,
            total=self._estimate_frames(),
            rate=float(self._rate),
            most_at_once=self._chunk_frames,
        )
        progress.stage("lip-syncing", self._estimate_frames())
        self._write_frames(synchroniser, progress, report)
        check_result(report, self.options, self._lanes.plans, found_speech=self._lanes.found_speech)
        try:
            self._check.finish(report, self._sound.voices, self._lanes)
        except LipsOffError as found:
            found.seconds = time.perf_counter() - started
            raise
        with self._clock.time("encode"):
            self._writer.close(lambda pending: self._provenance.seal(pending, calls, report))
        self._drop_folder(report)
        for part in (self._lanes, self._video, self._sound, self._writer):
            report.warnings += part.warnings
        report.requests, report.requests_reused = calls.request_count, calls.reused_count
        report.finish(time.perf_counter() - started, self._clock)
        return report

    def draw_part(self, part: JobPart, connection: TritonCalls, progress: JobProgress) -> None:
        """Draw a part of the job and keep the answers for a run of the whole; nothing is written otherwise.

        Raises:
            LipSyncError: whatever keeps the part from being drawn.
        """
        total = self._estimate_frames()
        drawn = part.frames(total)
        calls = self._open_calls(connection, progress, self._new_report(connection, None), part)
        lanes, finder = self._lanes.open(calls, progress, self._chunk_frames)
        progress.stage("drawing a part", min(total, drawn.stop) or total)
        with closing(self._synchroniser(calls, lanes, finder, drawn).sync(self._shown())) as synced:
            for _ in islice(synced, drawn.stop or None):
                progress.advance(1)

    def _synchroniser(
        self, calls: JobCalls, lanes: Sequence[Lane], finder: FindsFaces, drawn: range = Synchroniser.drawn
    ) -> Synchroniser:
        return Synchroniser(
            triton=calls,
            lanes=lanes,
            finder=finder,
            frame_bytes=self._video.frame_bytes,
            window_frames=self._chunk_frames,
            clock=self._clock,
            drawn=drawn,
        )

    def _open_writer(self) -> VideoWriter:
        values = self._values
        return VideoWriter(
            self.options.output,
            self._video,
            self._sound.written,
            codec=values[CODEC],
            crf=values[CRF],
            preset=values[PRESET],
            lossless=values[LOSSLESS],
            encoder=values[ENCODER],
            metadata=not values[NO_METADATA],
            cut_audio=values[IF_AUDIO_LONGER] == "cut" or self._sound.ends_with_video,
            rate=values[FPS],
            progressive=self.options.progressive,
        )

    def _open_calls(
        self, connection: TritonCalls, progress: JobProgress, report: Report, part: JobPart | None = None
    ) -> JobCalls:
        if part is not None or wants_folder(self.options):
            progress.stage("reading the inputs")
            self._folder = folder = open_folder(self.options, connection, part)
            if folder.changed:
                changes = changes_of(folder)
                report.warnings.append(f"{folder.path}: restarted: {changes} changed since the unfinished run")
                progress.stage("restarting an unfinished job")
            elif len(folder):
                progress.stage(f"continuing an unfinished job: {len(folder)} finished parts")
        return JobCalls(connection, self.options.job_id, self._folder)

    def _drop_folder(self, report: Report) -> None:
        """Remove the work folder of a complete job, this run's or an earlier one's."""
        if self._folder is None:
            drop_folder(work_dir(self.options))
            return
        report.warnings += self._folder.warnings
        self._folder.remove()

    def _new_report(self, connection: TritonCalls, server_start_s: float | None) -> Report:
        return Report(
            output=str(self.options.output),
            job_id=self.options.job_id,
            model=self.options.pipeline.name,
            transport=connection.transport,
            width=self._video.width,
            height=self._video.height,
            video_fps=round(float(self._video.rate), 3),
            speakers=[SpeakerReport(speaker.name) for speaker in self.options.scene.speakers],
            sound=self._sound.done,
            server_start_s=server_start_s,
        )

    def _estimate_frames(self) -> int:
        values, fps = self._values, self._values[FPS]
        lengths = values[IF_AUDIO_LONGER], values[IF_AUDIO_SHORTER]
        own = estimate_frames(self._video, self._sound.duration_s, *lengths, self._original_end_s or 0.0)
        return own if fps is None else round(own * fps / self._video.rate)

    def _write_frames(self, synchroniser: Synchroniser, progress: JobProgress, report: Report) -> None:
        clock = self._clock
        with closing(synchroniser.sync(self._shown())) as synced:
            for frame in synced:
                if self._is_behind_end(frame.shown):
                    continue
                with clock.time("encode"):
                    picture = self._provenance.treat(frame)
                self._check.see(frame)
                with clock.time("encode"):
                    self._writer.write(picture, frame.shown.pts, frame.shown.duration)
                start_s, end_s = frame.shown.time_s, frame.shown.time_s + frame.shown.duration_s
                report.count_frame(start_s, end_s, frame.reason)
                for position, speaker in enumerate(report.speakers):
                    speaker.count_frame(start_s, end_s, self._lanes.outcome_for(position, frame.reasons))
                progress.advance(1)

    def _shown(self) -> Iterator[TimelineFrame]:
        """Put the video on the output's timeline."""
        values, fps, end_s = self._values, self._values[FPS], self._original_end_s
        until_s = self._sound.duration_s + (LIVE_TAIL_FRAMES / float(self._rate) if values[LIVE_WINDOWS] else 0.0)
        shown = timeline(self._video, until_s, values[IF_AUDIO_LONGER], values[IF_AUDIO_SHORTER])
        if fps is not None:
            shown = at_rate(shown, fps)
        return shown if end_s is None else stop_as_original(shown, end_s, values[IF_AUDIO_SHORTER])

    def _is_behind_end(self, frame: TimelineFrame) -> bool:
        """Return whether a frame is only there for the faces before it, which a stream smooths without an end."""
        if not self._values[LIVE_WINDOWS] or self._original_end_s is not None:
            return False
        is_repeated = frame.repeated or self._values[IF_AUDIO_SHORTER] == "cut"
        return is_repeated and frame.time_s >= self._sound.duration_s and frame.time_s > 0

    @property
    def _original_end_s(self) -> float | None:
        """When the original shows its last frame, in seconds; None if its length was not chosen."""
        end_s = self.options.pipeline.original_end_s
        if end_s is None or ORIGINAL not in (self._values[IF_AUDIO_LONGER], self._values[IF_AUDIO_SHORTER]):
            return None
        return end_s(self._sound.duration_s)

    @property
    def _rate(self) -> Fraction:
        """Frames per second of the output."""
        return self._values[FPS] or self._video.rate
