"""What mouths do while nobody speaks: which generators a job asks, and how much of each is shown when."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import cached_property

from client.errors import ref
from client.media import TimelineFrame
from client.pipeline import JobMedia, Layer, LipGenerator, LipRequest, Observations, Pipeline, never
from client.pipelines import DEFAULT_PIPELINE
from client.pipelines.silence_options import IN_SILENCE, InSilence
from client.pipelines.voice import VOICE_MODEL, TellsSpeech
from client.servers.calls import check_served
from client.tracking.faces import Face
from client.tracking.follow import Observation, smooth_landmarks


def silence_models(rule: InSilence, pipeline: Pipeline) -> tuple[str, ...]:
    """Return the models that a rule needs on the server beside the pipeline's own."""
    if rule == "model":
        return ()
    closing = DEFAULT_PIPELINE.models if rule == "close" and not pipeline.closes_mouths else ()
    return (VOICE_MODEL, *closing)


def layers_for(pipeline: Pipeline, media: JobMedia, voice: TellsSpeech) -> tuple[Layer, ...]:
    """Make the generators of a job.

    Args:
        pipeline: what is drawn in speech.
        media: what generators are made from; its options have the rule.
        voice: when somebody speaks.

    Raises:
        RequestRejected: the server lacks a model that the rule needs.
    """
    rule = media.options[IN_SILENCE]
    if rule == "close" and pipeline.closes_mouths:
        layers: tuple[Layer, ...] = (Layer(pipeline.make_generator(replace(media, speaking=voice.at))),)
    elif rule == "close":
        closed = Layer(ClosedMouth(media), lambda times_s: 1 - voice.at(times_s))
        layers = (Layer(pipeline.make_generator(media), voice.at), closed)
    elif rule == "keep":
        layers = (Layer(pipeline.make_generator(media), voice.at),)
    else:
        layers = (Layer(pipeline.make_generator(media)),)
    for model in silence_models(rule, pipeline):
        check_served(
            media.triton,
            model,
            f"a server with this model, for {ref(IN_SILENCE.name)}",
            f"Export and serve it too, or choose {ref(IN_SILENCE.name)} model",
        )
    return layers


class ClosedMouth:
    """The default pipeline's closed mouth, for other pipelines; it looks at the clip when the first frame needs it."""

    model = DEFAULT_PIPELINE.models[0]
    chunk_frames = None

    def __init__(self, media: JobMedia) -> None:
        """Take what the default pipeline's generator is made from."""
        self._media = replace(media, speaking=never)

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Take the jitter out of the landmarks."""
        return smooth_landmarks(observations)

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare a closed mouth in each frame."""
        return self._generator.request(frames, faces, tracks)

    @cached_property
    def _generator(self) -> LipGenerator:
        return DEFAULT_PIPELINE.make_generator(self._media)
