"""The client's half of the `latentsync` model: smoothed alignment, and each frame's part of the speech."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np

from client.chunks import LipRequest, Observations
from client.media import AudioSource, TimelineFrame
from client.pipelines.mouth_motion import stack_landmarks
from client.pipelines.speech import SpeechFeatures, frame_number
from client.servers.calls import TritonCalls
from client.tracking.faces import Face
from client.tracking.follow import Observation
from lipsync_core.face import alignment_points
from lipsync_core.latentsync.alignment import affine_matrices, face_extent, running_bias
from lipsync_core.latentsync.options import RESOLUTIONS, DiffusionOptions
from lipsync_core.latentsync.windows import features_for_frames, frame_position, positions_at

POSITIONS_BEYOND = 3  # that frames after the speech may lie behind its features


class LatentSync:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "latentsync"

    def __init__(
        self,
        connection: TritonCalls,
        audio: AudioSource,
        fps: float,
        options: DiffusionOptions,
        resolution: int | None,
    ) -> None:
        """Take the speech, the video's average frames per second, and the faces' edge; None is the server's own.

        Raises:
            MediaError: the speech is too short for any feature.
        """
        self._features = SpeechFeatures(connection, audio)
        self._fps = fps
        self._options = options
        self.chunk_frames = int(connection.contract(self.model).parameters["num_frames"])
        self._resolution = resolution
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
        inputs = {"smoothing_biases": biases, **self._speech_inputs(frames), **self._choices()}
        self._chunk_index += 1
        return LipRequest(
            _extent(points, biases, RESOLUTIONS.values() if self._resolution is None else [self._resolution]),
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


def _extent(points: np.ndarray, biases: np.ndarray, resolutions: Iterable[int]) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 around what faces of any of these edges look at; the edges differ by less than a pixel."""
    corners = np.array([face_extent(affine_matrices(points, biases, edge), edge) for edge in resolutions])
    (x1, y1), (x2, y2) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)
