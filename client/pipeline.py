"""What the client knows about a pipeline: one record, and a generator that prepares its requests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from client.media import Region, SpeechSource, TimelineFrame, relative_to
from client.option import Option, OptionValues
from client.servers.calls import TritonCalls
from client.tracking.faces import Face
from client.tracking.finder import Detector
from client.tracking.follow import Observation
from lipsync_core.mouth import MouthProfile

Observations = Iterable[Observation[TimelineFrame]]
Share = Callable[[np.ndarray], np.ndarray]  # float64 [F] seconds -> float32 [F], 0 to 1


def always(times_s: np.ndarray) -> np.ndarray:
    """Return 1 at every time."""
    return np.ones(len(times_s), np.float32)


def never(times_s: np.ndarray) -> np.ndarray:
    """Return 0 at every time."""
    return np.zeros(len(times_s), np.float32)


@dataclass(frozen=True, eq=False)
class LipRequest:
    """What a generator asks the server for some frames.

    Attributes:
        extent: x1, y1, x2, y2 around the pixels that it needs, in the frames' pixels; may reach beyond the frames.
        coordinates: inputs in the frames' pixels, by name: points float32 [..., 2] or [..., 3] (x, y and depth), or
            boxes float32 [..., 4] (x1, y1, x2, y2).
        inputs: all other inputs but the frames themselves, by name.
        model: the model that is asked; None for the generator's own.
    """

    extent: tuple[float, float, float, float]
    coordinates: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    model: str | None = None

    def inputs_for(self, region: Region) -> dict[str, np.ndarray]:
        """Return all inputs but the frames, if only this region of the frames is sent."""
        moved = {name: relative_to(region, values) for name, values in self.coordinates.items()}
        return {**moved, **self.inputs}


class LipGenerator(Protocol):
    """The client's half of a pipeline: prepares what its requests carry beside the frames, in the clip's order."""

    @property
    def model(self) -> str:
        """Name of the model on the server that is called with each chunk."""

    @property
    def chunk_frames(self) -> int | None:
        """Number of frames in a chunk; None where any number gives the same result."""

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Smooth the followed face over time."""

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare the inputs of the next frames; called in their order."""


class FaceAnalysis(Protocol):
    """What a pipeline must know of a face whatever is said: the part of its work that a prepared clip holds."""

    @property
    def model(self) -> str:
        """Name of the model on the server that is asked."""

    @property
    def chunk_frames(self) -> int:
        """Number of frames in a request."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The model's outputs that are kept, each with a row per frame."""

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Smooth the followed face over time, as the generator does."""

    def places(self, faces: Sequence[Face]) -> dict[str, np.ndarray]:
        """Return where faces are, rows [F, ...] by input name, in the frames' pixels."""

    def request(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> LipRequest:
        """Prepare the inputs of some frames with a face each."""


class KnownFaces(Protocol):
    """Analyses that are known before a job asks for them."""

    def find(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Return what is kept of these frames' faces, rows [F, ...] by name; None if it is not known of all."""


@dataclass(frozen=True)
class LiveWindows:
    """What a pipeline hears of speech that is still being spoken.

    Attributes:
        look_ahead_s: how much of the speech after the middle of a frame is known when the frame is drawn, in seconds.
        chunk_frames: frames per request.
    """

    look_ahead_s: float
    chunk_frames: int


@dataclass(frozen=True)
class JobMedia:
    """What a generator is made from.

    Attributes:
        triton: the server or servers of the job.
        options: the job's options.
        audio: the speech.
        video_fps: frames per second of the output; the average where the rate varies.
        mouth_profile: learns the mouth of the chosen face from samples of the clip; None where none shows it.
        speaking: how far the mouth follows the audio at some times: 1 in speech, 0 where it is to be closed.
        known_faces: what a prepared clip knows of its faces; None for other videos.
        live: how much of the speech may be heard for a frame; None for all of it.
    """

    triton: TritonCalls
    options: OptionValues
    audio: SpeechSource
    video_fps: float
    mouth_profile: Callable[[], MouthProfile | None]
    speaking: Share = always
    known_faces: KnownFaces | None = None
    live: LiveWindows | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One generator's part in a job's pictures.

    Attributes:
        generator: prepares its requests.
        share: how much of its mouth is shown at some times: 1 in full, 0 not at all, and then it is not asked.
    """

    generator: LipGenerator
    share: Share = always


@dataclass(frozen=True, eq=False)
class Pipeline:
    """One way to make lips move, as users choose it.

    Attributes:
        name: the value of the option `model`.
        title: its name in prose and on the page.
        summary: what it generates, as a table's cell.
        description: one or two sentences for people who choose; ends with a full stop.
        needs: what users must bring for it, as a table's cell.
        weights_licence: what its weights may be used for.
        speed: how fast it is, in a few words for people who choose; no full stop.
        quality: what its results look like, in the same way.
        models: models that it calls on the server, the detector's left out; the first is asked for each chunk.
        detectors: what may find its faces.
        options: its options beside those of all pipelines.
        make_generator: prepares its requests for one job.
        modes: the option whose values a benchmark measures one by one; None where there is only one mode.
        own_choices: option name -> choices of a common option that only the pipelines that list them here accept.
        choice_models: option name -> choice -> models that this choice needs on the server besides.
        original_end_s: duration of the audio -> time at or after which the original shows one more frame and stops, in
            seconds; None where the original's length is no choice.
        keeps_parts: whether finished parts are kept by default, so that an interrupted job can continue.
        make_analysis: what a prepared clip knows of each face beside where it is; None for nothing.
        analysis_models: the models that this asks.
        clip_options: the options that a prepared clip depends on, beside model, face and span.
        closes_mouths: whether its generator closes the mouth where `JobMedia.speaking` says so; the default pipeline's
            does that for all others.
        live: what its generator hears of speech that is still being spoken; None if it must hear all of it.
    """

    name: str
    title: str
    summary: str
    description: str
    needs: str
    weights_licence: str
    models: tuple[str, ...]
    detectors: tuple[Detector, ...]
    make_generator: Callable[[JobMedia], LipGenerator]
    speed: str = ""
    quality: str = ""
    options: tuple[Option[Any], ...] = ()
    modes: Option[str] | None = None
    own_choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choice_models: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    original_end_s: Callable[[float], float] | None = None
    keeps_parts: bool = False
    make_analysis: Callable[[TritonCalls, OptionValues], FaceAnalysis] | None = None
    analysis_models: tuple[str, ...] = ()
    clip_options: tuple[Option[Any], ...] = ()
    closes_mouths: bool = False
    live: LiveWindows | None = None
