"""A clip whose sound belongs to its picture: its true lips, its own speech, and the phones where they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.errors import NoFaceError
from client.media import AudioSource, VideoSource
from client.servers.calls import TritonCalls
from client.tracking.clip import track_clip
from client.tracking.faces import LARGEST, FaceChoice
from lipsync_core.audio.lip_features import HOPS_PER_SECOND, energetic, log_mel
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import align_lips, frontal_template, openings

LEAST_SEEN = 50  # frames with a face; with fewer, correlations are chance
SEEN_SHARE = 0.8  # of all frames


@dataclass(frozen=True, eq=False)
class TruthClip:
    """A clip as it was filmed.

    Attributes:
        path: The file.
        fps: Frames per second.
        template: float64 [468, 3], the speaker's average face, turned to the front.
        lips: float64 [F, 40, 2], on the template; NaN in frames without the face.
        speech: float32 [S], mono at 16 kHz, exactly as long as the picture.
        choice: Which of several faces is the speaker's.
    """

    path: Path
    fps: float
    template: np.ndarray
    lips: np.ndarray
    speech: np.ndarray
    choice: FaceChoice = LARGEST

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.lips)

    @property
    def times_s(self) -> np.ndarray:
        """The frames' centres, float64 [F], in seconds."""
        return (np.arange(self.frames) + 0.5) / self.fps

    @property
    def mean_lips(self) -> np.ndarray:
        """The clip's mean mouth, float64 [40, 2]."""
        return np.asarray(np.nanmean(self.lips, axis=0))

    @property
    def openings(self) -> np.ndarray:
        """The true openings, float64 [F]."""
        return openings(self.lips)

    @property
    def energetic(self) -> np.ndarray:
        """Which frames have sound that is loud enough to be speech, bool [F]."""
        hops = energetic(log_mel(self.speech))
        nearest = np.round(self.times_s * HOPS_PER_SECOND).astype(int)
        return hops[np.clip(nearest, 0, len(hops) - 1)]


def open_clip(triton: TritonCalls, path: Path, choice: FaceChoice = LARGEST) -> TruthClip:
    """Track a clip and read its sound.

    Args:
        triton: A server with the model `faces`.
        path: A video with sound.
        choice: Which of several faces is the speaker's.

    Raises:
        NoFaceError: too few frames show the face.
        LipSyncError: the file cannot be decoded or has no sound, or the server fails.
    """
    delay_s = VideoSource(path).speech_delay_s
    tracked = track_clip(triton, path, choice)
    seen, count = int(tracked.seen.sum()), len(tracked.landmarks)
    if seen < max(LEAST_SEEN, SEEN_SHARE * count):
        raise NoFaceError(f"expected a face in most of {count} frames, got {seen}", about=path)
    template = frontal_template(tracked.landmarks)
    with AudioSource(path, delay_s=delay_s) as audio:
        speech = audio.window(0, round(count / tracked.fps * AUDIO_SAMPLE_RATE))
    return TruthClip(path, tracked.fps, template, align_lips(tracked.landmarks, template), speech, choice)
