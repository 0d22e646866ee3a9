"""Opens the lanes of one job: finds the faces of those who speak where that is asked for, and makes the generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from client.active.remembered import RememberedFaces
from client.active.speaking import Speaking
from client.job_options import JobOptions
from client.lanes.auto import find_auto_faces, is_auto, wanted_links
from client.lanes.lane import Lane, LanePlan, LinkKey, plan_lanes
from client.lanes.opening import LaneOpener
from client.lanes.stage import outcome
from client.media import AudioSource, VideoSource, scan_frames
from client.options import END, FPS, START
from client.pipelines.face_options import FACE_BOX
from client.pipelines.voice import VOICE_MODEL, VoiceActivity
from client.prepared.clip import PreparedClip
from client.prepared.known import PreparedAnalyses, PreparedFaces
from client.progress import JobProgress
from client.report import StageClock
from client.scene.options import SPEAKING
from client.servers.calls import TritonCalls
from client.tracking.consecutive import open_finder
from client.tracking.finder import FindsFaces, FixedFace, needs_every_face
from client.tracking.mouth_scan import MouthProfiles
from lipsync_core.mouth import MouthProfile
from lipsync_core.reasons import Reason


@dataclass(eq=False)
class JobLanes:
    """The lanes of a job, from their plans to their generators.

    Attributes:
        options: the job.
        video: its video.
        voices: the voice of each speaker.
        prepared: what is known of the video; None if it was not prepared.
        clock: measures how long each step takes.
        plans: the lanes; once they are open, each with a known face.
        warnings: what the user should know, one sentence each.
        speaking: what told who speaks, once the lanes are open; None if nobody asked, or that was not found out.
    """

    options: JobOptions
    video: VideoSource
    voices: Sequence[AudioSource]
    prepared: PreparedClip | None
    clock: StageClock
    plans: list[LanePlan] = field(init=False)
    warnings: list[str] = field(default_factory=list)
    speaking: Speaking | None = field(default=None, init=False)
    _opener: LaneOpener | None = field(default=None, init=False)
    _remembered: RememberedFaces | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Plan the lanes."""
        self.plans = plan_lanes(self.options.scene, self.options.values)

    @property
    def found_speech(self) -> bool:
        """Whether there was any speech, as far as it was asked for."""
        return self._opener is not None and self._opener.found_speech

    def activity_of(self, speaker: int) -> VoiceActivity | None:
        """Return when a speaker speaks, once the lanes are open; None if the job's models do not tell."""
        if self._opener is None or VOICE_MODEL not in self.options.needed_models:
            return None
        return self._opener.activity_of(self.voices[speaker])

    def open(self, calls: TritonCalls, progress: JobProgress, window_frames: int) -> tuple[list[Lane], FindsFaces]:
        """Make the lanes, and what finds the faces for them.

        Raises:
            LipSyncError: the video or a voice cannot be used, or the server fails.
        """
        finder = self._find_speakers(calls, progress, window_frames) or self._finder(calls)
        progress.stage("scanning the clip")
        known = self.prepared is not None and self.prepared.manifest.analysed
        self._opener = LaneOpener(
            calls,
            self.voices,
            float(self.options.values[FPS] or self.video.rate),
            self._profiles(calls, window_frames),
            PreparedAnalyses(self.prepared) if self.prepared is not None and known else None,
        )
        return self._opener.open(self.options.scene, self.plans), finder

    def outcome_for(self, speaker: int, reasons: Sequence[Reason]) -> Reason:
        """Return what became of a speaker's mouth in a frame, of what became of the lanes'; a narrator has none."""
        own = [reason for plan, reason in zip(self.plans, reasons, strict=True) if plan.speaker == speaker]
        return outcome(own) if own else Reason.NO_FACE

    def close(self) -> None:
        """Remove temporary files; safe to call again."""
        if self._remembered is not None:
            self._remembered.close()

    def _find_speakers(self, calls: TritonCalls, progress: JobProgress, window_frames: int) -> RememberedFaces | None:
        """Give lanes whose face is auto the faces of those who speak; None if there is no such lane."""
        finder = self._finder(calls)
        if not any(map(is_auto, self.plans)) or isinstance(finder, (FixedFace, PreparedFaces)):
            return None
        found = find_auto_faces(
            calls,
            finder,
            self.video,
            self.options.scene,
            self.plans,
            self.voices,
            window_frames=window_frames,
            progress=progress,
            speaking=self.options.values[SPEAKING],
        )
        self.speaking = found.active.speaking
        self.plans, self._remembered = found.plans, found.active.remembered
        self.warnings += found.active.warnings
        return self._remembered

    def _finder(self, calls: TritonCalls) -> FindsFaces:
        box = self.options.values[FACE_BOX]
        if self.prepared is not None and box is None:
            return PreparedFaces(self.prepared)
        every_face = needs_every_face(plan.face for plan in self.plans)
        return open_finder(calls, self.clock, self.options.detector, box, every_face=every_face)

    def _profiles(self, calls: TritonCalls, window_frames: int) -> Callable[[LinkKey], MouthProfile | None]:
        prepared, values = self.prepared, self.options.values
        if prepared is not None:
            return lambda _: prepared.mouth_profile()
        sampled = self.clock.time_items("scan", scan_frames(self.options.video, values[START], values[END]))
        faces = {plan.link: plan.face for plan in self.plans}
        wanted = wanted_links(self.options.scene, self.plans, list(faces), self.video)
        return MouthProfiles(calls, self.clock, sampled, faces, window_frames, wanted).of
