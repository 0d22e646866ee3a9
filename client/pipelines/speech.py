"""Mouth shapes and speech features over time, requested from the server piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from client.errors import MediaError
from client.media import SpeechSource, TimelineFrame
from client.servers.calls import InferRequest, TritonCalls
from lipsync_core.audio.lip_features import BLOCK_SAMPLES, HOPS_PER_SECOND
from lipsync_core.audio.lip_shapes import CONTEXT_S, SpeechStatistics, speech_statistics
from lipsync_core.audio.pcm import as_16_bits
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth import SHAPE_SIZE
from lipsync_core.whisper.mel import find_peak, position_count, segment_count, segment_part
from lipsync_core.whisper.sizes import SEGMENT_POSITIONS, STATE_SIZE, STATES

SHAPES_MODEL = "mouth_shapes"
BLOCK_S = 8  # audio per request; blocks do not depend on how the video is cut
# Shapes are smooth over 20 ms, and interpolated in between.
BLOCK_GRID = np.linspace(0, BLOCK_S, HOPS_PER_SECOND * BLOCK_S + 1)
BLOCKS_KEPT = 3
CLOSED = np.array([0] * (SHAPE_SIZE - 1) + [1], np.float32)  # the mean mouth, closed
FEATURES_MODEL = "whisper_features"
SAME_TIME_S = 0.001  # containers that store milliseconds round frame times by up to half of this


def frame_number(frame: TimelineFrame, fps: float) -> int | None:
    """Return a frame's number in a video of constant rate; None if it is not shown at the time of such a frame."""
    number = round(frame.time_s * fps)
    return number if abs(number / fps - frame.time_s) <= SAME_TIME_S else None


def sample_count(duration_s: float) -> int:
    """Return the number of samples that the models get."""
    return round(duration_s * AUDIO_SAMPLE_RATE)


def feature_count(duration_s: float) -> int:
    """Return the number of Whisper's features of the audio."""
    return position_count(sample_count(duration_s))


def closed_shapes(count: int) -> np.ndarray:
    """Return a closed mouth for each of some times, float32 [count, 7]."""
    return np.tile(CLOSED, (count, 1))


def speech_statistics_of(audio: SpeechSource) -> SpeechStatistics:
    """Measure audio of any length, in bounded memory."""
    return speech_statistics(audio.speech_blocks(BLOCK_SAMPLES))


