"""The client's half of the `mouth_motion` ensemble: what its requests carry beside the frames."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np

from client.media import TimelineFrame
from client.pipeline import JobMedia, LipRequest, Observations, Pipeline
from client.pipelines.speech import SpeechShapes
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE
from client.tracking.follow import Observation, smooth_landmarks
from client.tracking.landmarks import face_extent, stack_landmarks
from lipsync_core.mouth import InteriorChooser, MouthProfile, MouthProfileBuilder, opening_gaps


class MouthMotion:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "mouth_motion"
    chunk_frames = None

    def __init__(self, media: JobMedia) -> None:
        """Learn the speaker's mouth from samples of the clip."""
        with media.scan_faces() as scanned:
            self._profile = build_profile(scanned)
        self._shapes = SpeechShapes(media.triton, media.audio)
        self._chooser: InteriorChooser | None = None  # of the followed face; a new one for every track
        self._track: int | None = None

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Take the jitter out of the landmarks."""
        return smooth_landmarks(observations)

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare landmarks, mouth shapes, and what the scan found."""
        landmarks = stack_landmarks(faces)
        shapes = self._shapes.at(np.array([frame.time_s + frame.duration_s / 2 for frame in frames]))
        inputs = {"shapes": shapes}
        if self._profile is not None:
            inputs |= self._profile.tensors
            if len(self._profile.interior_frames):
                inputs["interior_indices"] = self._choose_interiors(self._profile, shapes, landmarks, tracks)
        return LipRequest(face_extent(landmarks), {"landmarks": landmarks}, inputs)

    def _choose_interiors(
        self, profile: MouthProfile, shapes: np.ndarray, landmarks: np.ndarray, tracks: Sequence[int]
    ) -> np.ndarray:
        gaps = opening_gaps(shapes[:, 0], profile.max_gap)
        indices = np.empty(len(tracks), np.int32)
        for i, track in enumerate(tracks):
            if track != self._track:
                self._track = track
                self._chooser = InteriorChooser(profile)
            assert self._chooser is not None
            indices[i] = self._chooser.choose(gaps[i : i + 1], landmarks[i : i + 1])[0]
        return indices


def build_profile(scanned: Iterable[tuple[np.ndarray, np.ndarray]]) -> MouthProfile | None:
    """Gather a profile from sampled faces; None where there is none."""
    builder = MouthProfileBuilder()
    for frame, landmarks in scanned:
        builder.add(frame, landmarks)
    return builder.build()


MOUTH_MOTION = Pipeline(
    name="mouth-motion",
    title="Mouth motion",
    summary="a preview: warps the lips to the speech, and borrows the mouth's inside from the clip's own frames",
    description="Moves the lips of the picture itself. Fast and needs no model download; a preview.",
    needs="nothing",
    weights_licence="none needed; the face models are MediaPipe's, Apache-2.0",
    models=(MouthMotion.model,),
    detectors=(MEDIAPIPE,),
    make_generator=MouthMotion,
)
