"""Runs one job from files to file: open, scan, lip-sync, write, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

from client.chunks import Synchroniser, chunk_frames
from client.errors import MediaError, NoFaceError, UsageError, ref
from client.job_options import JobOptions
from client.media import (
    ORIGINAL,
    AudioSource,
    TimelineFrame,
    VideoSource,
    VideoWriter,
    at_rate,
    estimate_frames,
    scan_frames,
    stop_as_original,
    timeline,
)
from client.options import CODEC, CRF, ENCODER, END, FACE, FPS, LOSSLESS, NO_METADATA, PRESET, START
from client.pipeline import JobMedia
from client.pipelines.face_options import FACE_BOX
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from client.pipelines.silence_options import IN_SILENCE
from client.pipelines.voice import VoiceActivity
from client.prepared.clip import PreparedClip
from client.prepared.known import PreparedAnalyses, PreparedFaces
from client.progress import JobProgress, SilentProgress
from client.report import Report, StageClock
from client.resume.calls import JobCalls
from client.resume.job_folder import changes_of, drop_folder, open_folder, wants_folder, work_dir
from client.resume.work_folder import WorkFolder
from client.servers.calls import TritonCalls
from client.servers.room import fitting_frames
from client.silence import layers_for
from client.system import MB
from client.tracking.finder import FaceFinder, FindsFaces, open_finder
from client.tracking.mouth_scan import scan_mouth
from lipsync_core.mouth import MouthProfile
from lipsync_core.reasons import Reason

CHANNELS = 3  # bytes per pixel of a frame on its way to the server


class Job:
    """A job with its media opened and checked; a context manager that leaves no file unless a run finished."""

    def __init__(self, options: JobOptions) -> None:
        """Open and check the media, so that bad input is reported before any server starts.

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
        self._prepared = None if options.prepared is None else PreparedClip(options.prepared)
        if self._prepared is not None:
            self._prepared.check_video()
        self._video = VideoSource(options.video, values[START], values[END])
        self._audio = AudioSource(options.audio, options.output, self._video.speech_delay_s)
        self._chunk_frames = chunk_frames(self._video.frame_bytes)
        try:
            self._writer = self._open_writer()
        except BaseException:
            self._audio.close()
            raise

    def __enter__(self) -> Job:
        """Return the job itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what an unfinished run wrote, except the work folder, which the next run continues from."""
        self._writer.abort()
        self._audio.close()
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
            LipSyncError: anything else that keeps the output from being complete. In every case nothing is left
                under the output's name, and what was there before stays.
        """
        progress = progress or SilentProgress()
        started = time.perf_counter()
        report = self._new_report(connection, server_start_s)
        calls = self._open_calls(connection, progress, report)
        finder = self._finder(calls)
        progress.stage("scanning the clip")
        voice = VoiceActivity(calls, self._audio)
        synchroniser = Synchroniser(
            triton=calls,
            layers=layers_for(self.options.pipeline, self._job_media(calls), voice),
            finder=finder,
            choice=self._values[FACE],
            frame_bytes=self._video.frame_bytes,
            window_frames=self._chunk_frames,
            clock=self._clock,
        )
        progress.stage("lip-syncing", self._estimate_frames())
        self._write_frames(synchroniser, progress, report)
        self._check_result(report, voice)
        with self._clock.time("encode"):
            self._writer.close()
        self._drop_folder(report)
        report.warnings += [*self._warnings, *self._video.warnings, *self._audio.warnings, *self._writer.warnings]
        report.requests, report.requests_reused = calls.request_count, calls.reused_count
        report.finish(time.perf_counter() - started, self._clock)
        return report

    def _open_writer(self) -> VideoWriter:
        values = self._values
        return VideoWriter(
            self.options.output,
            self._video,
            self._audio,
            codec=values[CODEC],
            crf=values[CRF],
            preset=values[PRESET],
            lossless=values[LOSSLESS],
            encoder=values[ENCODER],
            metadata=not values[NO_METADATA],
            cut_audio=values[IF_AUDIO_LONGER] == "cut",
            rate=values[FPS],
        )

    def _open_calls(self, connection: TritonCalls, progress: JobProgress, report: Report) -> JobCalls:
        if wants_folder(self.options):
            progress.stage("reading the inputs")
            self._folder = folder = open_folder(self.options, connection)
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
            server_start_s=server_start_s,
        )

    def _estimate_frames(self) -> int:
        values, fps = self._values, self._values[FPS]
        lengths = values[IF_AUDIO_LONGER], values[IF_AUDIO_SHORTER]
        own = estimate_frames(self._video, self._audio.duration, *lengths, self._original_end_s or 0.0)
        return own if fps is None else round(own * fps / self._video.rate)

    def _finder(self, connection: TritonCalls) -> FindsFaces:
        box = self._values[FACE_BOX]
        if self._prepared is not None and box is None:
            return PreparedFaces(self._prepared)
        return open_finder(connection, self._clock, self.options.detector, box)

    def _job_media(self, connection: TritonCalls) -> JobMedia:
        media = JobMedia(
            connection, self._values, self._audio, float(self._rate), lambda: self._mouth_profile(connection)
        )
        if self._prepared is None or not self._prepared.manifest.analysed:
            return media
        return replace(media, known_faces=PreparedAnalyses(self._prepared))

    def _mouth_profile(self, connection: TritonCalls) -> MouthProfile | None:
        if self._prepared is not None:
            return self._prepared.mouth_profile()
        values, finder = self._values, FaceFinder(connection, self._clock)
        sampled = self._clock.time_items("scan", scan_frames(self.options.video, values[START], values[END]))
        return scan_mouth(connection, finder, sampled, values[FACE], self._chunk_frames)

    def _write_frames(self, synchroniser: Synchroniser, progress: JobProgress, report: Report) -> None:
        clock = self._clock
        with closing(synchroniser.sync(self._shown())) as synced:
            for frame in synced:
                with clock.time("encode"):
                    self._writer.write(frame.picture, frame.shown.pts, frame.shown.duration)
                end_s = frame.shown.time_s + frame.shown.duration_s
                report.count_frame(frame.shown.time_s, end_s, frame.reason)
                progress.advance(1)

    def _check_result(self, report: Report, voice: VoiceActivity) -> None:
        """Check that the job did something.

        Without speech, unless the model is to draw then too, unchanged frames are right, and a warning says why.

        Raises:
            NoFaceError: no frame was changed although there is speech.
        """
        is_silent = self._values[IN_SILENCE] != "model" and not voice.found_speech
        if not report.frames_synced and not (is_silent and Reason.SILENCE.key in report.unchanged):
            raise self._nothing_changed(report)
        if is_silent:
            report.warnings.append(self._no_speech())

    def _shown(self) -> Iterator[TimelineFrame]:
        """Put the video on the output's timeline."""
        values, fps, end_s = self._values, self._values[FPS], self._original_end_s
        shown = timeline(self._video, self._audio.duration, values[IF_AUDIO_LONGER], values[IF_AUDIO_SHORTER])
        if fps is not None:
            shown = at_rate(shown, fps)
        return shown if end_s is None else stop_as_original(shown, end_s, values[IF_AUDIO_SHORTER])

    @property
    def _original_end_s(self) -> float | None:
        """When the original shows its last frame, in seconds; None if its length was not chosen."""
        end_s = self.options.pipeline.original_end_s
        if end_s is None or ORIGINAL not in (self._values[IF_AUDIO_LONGER], self._values[IF_AUDIO_SHORTER]):
            return None
        return end_s(self._audio.duration)

    def _nothing_changed(self, report: Report) -> NoFaceError:
        if list(report.unchanged) == [Reason.NO_FACE.key]:
            statement = f"no usable face in any of {report.frames} frames"
            advice = f"Check that a face is at least 64 pixels high, or choose another one with {ref(FACE.name)}"
        else:
            statement = f"nothing could be changed in {report.frames} frames: {report.reasons()}"
            advice = "Check that the mouth is in the picture, uncovered, and turned towards the camera"
        return NoFaceError(statement, about=self.options.video, advice=advice)

    def _no_speech(self) -> str:
        return (
            f"{self._audio.path.name}: no speech was found, so that the mouth does not move; for singing, set"
            f" {ref(IN_SILENCE.name)} to model"
        )

    @property
    def _rate(self) -> Fraction:
        """Frames per second of the output."""
        return self._values[FPS] or self._video.rate
