"""Draws one stream: a clip's frames, in order, with the mouth that the speech heard so far gives them.

It is made of the parts that jobs are made of, so that a stream and a job with the option `live_windows` give the same
frames. It knows no clock: its caller says when the next frames are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from client.errors import UsageError
from client.lanes.lane import Lane
from client.lanes.stage import DrawnFrame, LaneStage
from client.lanes.synchroniser import Synchroniser
from client.live.clips import HeldClip
from client.live.idle import idle_key
from client.live.voice import GrowingVoice
from client.media import Picture, TimelineFrame, at_rate
from client.option import Option, OptionValues
from client.options import FACE, FPS, MODEL, OPTIONS, live_pipelines, names_of
from client.pipeline import JobMedia, LiveWindows, Pipeline
from client.pipelines import pipeline_named
from client.pipelines.face_options import FACE_BOX
from client.pipelines.heard_speech import HeardVoice, heard_until
from client.pipelines.silence_options import IN_SILENCE
from client.prepared.clip import PreparedClip
from client.prepared.known import PreparedAnalyses, PreparedFaces
from client.prepared.options import values_for
from client.provenance.mark.embed import Marker
from client.provenance.options import MARK, is_marking
from client.report import StageClock
from client.servers.calls import TritonCalls
from client.silence import layers_for, silence_models
from client.tracking.finder import FixedFace, FoundFrame
from lipsync_core.reasons import Reason

COMMON_OPTIONS: tuple[Option[Any], ...] = (MODEL, FPS, IN_SILENCE, MARK)


def live_values(clip: PreparedClip, given: Mapping[str, object]) -> OptionValues:
    """Return the options of a stream.

    Args:
        clip: the prepared clip.
        given: options by their names, as texts or JSON values.

    Raises:
        MediaError: the clip was prepared with options that are not known here.
        UsageError: an option cannot be used, is no option of streams, or the clip's pipeline cannot draw live.
    """
    values = values_for(clip, given)
    pipeline = pipeline_named(values[MODEL])
    if pipeline.live is None:
        raise UsageError(
            option=MODEL.name,
            expected=f"a clip prepared for {names_of(live_pipelines())}",
            got=f"one for {pipeline.name}, which must hear the whole speech",
            advice="Prepare it for another one",
        )
    known = {option.name for option in (*COMMON_OPTIONS, *pipeline.options)} | set(clip.manifest.options)
    for name in given:
        if name not in known:
            raise UsageError(
                option=name, expected="an option of live output", got="one of jobs alone", advice="Leave it out"
            )
    return values


def live_options() -> tuple[Option[Any], ...]:
    """Return the options that streams may choose, in the order of the table; some belong to a pipeline."""
    of_pipelines = {option for pipeline in live_pipelines() for option in pipeline.options}
    kept = {option for pipeline in live_pipelines() for option in pipeline.clip_options}
    known = (of_pipelines - kept) | set(COMMON_OPTIONS) - {MODEL}
    return tuple(option for option in OPTIONS if option in known)


def live_models(values: OptionValues) -> tuple[str, ...]:
    """Return the models on the server that a stream calls."""
    pipeline = pipeline_named(values[MODEL])
    return (*pipeline.models, *silence_models(values[IN_SILENCE], pipeline))


class LiveEngine:
    """Draws the frames of one stream.

    Attributes:
        voice: the speech, to which the caller adds.
        live: how much of it is heard for a frame.
        size: width and height of the pictures, in pixels.
        video_fps: frames per second; the average where the rate varies.
        color_tags: tags of the clip's colours.
    """

    def __init__(self, triton: TritonCalls, clip: HeldClip, values: OptionValues, voice: GrowingVoice) -> None:
        """Take what `live_values` returned for the clip.

        Raises:
            RequestRejected: the server lacks a model.
            UsageError: options exclude each other.
        """
        pipeline: Pipeline = pipeline_named(values[MODEL])
        assert pipeline.live is not None
        self.voice = voice
        self.live: LiveWindows = pipeline.live
        self.size = clip.size
        self.color_tags = clip.color_tags
        self.video_fps = float(values[FPS] or clip.video_fps)
        self._heard = HeardVoice(triton, voice, pipeline.live)
        self._idle = clip.idle
        self._kind = repr(sorted(values.as_json(OPTIONS).items()))
        self._closes = values[IN_SILENCE] == "close"
        self._marker = Marker() if is_marking(values) else None
        lane = self._open_lane(triton, clip, values, pipeline)
        self._stage = LaneStage(triton, lane, 0, pipeline.live.chunk_frames, StageClock())
        self._frames = self._follow(triton, clip, values, lane)

    def next_frames(self) -> list[DrawnFrame]:
        """Return the next frames, not yet drawn."""
        return list(islice(self._frames, self.live.chunk_frames))

    def needed(self, frames: Sequence[DrawnFrame]) -> int:
        """Return how many samples of speech at 16 kHz must be there to draw some frames."""
        return heard_until(frames[-1].shown.middle_s, self.live)

    @property
    def hears_ahead_s(self) -> float:
        """How much of the speech behind the last drawn frame must be there before the next ones are drawn."""
        return self.live.look_ahead_s + self.live.chunk_frames / self.video_fps

    def draw(self, frames: Sequence[DrawnFrame]) -> list[DrawnFrame]:
        """Draw frames; called in their order, and again for the same ones after an interruption."""
        if self._closes and not self.speaks(frames):
            return [self._draw_idle(frame) for frame in frames]
        batch = list(frames)
        return self._stage.draw(batch, self._stage.prepare(batch))

    def speaks(self, frames: Sequence[DrawnFrame]) -> bool:
        """Return whether the mouth follows the speech in any of some frames."""
        return any(self._heard.at(_middles([frame])).any() for frame in frames)

    def hush(self, time_s: float) -> None:
        """Close the mouth at a time, in seconds, from which on the speech was cut."""
        self._heard.hush(time_s)

    def treat(self, frame: DrawnFrame, number: int) -> Picture:
        """Return a frame's picture as it is shown, marked where that is asked for; `number` counts the frames."""
        if self._marker is None or frame.reason is not Reason.CHANGED:
            return frame.picture
        marked = frame.picture.copy()
        self._marker.mark(frame.shown.picture, marked, number)
        return marked

    @property
    def is_marked(self) -> bool:
        """Whether changed pictures carry the mark."""
        return self._marker is not None

    def _draw_idle(self, frame: DrawnFrame) -> DrawnFrame:
        """Draw a frame with a closed mouth, which depends on the frame alone."""
        chunk = self._stage.prepare([frame])
        key = idle_key(self._kind, frame, [chunk])
        known = self._idle.find(key)
        if known is None:
            (known,) = self._stage.draw([frame], chunk)
            self._idle.keep(key, replace(known, seen=()))
        return replace(frame, picture=known.picture, reasons=known.reasons, regions=known.regions)

    def _open_lane(self, triton: TritonCalls, clip: HeldClip, values: OptionValues, pipeline: Pipeline) -> Lane:
        media = JobMedia(
            triton,
            values,
            self.voice,
            self.video_fps,
            clip.mouth_profile,
            known_faces=PreparedAnalyses(clip) if clip.manifest.analysed else None,
            live=pipeline.live,
        )
        return Lane(0, values[FACE], layers_for(pipeline, media, self._heard))

    def _follow(self, triton: TritonCalls, clip: HeldClip, values: OptionValues, lane: Lane) -> Iterator[DrawnFrame]:
        box = values[FACE_BOX]
        finder = PreparedFaces(clip) if box is None else FixedFace(np.array(box, np.float32))
        rate = values[FPS]
        shown = clip.frames() if rate is None else at_rate(clip.frames(), rate)
        synchroniser = Synchroniser(triton, [lane], finder, 0, self.live.chunk_frames, StageClock())
        return synchroniser.follow(_found(finder, shown))


def _found(finder: PreparedFaces | FixedFace, shown: Iterator[TimelineFrame]) -> Iterator[FoundFrame[TimelineFrame]]:
    for frame in shown:
        yield from finder.find([frame])


def _middles(frames: Sequence[DrawnFrame]) -> np.ndarray:
    return np.array([frame.shown.middle_s for frame in frames])
