"""Mouth shapes and speech features over time, requested from the server piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from client.errors import MediaError
from client.media import AudioSource, TimelineFrame
from client.servers.calls import InferRequest, TritonCalls
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.whisper.mel import find_peak, position_count, segment_count, segment_part

SHAPES_MODEL = "mouth_shapes"
GRID_HZ = 100  # shapes are smooth over 60 ms, and interpolated linearly between these points
WINDOW_S = 60  # audio per request; loudness and cues are judged within it
OVERLAP_S = 20  # of consecutive windows, cross-faded
WINDOW_SAMPLES = WINDOW_S * AUDIO_SAMPLE_RATE
HOP_S = WINDOW_S - OVERLAP_S
SHAPE_SIZE = 2  # opening, spread
FEATURES_MODEL = "whisper_features"
SAME_TIME_S = 0.001  # containers that store milliseconds round frame times by up to half of this


def frame_number(frame: TimelineFrame, fps: float) -> int | None:
    """Return a frame's number in a video of constant rate; None if it is not shown at the time of such a frame."""
    number = round(frame.time_s * fps)
    return number if abs(number / fps - frame.time_s) <= SAME_TIME_S else None


class SpeechShapes:
    """Mouth shapes at any time of a recording of any length, computed only as far as they are asked for."""

    def __init__(self, connection: TritonCalls, audio: AudioSource) -> None:
        """Take the recording, and the server that turns speech into mouth shapes."""
        self._connection = connection
        self._audio = audio
        self._window_start_s = 0
        self._curve = np.zeros((0, SHAPE_SIZE), np.float32)
        self._settled_s = 0.0  # later windows change nothing before this time
        self._ended = False

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return float32 [F, 2], opening and spread, at float64 [F] seconds; closed outside the recording."""
        while not self._ended and len(times_s) and times_s.max() >= self._settled_s:
            self._add_window()
        if not len(self._curve):
            return np.zeros((len(times_s), SHAPE_SIZE), np.float32)
        grid = np.arange(len(self._curve)) / GRID_HZ
        shapes = [np.interp(times_s, grid, self._curve[:, i], left=0, right=0) for i in range(SHAPE_SIZE)]
        return np.stack(shapes, axis=1).astype(np.float32)

    def _add_window(self) -> None:
        start = self._window_start_s * AUDIO_SAMPLE_RATE
        stop = min(start + WINDOW_SAMPLES, self._audio.speech_length)
        if start < stop:
            times = np.arange(-(-(stop - start) * GRID_HZ // AUDIO_SAMPLE_RATE)) / GRID_HZ
            inputs = {"audio": self._audio.window(start, stop), "frame_times": times}
            self._join(self._connection.infer(InferRequest(SHAPES_MODEL, inputs))["mouth_shapes"])
        self._ended = stop == self._audio.speech_length
        self._settled_s = self._window_start_s + (WINDOW_S if self._ended else HOP_S)
        self._window_start_s += HOP_S

    def _join(self, shapes: np.ndarray) -> None:
        """Append a window's shapes, float32 [N, 2], cross-faded with the previous window where they overlap."""
        start = self._window_start_s * GRID_HZ
        before = self._curve[start:]
        weight = np.linspace(0, 1, len(before), dtype=np.float32)[:, None]
        faded = before * (1 - weight) + shapes[: len(before)] * weight
        self._curve = np.concatenate([self._curve[:start], faded, shapes[len(before) :]])


class SpeechFeatures:
    """Whisper's features of a recording of any length, 50 per second; about 30 s of them are held in memory."""

    def __init__(self, connection: TritonCalls, audio: AudioSource) -> None:
        """Find the recording's peak, which the mel floor depends on.

        Raises:
            MediaError: the recording is too short for any feature.
        """
        self._connection = connection
        self._sample_count = round(audio.duration * AUDIO_SAMPLE_RATE)
        if not self.count:
            raise MediaError(about=audio.path.name, expected="speech of at least 0.02 s", got=f"{audio.duration:.4f} s")
        self._audio = audio
        self._peak = find_peak(self._segments())
        self._next_segment = 0
        self._features = np.zeros((0, 0, 0), np.float32)
        self._start = 0  # position of the first feature held

    @property
    def count(self) -> int:
        """Number of positions in the whole recording."""
        return position_count(self._sample_count)

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the features of positions start..stop-1, float32 [stop - start, 5, 384]; starts must not decrease."""
        while self._start + len(self._features) < stop:
            self._add_segment(start)
        return self._features[start - self._start : stop - self._start]

    def _add_segment(self, still_needed: int) -> None:
        part = segment_part(self._next_segment, self._sample_count)
        inputs = {
            "audio": self._audio.window(part.samples.start, part.samples.stop),
            "first_mel_frame": np.array([part.first_mel_frame], np.int32),
            "mel_frame_count": np.array([part.mel_frame_count], np.int32),
            "log_mel_peak": np.array([self._peak], np.float32),
        }
        added = self._connection.infer(InferRequest(FEATURES_MODEL, inputs))["audio_features"]
        kept = self._features[max(0, still_needed - self._start) :]
        self._start += len(self._features) - len(kept)
        self._features = np.concatenate([kept, added]) if len(kept) else added
        self._next_segment += 1

    def _segments(self) -> Iterator[np.ndarray]:
        for segment in range(segment_count(self._sample_count)):
            part = segment_part(segment, self._sample_count)
            yield self._audio.window(part.samples.start, part.samples.stop)
