"""Makes the generators of a job's lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from client.lanes.lane import Lane, LanePlan, LinkKey, times_of
from client.lanes.times import LaneTimes
from client.media import SpeechSource
from client.options import MODEL
from client.pipeline import JobMedia, KnownFaces
from client.pipelines import pipeline_named
from client.pipelines.heard_speech import HeardVoice
from client.pipelines.live_options import LIVE_WINDOWS
from client.pipelines.voice import TellsSpeech, VoiceActivity
from client.scene.scene import Scene
from client.servers.calls import TritonCalls
from client.silence import layers_for
from lipsync_core.mouth import MouthProfile

ProfileOf = Callable[[LinkKey], MouthProfile | None]


@dataclass(frozen=True, eq=False)
class LaneOpener:
    """Makes lanes of plans; lanes with one voice share what is known of it.

    Attributes:
        triton: the server or servers of the job.
        voices: the voice of each speaker.
        video_fps: frames per second of the output; the average where the rate varies.
        profile_of: learns the mouth of a face from samples of the clip.
        known_faces: what a prepared clip knows of its faces; None for other videos.
    """

    triton: TritonCalls
    voices: Sequence[SpeechSource]
    video_fps: float
    profile_of: ProfileOf
    known_faces: KnownFaces | None = None
    _heard: list[HeardVoice] = field(default_factory=list, init=False)

    @cached_property
    def _activities(self) -> dict[SpeechSource, VoiceActivity]:
        """When somebody speaks in each voice."""
        return {voice: VoiceActivity(self.triton, voice) for voice in self.voices}

    @property
    def found_speech(self) -> bool:
        """Whether there was any speech, as far as it was asked for."""
        heard = any(voice.found_speech for voice in self._heard)
        return heard or any(activity.found_speech for activity in self._activities.values())

    def activity_of(self, voice: SpeechSource) -> VoiceActivity:
        """Return when somebody speaks in a voice."""
        return self._activities[voice]

    def open(self, scene: Scene, plans: Sequence[LanePlan]) -> list[Lane]:
        """Make the lanes.

        Raises:
            MediaError: a voice is too short for its pipeline.
            RequestRejected: the server lacks a model.
        """
        return [self._open(plan, times_of(plan, scene, plans)) for plan in plans]

    def _open(self, plan: LanePlan, times: LaneTimes) -> Lane:
        voice, pipeline = self.voices[plan.speaker], pipeline_named(plan.values[MODEL])
        media = JobMedia(
            self.triton,
            plan.values,
            voice,
            self.video_fps,
            lambda: self.profile_of(plan.link),
            known_faces=self.known_faces,
            live=pipeline.live if plan.values[LIVE_WINDOWS] else None,
        )
        layers = layers_for(pipeline, media, self._voice_for(media))
        return Lane(plan.speaker, plan.face, layers, times)

    def _voice_for(self, media: JobMedia) -> TellsSpeech:
        if media.live is None:
            return self._activities[media.audio]
        heard = HeardVoice(self.triton, media.audio, media.live)
        self._heard.append(heard)
        return heard
