"""The client's half of the `latentsync` model: smoothed alignment, and each frame's part of the speech."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from client.connection import TritonCalls
from client.faces import Face
from client.media import AudioSource, TimelineFrame
from client.mouth_motion import stack_landmarks
from client.pipeline import LipRequest, Observations
from client.speech import SpeechFeatures, frame_number
from client.tracking import Observation
from lipsync_core.face import alignment_points
from lipsync_core.latentsync.alignment import affine_matrices, face_extent, running_bias
from lipsync_core.latentsync.options import SCHEDULERS, SPEEDS, DiffusionOptions
from lipsync_core.latentsync.windows import features_for_frames, frame_position, positions_at

ALIGN_MODEL = "latentsync_align"
POSITIONS_BEYOND = 3  # that frames after the speech may lie behind its features


class LatentSync:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "latentsync"

    def __init__(self, connection: TritonCalls, audio: AudioSource, fps: float, options: DiffusionOptions) -> None:
        """Take the speech, and the video's average frames per second.

        Raises:
            MediaError: the speech is too short for any feature.
        """
        self._features = SpeechFeatures(connection, audio)
        self._fps = fps
        self._options = options
        self.chunk_frames = int(connection.contract(self.model).parameters["num_frames"])
        self._resolution = int(connection.contract(ALIGN_MODEL).parameters["resolution"])
        self._chunk_index = 0
        self._track: int | None = None
        self._bias: np.ndarray | None = None

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Leave the faces as they are found: their alignment is smoothed instead."""
        yield from observations

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare alignment, the speech around these frames, and the job's choices."""
        points = alignment_points(stack_landmarks(faces))
        biases = self._smoothed_biases(points, tracks)
        matrices = affine_matrices(points, biases, self._resolution)
        inputs = {"smoothing_biases": biases, **self._speech_inputs(frames), **self._choices()}
        self._chunk_index += 1
        return LipRequest(
            face_extent(matrices, self._resolution),
            lambda region: {"alignment_points": points - np.array(region[:2], np.float32), **inputs},
        )

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
        return {
            "seed": np.array([options.seed], np.int64),
            "chunk_index": np.array([self._chunk_index], np.int32),
            "num_inference_steps": np.array([options.num_inference_steps], np.int32),
            "guidance_scale": np.array([options.guidance_scale], np.float32),
            "scheduler": np.array([SCHEDULERS.index(options.scheduler)], np.int32),
            "speed": np.array([SPEEDS.index(options.speed)], np.int32),
        }
