"""One job from files to file: open, scan, lip-sync, write, report. The command line and other programs call it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from client.chunks import IN_FLIGHT, LipGenerator, Synchroniser, chunk_frames, region_around, sync_frames
from client.errors import MediaError, NoFaceError, UsageError
from client.flow import batched, ordered_map
from client.media import (
    DEFAULT_CRF,
    DEFAULT_PRESET,
    AudioSource,
    IfAudioLonger,
    IfAudioShorter,
    VideoCodec,
    VideoSource,
    VideoWriter,
    at_rate,
    estimate_frames,
    scan_frames,
    timeline,
)
from client.pipelines.latentsync import LatentSync
from client.pipelines.mouth_motion import MouthMotion, face_extent, moved
from client.pipelines.speech import FEATURES_MODEL
from client.pipelines.wav2lip import DEFAULT_PADS, Blend, Wav2Lip, Wav2LipOptions
from client.progress import JobProgress, SilentProgress
from client.report import Report, StageClock
from client.resume.calls import JobCalls
from client.resume.job_folder import drop_folder, open_folder, wants_folder, work_dir
from client.resume.work_folder import WorkFolder
from client.servers.calls import TritonCalls
from client.tracking.faces import LARGEST, FaceChoice
from client.tracking.finder import MEDIAPIPE, S3FD, Detector, FaceFinder, FixedFace
from lipsync_core.latentsync.options import DiffusionOptions
from lipsync_core.wav2lip.boxes import Pads

Model = Literal["mouth-motion", "wav2lip", "latentsync"]
DetectorName = Literal["mediapipe", "s3fd"]
MODELS: Mapping[Model, tuple[str, ...]] = {
    "mouth-motion": (MouthMotion.model,),
    "wav2lip": (Wav2Lip.model,),
    "latentsync": (LatentSync.model, FEATURES_MODEL),
}
DETECTORS: Mapping[DetectorName, Detector] = {"mediapipe": MEDIAPIPE, "s3fd": S3FD}
DEFAULT_DIFFUSION = DiffusionOptions()


def new_job_id() -> str:
    """Draw a name for a job, which its requests bear in the logs."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class JobOptions:
    """What to do; every field but the files has the default of the command line.

    Attributes:
        resume: whether finished chunks are kept on disk until the job is complete, and taken from there. None for
            latentsync and where an earlier run left some.
        work_dir: the folder that they are kept in; a hidden one beside the output if absent.
        job_id: what requests and logs call the job.
    """

    video: Path
    audio: Path
    output: Path
    model: Model = "mouth-motion"
    face: FaceChoice = LARGEST
    detector: DetectorName = "mediapipe"
    face_box: tuple[float, float, float, float] | None = None
    pads: Pads = DEFAULT_PADS
    blend: Blend = "soft"
    diffusion: DiffusionOptions = DEFAULT_DIFFUSION
    resolution: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    fps: Fraction | None = None
    if_audio_longer: IfAudioLonger = "bounce"
    if_audio_shorter: IfAudioShorter = "keep"
    codec: VideoCodec = "auto"
    crf: int = DEFAULT_CRF
    preset: str = DEFAULT_PRESET
    lossless: bool = False
    resume: bool | None = None
    work_dir: Path | None = None
    job_id: str = field(default_factory=new_job_id)

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: it does not.
        """
        boxes_only = self.face_box is not None or self.detector == "s3fd"
        if self.model != "wav2lip" and boxes_only:
            raise UsageError(
                f"--model {self.model}: expected the mediapipe detector, which finds landmarks, got a box only."
                " Leave --face-box and --detector out, or choose --model wav2lip"
            )

    @property
    def needed_models(self) -> tuple[str, ...]:
        """Names of the server's models that the job calls."""
        detector = () if self.face_box is not None else (DETECTORS[self.detector].model,)
        return (*detector, *MODELS[self.model])


