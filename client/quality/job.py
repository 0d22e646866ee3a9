"""A job's check: opens it as the options ask, and says where the lips are to be drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.errors import RequestRejected, UsageError
from client.job_lanes import JobLanes
from client.lanes.lane import Lane
from client.lanes.stage import DrawnFrame
from client.media import AudioSource
from client.option import OptionValues
from client.quality.alignment import read_alignment
from client.quality.check import Activity, QualityCheck, SpokenVoice
from client.quality.closures import closures_of
from client.quality.guard import Guard
from client.quality.options import ALIGNMENT, FIX_OFFSET, check_of
from client.quality.report import QualityReport
from client.report import Report
from client.servers.calls import TritonCalls
from client.sound.voices import VoicePlan
from client.syncnet.quality import SyncMeter
from client.syncnet.towers import towers_of
from client.tracking.finder import MEDIAPIPE

END_SLACK_S = 1.0  # by which an alignment may outlast its speech


class LipsOffError(Exception):
    """The lips of a result move too early or too late, and it is to be made again; caught by `run_corrected`.

    Attributes:
        quality: what the check found; its `audio_offset_s` is known.
        seconds: time that the run took.
    """

    def __init__(self, quality: QualityReport) -> None:
        """Take what was found."""
        super().__init__(f"the lips are {quality.audio_offset_s} s late")
        self.quality = quality
        self.seconds = 0.0


class JobCheck:
    """Checks one run of a job."""

    def __init__(self, values: OptionValues, ahead_s: float) -> None:
        """Take the options.

        Args:
            values: the options of the job.
            ahead_s: how much earlier than usual its lips are drawn, in seconds.

        Raises:
            UsageError: the alignment cannot be used.
        """
        self._fixes = values[FIX_OFFSET]
        self._how = check_of(values)
        self._ahead_s = ahead_s
        path = values[ALIGNMENT]
        self._phones = None if path is None else read_alignment(path)
        self._closures: list[np.ndarray] | None = None
        self._guard = Guard()
        self._is_open = False
        self._check: QualityCheck | None = None

    def hear(self, plans: Sequence[VoicePlan], voices: Sequence[AudioSource]) -> None:
        """Find out where the result has closures, if there is an alignment.

        Args:
            plans: how the voices are made of their recordings, in the order of the speakers.
            voices: the voices.

        Raises:
            UsageError: the alignment goes on behind the end of the speech.
        """
        if self._phones is None:
            return
        end_s = self._phones[-1].end_s
        for plan, voice in zip(plans, voices, strict=True):
            if plan.heard_at(np.array(end_s)) > voice.duration + END_SLACK_S:
                raise UsageError(
                    option=ALIGNMENT.name,
                    expected=f"phones of {plan.path.name}, which is heard until {voice.duration:.2f} s",
                    got=f"one that ends at {end_s:g} s",
                    advice="Check that the file belongs to the speech, and that its times are seconds",
                )
        closures = closures_of(self._phones)
        heard = [plan.heard_at(closures) for plan in plans]
        self._closures = [spans[np.isfinite(spans).all(axis=1)] for spans in heard]

    def open(
        self,
        triton: TritonCalls,
        lanes: Sequence[Lane],
        voices: Sequence[AudioSource],
        *,
        total: int,
        rate: float,
        most_at_once: int,
    ) -> None:
        """Choose the frames; see `QualityCheck`. `voices` are those that are heard, in the order of the speakers."""
        if self._how == "off" or not lanes:
            return
        self._is_open = True
        with self._guard.step():
            if not triton.serves(MEDIAPIPE.model):  # a request would wait for lost servers
                raise RequestRejected(about=MEDIAPIPE.model, expected="a model that is served", got="none")
            towers = towers_of(triton) if self._how == "full" else None
            sync = None if towers is None else SyncMeter(towers, voices)
            guard, closures = self._guard, self._closures
            self._check = QualityCheck(self._how, triton, lanes, total, rate, most_at_once, guard, sync, closures)

    def see(self, frame: DrawnFrame) -> None:
        """Take a frame as it goes to the encoder."""
        if self._check is not None:
            self._check.see(frame)

    def finish(self, report: Report, voices: Sequence[AudioSource], lanes: JobLanes) -> None:
        """Report what was found.

        Raises:
            LipsOffError: the result is to be made again.
        """
        if not self._is_open:
            return
        report.quality = found = self._found(report, voices, lanes)
        if self._fixes and not self._ahead_s and found.audio_offset_s is not None:
            raise LipsOffError(found)

    def _found(self, report: Report, voices: Sequence[AudioSource], lanes: JobLanes) -> QualityReport:
        speakers: list[SpokenVoice] = []
        with self._guard.step():
            speakers += [
                SpokenVoice(speaker.name, voice, self._activity(lanes, position))
                for position, (speaker, voice) in enumerate(zip(report.speakers, voices, strict=True))
            ]
        if self._check is None:
            return QualityReport(self._how, seconds=round(self._guard.seconds, 3), failure=self._guard.failure)
        return self._check.finish(speakers, self._ahead_s)

    def _activity(self, lanes: JobLanes, speaker: int) -> Activity | None:
        """Return when a speaker speaks in the voice as it is heard, from when in the voice as lips follow it."""
        activity, ahead_s = lanes.activity_of(speaker), self._ahead_s
        if activity is None:
            return None

        def at(times_s: np.ndarray) -> np.ndarray:
            return activity.at(times_s - ahead_s)

        return at
