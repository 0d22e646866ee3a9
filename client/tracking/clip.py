"""Follows one face through a whole video and keeps its landmarks; for measurements, which need a clip as a whole."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.chunks import IN_FLIGHT, chunk_frames
from client.flow import batched, ordered_map
from client.media import VideoSource
from client.report import StageClock
from client.servers.calls import TritonCalls
from client.tracking.faces import LARGEST, FaceChoice
from client.tracking.finder import FaceFinder, follow, needs_every_face
from client.tracking.follow import smooth_landmarks

LANDMARKS = (468, 3)


@dataclass(frozen=True)
class TrackedClip:
    """One face in every frame of a clip.

    Attributes:
        landmarks: float32 [F, 468, 3], in pixels; NaN in frames without the face.
        times_s: float64 [F], the frames' centres in seconds.
        fps: frames per second.
    """

    landmarks: np.ndarray
    times_s: np.ndarray
    fps: float

    @property
    def seen(self) -> np.ndarray:
        """Whether a frame shows the face, bool [F]."""
        return np.isfinite(self.landmarks).all(axis=(1, 2))


def track_clip(triton: TritonCalls, video: Path, choice: FaceChoice = LARGEST) -> TrackedClip:
    """Follow a face through a video.

    Args:
        triton: A server with the model `faces`.
        video: The video.
        choice: Which of several faces.

    Raises:
        LipSyncError: the video cannot be decoded, or the server fails.
    """
    source = VideoSource(video)
    finder = FaceFinder(triton, StageClock(), every_face=needs_every_face([choice]))
    windows = batched(source.frames(), chunk_frames(source.frame_bytes))
    landmarks, starts = [], []
    with closing(ordered_map(finder.find, windows, IN_FLIGHT)) as searched:
        for observed in smooth_landmarks(follow((frame for window in searched for frame in window), choice)):
            found = None if observed.face is None else observed.face.landmarks
            landmarks.append(np.full(LANDMARKS, np.nan, np.float32) if found is None else found)
            starts.append(observed.frame.time_s)
    fps = float(source.rate)
    return TrackedClip(np.stack(landmarks), np.array(starts) + 0.5 / fps, fps)
