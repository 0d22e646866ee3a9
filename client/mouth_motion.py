"""The client's half of the `mouth_motion` ensemble: what its requests carry beside frames and landmarks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from client.connection import TritonConnection
from client.speech import SpeechShapes
from lipsync_core.mouth import InteriorChooser, MouthProfile, MouthProfileBuilder, opening_gaps

SCAN_FRAMES = 64  # looked at before the job, however long the clip


class MouthMotion:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "mouth_motion"
    scan_frames = SCAN_FRAMES

    def __init__(
        self,
        connection: TritonConnection,
        speech_blocks: Iterable[np.ndarray],
        scanned: Iterable[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Learn the speaker's mouth.

        Args:
            connection: to the server that turns speech into mouth shapes.
            speech_blocks: the speech, consecutive blocks float32 mono [S] at 16 kHz.
            scanned: sampled faces of the clip: pictures uint8 RGB [h, w, 3] with landmarks float32 [468, 3].
        """
        self._shapes = SpeechShapes(connection, speech_blocks)
        self._profile = build_profile(scanned)
        self._chooser = InteriorChooser(self._profile) if self._profile else None
        self._track: int | None = None

    def request(self, times_s: np.ndarray, landmarks: np.ndarray, tracks: list[int]) -> dict[str, np.ndarray]:
        """Return the inputs of the next frames, landmarks and frames left out.

        Args:
            times_s: float64 [F], the frames' centres in seconds of the speech.
            landmarks: float32 [F, 468, 3], rows of NaN where a frame has no face.
            tracks: the number of the track of each frame.
        """
        shapes = self._shapes.at(times_s)
        inputs = {"shapes": shapes}
        if self._profile is None or self._chooser is None:
            return inputs
        inputs |= self._profile.tensors
        if len(self._profile.interior_frames):
            inputs["interior_indices"] = self._choose_interiors(shapes, landmarks, tracks)
        return inputs

    def _choose_interiors(self, shapes: np.ndarray, landmarks: np.ndarray, tracks: list[int]) -> np.ndarray:
        assert self._profile is not None
        gaps = opening_gaps(shapes[:, 0], self._profile.max_gap)
        indices = np.empty(len(tracks), np.int32)
        for i, track in enumerate(tracks):
            if track != self._track:
                self._track = track
                self._chooser = InteriorChooser(self._profile)
            assert self._chooser is not None
            indices[i] = self._chooser.choose(gaps[i : i + 1], landmarks[i : i + 1])[0]
        return indices


def build_profile(scanned: Iterable[tuple[np.ndarray, np.ndarray]]) -> MouthProfile | None:
    """Gather a profile from sampled faces; None where there is none."""
    builder = MouthProfileBuilder()
    for frame, landmarks in scanned:
        builder.add(frame, landmarks)
    return builder.build()