class Job:
    """A job whose media are opened and checked, as a context: leaving it without a finished run leaves no file."""

    def __init__(self, options: JobOptions) -> None:
        """Open and check the media, so that bad input is reported before any server starts.

        Raises:
            MediaError: the video or the audio cannot be used.
            OutputError: the output cannot be written.
            UsageError: an option's value does not fit the video or the output.
        """
        self.options = options
        self._clock = StageClock()
        self._folder: WorkFolder | None = None
        self._video = VideoSource(options.video, options.start_s, options.end_s)
        self._audio = AudioSource(options.audio, options.output)
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
        """Remove what an unfinished run wrote; what its work folder keeps is for the next one."""
        self._writer.abort()
        self._audio.close()
        if self._folder is not None:
            if isinstance(error, (NoFaceError, MediaError, UsageError)):
                self._folder.remove()  # the next run would end alike
            elif error is not None and len(self._folder):
                error.add_note(f"finished parts are kept in {self._folder.path}: run the same command to go on")
            self._folder.close()

    def run(
        self, connection: TritonCalls, progress: JobProgress | None = None, server_start_s: float | None = None
    ) -> Report:
        """Do the job through a server, or several.

        Raises:
            NoFaceError: no frame has a usable face.
            LipSyncError: anything else that keeps the output from being complete. In every case nothing is left
                under the output's name, and what was there before stays.
        """
        progress = progress or SilentProgress()
        started = time.perf_counter()
        report = self._new_report(connection, server_start_s)
        calls = self._open_calls(connection, progress, report)
        finder = self._finder(calls)
        progress.stage("looking at the clip")
        generator = self._generator(calls)
        progress.stage("lip-syncing", self._estimate_frames())
        self._write(finder, generator, calls, progress, report)
        self._drop_folder(report)
        report.warnings += [*self._video.warnings, *self._audio.warnings, *self._writer.warnings]
        report.requests, report.requests_reused = calls.request_count, calls.reused_count
        report.finish(time.perf_counter() - started, self._clock)
        return report

    def _open_writer(self) -> VideoWriter:
        options = self.options
        return VideoWriter(
            options.output,
            self._video,
            self._audio,
            codec=options.codec,
            crf=options.crf,
            preset=options.preset,
            lossless=options.lossless,
            cut_audio=options.if_audio_longer == "cut",
            rate=options.fps,
        )

    def _open_calls(self, connection: TritonCalls, progress: JobProgress, report: Report) -> JobCalls:
        if wants_folder(self.options):
            progress.stage("reading the inputs")
            self._folder = folder = open_folder(self.options, connection)
            if folder.changed:
                news = f"started anew: other {', '.join(folder.changed)} than in the unfinished job"
                report.warnings.append(f"{folder.path}: {news}")
                progress.stage(news)
            elif len(folder):
                progress.stage(f"going on with an unfinished job: {len(folder)} finished parts")
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
            model=self.options.model,
            transport=connection.transport,
            width=self._video.width,
            height=self._video.height,
            video_fps=round(float(self._video.rate), 3),
            server_start_s=server_start_s,
        )

    def _estimate_frames(self) -> int:
        options = self.options
        own = estimate_frames(self._video, self._audio.duration, options.if_audio_longer, options.if_audio_shorter)
        return own if options.fps is None else round(own * options.fps / self._video.rate)

    def _finder(self, connection: TritonCalls) -> FaceFinder | FixedFace:
        if self.options.face_box is not None:
            return FixedFace(np.array(self.options.face_box, np.float32))
        return FaceFinder(connection, self._clock, DETECTORS[self.options.detector])

    def _generator(self, connection: TritonCalls) -> LipGenerator:
        options = self.options
        if options.model == "wav2lip":
            wav2lip = Wav2LipOptions(options.pads, options.face_box is not None, options.blend)
            return Wav2Lip(self._audio, float(self._rate), wav2lip)
        if options.model == "latentsync":
            return LatentSync(connection, self._audio, float(self._rate), options.diffusion, options.resolution)
        with closing(self._scan(connection)) as scanned:
            return MouthMotion(connection, self._audio, scanned)

    def _scan(self, connection: TritonCalls) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Sample frames of the clip that show the chosen face: its surroundings, and its landmarks in them."""
        options, finder = self.options, FaceFinder(connection, self._clock)
        sampled = scan_frames(options.video, options.start_s, options.end_s)
        windows = batched(self._clock.time_items("scan", sampled), self._chunk_frames)
        with closing(ordered_map(finder.find, windows, IN_FLIGHT, connection.cancel)) as looked_at:
            for found in chain.from_iterable(looked_at):
                position = options.face.pick(found.faces)
                landmarks = None if position is None else found.faces[position].landmarks
                if landmarks is None:
                    continue
                region = region_around(face_extent(landmarks[None]), found.frame.picture)
                if region is not None:
                    yield found.frame.picture.rgb(region), moved(landmarks, region)

    def _write(
        self,
        finder: FaceFinder | FixedFace,
        generator: LipGenerator,
        connection: TritonCalls,
        progress: JobProgress,
        report: Report,
    ) -> None:
        options, clock = self.options, self._clock
        shown = timeline(self._video, self._audio.duration, options.if_audio_longer, options.if_audio_shorter)
        if options.fps is not None:
            shown = at_rate(shown, options.fps)
        synchroniser, frame_bytes = Synchroniser(connection, generator, clock), self._video.frame_bytes
        synced = sync_frames(
            shown, finder, options.face, generator, synchroniser, self._chunk_frames, frame_bytes, clock
        )
        with closing(synced):
            for frame in synced:
                with clock.time("encode"):
                    self._writer.write(frame.picture, frame.shown.pts, frame.shown.duration)
                end_s = frame.shown.time_s + frame.shown.duration_s
                report.count_frame(frame.shown.time_s, end_s, synced=frame.synced)
                progress.advance(1)
        if not report.frames_synced:
            raise NoFaceError(
                f"{options.video}: no usable face in any of {report.frames} frames."
                " Check that a face is at least 64 pixels high, or choose another with --face"
            )
        with clock.time("encode"):
            self._writer.close()

    @property
    def _rate(self) -> Fraction:
        """Frames per second of the output."""
        return self.options.fps or self._video.rate

    @property
    def _chunk_frames(self) -> int:
        return chunk_frames(self._video.frame_bytes)
