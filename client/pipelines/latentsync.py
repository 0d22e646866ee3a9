"""The client's half of the `latentsync` model: smoothed alignment, and each frame's part of the speech."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np

from client.media import TimelineFrame
from client.option import Option, OptionValues
from client.option_kinds import Choice, Number
from client.pipeline import JobMedia, LipRequest, Observations, Pipeline
from client.pipelines.length_options import ORIGINAL_LENGTH
from client.pipelines.seed_options import SEED
from client.pipelines.speech import FEATURES_MODEL, SpeechFeatures, feature_count, frame_number
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE
from client.tracking.follow import Observation
from client.tracking.landmarks import stack_landmarks
from lipsync_core.face import alignment_points
from lipsync_core.latentsync.alignment import affine_matrices, face_extent, running_bias
from lipsync_core.latentsync.options import (
    MAX_STEPS,
    RESOLUTIONS,
    DiffusionOptions,
    options_for,
)
from lipsync_core.latentsync.windows import end_of_frames_s, features_for_frames, frame_position, positions_at

MAX_GUIDANCE = 100.0
SPEED: Option[str] = Option(
    "speed",
    Choice(
        {
            "exact": "Exact, as the original",
            "cached": "Cached, nearly the same",
            "fast": "Fast, fewer steps",
            "preview": "Preview, fewest steps",
        }
    ),
    DiffusionOptions.speed,
    "exact: as the original; cached: the original with DeepCache; fast, preview: fewer and cheaper steps.",
    "Speed",
)
STEPS: Option[int | None] = Option(
    "steps",
    Number(1, MAX_STEPS, integer=True),
    None,
    "Number of denoising steps.",
    "Denoising steps",
    "More steps give finer results and take longer; 20 to 50 are usual.",
    default_text="20; fast 8, preview 4",
)
GUIDANCE: Option[float] = Option(
    "guidance",
    Number(1, MAX_GUIDANCE, step=0.1),
    DiffusionOptions.guidance_scale,
    "Guidance scale: how strongly the audio drives the mouth; 1 to 3 are usual.",
    "Guidance scale",
    "1 to 3 are usual; higher values move the mouth more.",
)
RESOLUTION: Option[int | None] = Option(
    "resolution",
    Choice({edge: f"{edge} pixels (version {version})" for version, edge in RESOLUTIONS.items()}),
    None,
    "Edge length of the generated face, in pixels: 256 for version 1.5, 512 for 1.6.",
    "Size of the generated face",
    default_text="what the weights were trained on",
)
SCHEDULER: Option[str | None] = Option(
    "scheduler",
    Choice({"ddim": "DDIM", "dpm": "DPM", "unipc": "UniPC"}),
    None,
    "Scheduler; ddim is the original's.",
    "Scheduler",
    default_text="ddim; fast and preview unipc",
)
POSITIONS_BEYOND = 3  # that frames after the speech may lie behind its features


class LatentSync:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "latentsync"

    def __init__(self, media: JobMedia) -> None:
        """Take the audio, the frame rate and the options.

        Raises:
            MediaError: the audio is too short for any feature.
        """
        self._features = SpeechFeatures(media.triton, media.audio)
        self._fps = media.video_fps
        self._options = diffusion_options(media.options)
        self._resolution = media.options[RESOLUTION]
        self.chunk_frames = int(media.triton.contract(self.model).parameters["num_frames"])
        self._chunk_index = 0
        self._track: int | None = None
        self._bias: np.ndarray | None = None

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Leave the faces as they are found: their alignment is smoothed instead."""
        yield from observations

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare alignment, the speech around these frames, and the job's choices."""
        landmarks = stack_landmarks(faces)
        points = alignment_points(landmarks)
        biases = self._smoothed_biases(points, tracks)
        inputs = {"smoothing_biases": biases, **self._speech_inputs(frames), **self._choices()}
        self._chunk_index += 1
        extent = _extent(points, biases, RESOLUTIONS.values() if self._resolution is None else [self._resolution])
        return LipRequest(extent, {"landmarks": landmarks, "alignment_points": points}, inputs)

    def _smoothed_biases(self, points: np.ndarray, tracks: Sequence[int]) -> np.ndarray:
        biases = np.empty((len(points), 2), np.float32)
        for i, track in enumerate(tracks):
            if track != self._track:
                self._track, self._bias = track, None
            biases[i : i + 1] = running_bias(points[i : i + 1], self._bias)
            self._bias = biases[i]
        return biases

    def _speech_inputs(self, frames: Sequence[TimelineFrame]) -> dict[str, np.ndarray]:
        positions = np.array([self._position(frame) for frame in frames])
        positions = np.minimum(positions, self._features.count + POSITIONS_BEYOND)
        part, local = features_for_frames(positions, self._features.count)
        return {"audio_features": self._features.between(part.start, part.stop), "audio_positions": local}

    def _position(self, frame: TimelineFrame) -> int:
        number = frame_number(frame, self._fps)
        return int(positions_at(np.array([frame.time_s]))[0]) if number is None else frame_position(number, self._fps)

    def _choices(self) -> dict[str, np.ndarray]:
        options = self._options
        resolution = {} if self._resolution is None else {"resolution": np.array([self._resolution], np.int32)}
        return {
            **resolution,
            "seed": np.array([options.seed], np.int64),
            "chunk_index": np.array([self._chunk_index], np.int32),
            "num_inference_steps": np.array([options.num_inference_steps], np.int32),
            "guidance_scale": np.array([options.guidance_scale], np.float32),
            "scheduler": np.array([options.scheduler.encode()]),
            "speed": np.array([options.speed.encode()]),
        }


def diffusion_options(options: OptionValues) -> DiffusionOptions:
    """Turn a job's options into those of the denoising loop."""
    return options_for(
        options[SPEED], options[STEPS], options[SCHEDULER], guidance_scale=options[GUIDANCE], seed=options[SEED]
    )


def original_end_s(audio_duration_s: float) -> float:
    """Return the time at or after which the original shows one more frame and stops, in seconds."""
    return end_of_frames_s(feature_count(audio_duration_s))


def _extent(points: np.ndarray, biases: np.ndarray, resolutions: Iterable[int]) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 around what faces of any of these edges look at; the edges differ by less than a pixel."""
    corners = np.array([face_extent(affine_matrices(points, biases, edge), edge) for edge in resolutions])
    (x1, y1), (x2, y2) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


LATENTSYNC = Pipeline(
    name="latentsync",
    title="LatentSync",
    summary="LatentSync 1.5 or 1.6, by diffusion; by far the slowest",
    description="Generates the mouth by diffusion. The most natural result, and by far the slowest; needs a GPU in"
    " practice.",
    needs="your checkpoint, or a download; in practice a GPU",
    weights_licence="OpenRAIL++ for LatentSync's UNet, MIT for Whisper and the VAE",
    speed="By far the slowest; in practice needs a graphics card",
    quality="The most natural mouth",
    models=(LatentSync.model, FEATURES_MODEL),
    detectors=(MEDIAPIPE,),
    make_generator=LatentSync,
    options=(SPEED, STEPS, GUIDANCE, RESOLUTION, SEED, SCHEDULER),
    modes=SPEED,
    own_choices=ORIGINAL_LENGTH,
    original_end_s=original_end_s,
    keeps_parts=True,
)