class SpeechShapes:
    """Lip shapes at any time of audio of any length, computed only as far as they are asked for."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource, statistics: SpeechStatistics, gain: float) -> None:
        """Take the audio and its statistics, the server that turns speech into shapes, and their enlargement."""
        self._connection = connection
        self._audio = audio
        self._fixed = {
            "speech_statistics": statistics.tensor,
            "shape_gain": np.array([gain], np.float32),
        }
        self._blocks: dict[int, np.ndarray] = {}

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return float32 [F, 7], components and closure, at float64 [F] seconds; closed outside the audio."""
        shapes = closed_shapes(len(times_s))
        inside = (times_s >= 0) & (times_s < self._audio.speech_length / AUDIO_SAMPLE_RATE)
        numbers = (times_s // BLOCK_S).astype(int)
        for number in np.unique(numbers[inside]).tolist():
            rows, grid = inside & (numbers == number), number * BLOCK_S + BLOCK_GRID
            block = self._block(number)
            curves = [np.interp(times_s[rows], grid, block[:, axis]) for axis in range(SHAPE_SIZE)]
            shapes[rows] = np.stack(curves, axis=1)
        return shapes

    def _block(self, number: int) -> np.ndarray:
        """Return the shapes of one block on its grid, float32 [G, 7]; a few blocks are kept."""
        if number not in self._blocks:
            while len(self._blocks) >= BLOCKS_KEPT:
                del self._blocks[min(self._blocks)]
            start_s, stop_s = number * BLOCK_S - CONTEXT_S, (number + 1) * BLOCK_S + CONTEXT_S
            audio = self._audio.window(sample_count(start_s), sample_count(stop_s))
            inputs = {"audio": audio, "frame_times": BLOCK_GRID + CONTEXT_S, **self._fixed}
            self._blocks[number] = self._connection.infer(InferRequest(SHAPES_MODEL, inputs))["mouth_shapes"]
        return self._blocks[number]


def spoken_shapes(speech: SpeechShapes, times_s: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """Close the mouth where nobody speaks; no shapes are computed there.

    Args:
        speech: The audio's shapes.
        times_s: float64 [F], seconds.
        speaking: float32 [F], 1 in speech to 0 in silence.

    Returns:
        float32 [F, 7], components and closure.
    """
    shapes, spoken = closed_shapes(len(times_s)), speaking > 0
    shapes[spoken] += speaking[spoken, None] * (speech.at(times_s[spoken]) - CLOSED)
    return shapes


def faded_shapes(shapes: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """Close the mouth where nobody speaks, float32 [F, 7] and [F], 1 in speech to 0 in silence -> float32 [F, 7]."""
    return CLOSED + speaking[:, None] * (shapes - CLOSED)


class WhisperFeatures(ABC):
    """Whisper's features of audio of any length, 50 per second; about 30 s of them are held in memory."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource) -> None:
        """Take the audio, and the server that computes its features.

        Raises:
            MediaError: the audio is too short for any feature.
        """
        self._connection = connection
        self._audio = audio
        self.sample_count = sample_count(audio.duration)
        if not self.count:
            raise MediaError(about=audio.path.name, expected="speech of at least 0.02 s", got=f"{audio.duration:.4f} s")
        self._next_segment = 0
        self._features = np.zeros((0, STATES, STATE_SIZE), np.float32)
        self._start = 0  # position of the first feature held

    @property
    def count(self) -> int:
        """Number of positions in the whole audio."""
        return position_count(self.sample_count)

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the features of positions start..stop-1, float32 [stop - start, 5, 384]; starts must not decrease."""
        while start < stop and self._start + len(self._features) < stop:
            self._add_segment(start)
        return self._features[max(0, start - self._start) : max(0, stop - self._start)]

    @abstractmethod
    def _segment(self, number: int) -> np.ndarray:
        """Request the features of one segment of 30 s, float32 [N, 5, 384]."""

    def _add_segment(self, still_needed: int) -> None:
        """Add a segment to the features held, and let go of those before a position; segments before it are skipped."""
        number = max(self._next_segment, still_needed // SEGMENT_POSITIONS)
        added = self._segment(number)
        kept = self._features[max(0, still_needed - self._start) :]
        self._start = number * SEGMENT_POSITIONS - len(kept)
        self._features = np.concatenate([kept, added]) if len(kept) else added
        self._next_segment = number + 1


class SpeechFeatures(WhisperFeatures):
    """The features as LatentSync's original computes them: of audio that is first rounded to 16 bits."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource) -> None:
        """Find the audio's peak, which the mel floor depends on.

        Raises:
            MediaError: the audio is too short for any feature.
        """
        super().__init__(connection, audio)
        self._peak = find_peak(self._segments())

    def _segment(self, number: int) -> np.ndarray:
        part = segment_part(number, self.sample_count)
        inputs = {
            "audio": self._samples(part.samples),
            "first_mel_frame": np.array([part.first_mel_frame], np.int32),
            "mel_frame_count": np.array([part.mel_frame_count], np.int32),
            "log_mel_peak": np.array([self._peak], np.float32),
        }
        return self._connection.infer(InferRequest(FEATURES_MODEL, inputs))["audio_features"]

    def _segments(self) -> Iterator[np.ndarray]:
        for segment in range(segment_count(self.sample_count)):
            part = segment_part(segment, self.sample_count)
            yield self._samples(part.samples)

    def _samples(self, part: slice) -> np.ndarray:
        """Return samples as the original reads them."""
        return as_16_bits(self._audio.window(part.start, part.stop))
