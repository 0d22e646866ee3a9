"""A video's own sound on its frames' times: when there is speech, and how far it suggests that lips are open."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from client.errors import MediaError
from client.media import AudioSource, VideoSource
from client.media.source import MAX_LEAD_S
from client.pipelines.voice import VoiceActivity
from client.servers.calls import TritonCalls
from client.syncnet.sound import VideoSound
from lipsync_core.audio.lip_features import BLOCK_SAMPLES
from lipsync_core.audio.lip_shapes import CONTEXT_S, fitted_regressor, lip_shapes, speech_statistics
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import signed_openings

BLOCK_S = 8.0  # of sound that is turned into openings at once
VOICED = 0.5  # share of the mouth's motion that a moment of speech has at least


class SourceSound:
    """The sound of a video; a context manager that removes its temporary file.

    Args:
        triton: a server with the model `voice_activity`.
        video: the video; its frames' times count from the file's first frame.

    Raises:
        MediaError: the video has no sound that can be decoded, or only silence.
    """

    def __init__(self, triton: TritonCalls, video: VideoSource) -> None:
        """Decode the sound."""
        if video.is_still:
            raise MediaError(about=video.path, expected="sound", got="a still image")
        self._audio = AudioSource(video.path)
        self._late_s = self._audio.start_s - float(video.facts.start_pts * video.time_base)
        if abs(self._late_s) > MAX_LEAD_S:
            self._late_s = 0.0  # broken timestamps
        self._voice = VoiceActivity(triton, self._audio)
        self._statistics = speech_statistics(self._audio.speech_blocks(BLOCK_SAMPLES))

    def __enter__(self) -> SourceSound:
        """Return the sound itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the temporary file."""
        self._audio.close()

    def of_video(self) -> VideoSound:
        """Return the sound on the timeline of the video's pictures, from the first one on; closed with this object."""
        return VideoSound(self._audio, self._late_s)

    def voiced(self, times_s: np.ndarray) -> np.ndarray:
        """Return whether there is speech, bool [F], at times float64 [F] of the file's pictures, rising."""
        return np.asarray(self._voice.at(times_s - self._late_s) >= VOICED)

    def suggested_openings(self, times_s: np.ndarray) -> np.ndarray:
        """Return how far lips are open that say what is heard, relative to their mean, float64 [F].

        Args:
            times_s: float64 [F], of the file's pictures, rising.
        """
        moments = times_s - self._late_s
        openings = np.zeros(len(moments))
        blocks = np.floor(moments / BLOCK_S).astype(int)
        for number in np.unique(blocks).tolist():
            rows = blocks == number
            openings[rows] = self._block(number, moments[rows])
        return openings

    def _block(self, number: int, moments: np.ndarray) -> np.ndarray:
        start_s = number * BLOCK_S - CONTEXT_S
        first, stop = (round(time_s * AUDIO_SAMPLE_RATE) for time_s in (start_s, (number + 1) * BLOCK_S + CONTEXT_S))
        shapes, _ = lip_shapes(self._audio.window(first, stop), self._statistics, moments - start_s)
        return signed_openings(fitted_regressor().displacements(shapes))
