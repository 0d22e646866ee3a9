"""A video's sound, cut into SyncNet's windows: one per frame at 25 fps."""

from __future__ import annotations

import numpy as np

from client.media import AudioSource, VideoSource
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.syncnet.mfcc import FRAME_SAMPLES, WINDOW_SAMPLES, audio_windows, whole_samples

SILENT_PEAK = 1e-3  # of full scale, -60 dB


class VideoSound:
    """Audio on the timeline of a video: sample 0 belongs to the first frame."""

    def __init__(self, audio: AudioSource, late_s: float = 0.0) -> None:
        """Take the audio, and by how many seconds it starts after the first frame."""
        self._audio = audio
        self._shift = round(late_s * AUDIO_SAMPLE_RATE)
        self.sample_count = max(0, self._shift + round(audio.duration * AUDIO_SAMPLE_RATE))

    @classmethod
    def of_video(cls, video: VideoSource) -> VideoSound:
        """Take the audio of a video.

        Raises:
            MediaError: the video has none.
        """
        audio = AudioSource(video.path)
        return cls(audio, audio.start_s - float(video.facts.start_pts * video.time_base))

    @property
    def is_silent(self) -> bool:
        """Whether the audio never exceeds -60 dB of full scale."""
        return all(np.abs(block).max() < SILENT_PEAK for block in self._audio.speech_blocks())

    def open(self, first: int) -> TrackSound:
        """Read from a frame on, counted at 25 fps."""
        return TrackSound(self._audio, first * FRAME_SAMPLES, self._shift)


class TrackSound:
    """The audio of one track, cut into the network's windows."""

    def __init__(self, speech: AudioSource, start: int, shift: int) -> None:
        """Start at a sample of the video's timeline; `shift` is where the audio starts on it, in samples."""
        self._speech = speech
        self._start = start
        self._shift = shift

    def windows(self, first: int, end: int) -> np.ndarray:
        """Return the windows first to end - 1, float32 [N, 13, 20]."""
        begin = self._start + first * FRAME_SAMPLES - self._shift
        length = (end - 1 - first) * FRAME_SAMPLES + WINDOW_SAMPLES
        samples = whole_samples(self._speech.window(begin - 1, begin + length))
        return audio_windows(samples[1:], before=int(samples[0]) if first else 0)
