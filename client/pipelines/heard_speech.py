"""What generators know of speech that is still being spoken: for each frame, what was heard a little after it.

Nothing depends on how the speech arrives, so that a stream and a job on the complete file get the same numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from client.media import SpeechSource
from client.pipeline import LiveWindows
from client.pipelines.padded_speech import PADDED_FEATURES_MODEL
from client.pipelines.speech import SHAPES_MODEL
from client.pipelines.voice import VOICE_MODEL, first_voice_state
from client.servers.calls import InferRequest, TritonCalls
from lipsync_core.audio.lip_features import HOP, HOPS_PER_SECOND
from lipsync_core.audio.lip_shapes import CONTEXT_S, POPULATION_GAIN, SpeechStatistics
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.audio.running import RunningStatistics
from lipsync_core.audio.speaking import WINDOW, SpeechSpans
from lipsync_core.fade import eased
from lipsync_core.whisper.sizes import HOP as MEL_HOP
from lipsync_core.whisper.sizes import MEL_FRAMES_PER_POSITION

FRAMES_KEPT = 64  # answers that are asked for again by other layers of the same frames
SILENT_WINDOWS = 31  # of digital silence, one second, after which nothing is asked of the next ones
SPANS_KEPT = 1000  # windows, half a minute
HUSH_S = 0.06  # from the mouth as it is to a closed one, after an interruption
FEATURE_SAMPLES = MEL_FRAMES_PER_POSITION * MEL_HOP  # of one of Whisper's positions
FEATURE_CONTEXT = 500  # positions before the first frame that Whisper hears, 10 s

GainOf = Callable[[SpeechStatistics], float]


def heard_until(time_s: float, live: LiveWindows) -> int:
    """Return how many samples at 16 kHz are known to what is drawn at a time, in seconds."""
    return int((time_s + live.look_ahead_s) * AUDIO_SAMPLE_RATE + 0.5)


class HeardVoice:
    """How far the mouth follows speech that is still being spoken."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource, live: LiveWindows) -> None:
        """Take the audio, the server that tells speech from other sounds, and how far ahead of a frame it hears."""
        self._connection = connection
        self._audio = audio
        self._live = live
        self._spans = SpeechSpans()
        self._state: dict[str, np.ndarray] = {}
        self._silent = SILENT_WINDOWS  # windows of digital silence in a row
        self._hushed: tuple[float, float] | None = None  # when, and how far the mouth then followed
        self.found_speech = False

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return float32 [F] at float64 [F] seconds: 1 in speech, 0 in silence, as far as it is known by then."""
        return np.array([self._weight(time_s) for time_s in times_s.tolist()], np.float32)

    def hush(self, time_s: float) -> None:
        """Forget the speech from a time on, in seconds: the mouth closes at once, until there is new speech."""
        followed = self._weight(time_s)
        start = -(-round(time_s * AUDIO_SAMPLE_RATE) // WINDOW)
        self._spans = SpeechSpans(start)
        self._state, self._silent = {}, SILENT_WINDOWS
        self._hushed = time_s, followed

    def _weight(self, time_s: float) -> float:
        known = heard_until(time_s, self._live) // WINDOW
        while self._spans.count < known:
            self._add_window()
        weight = float(self._spans.weights(np.array([time_s]), known)[0])
        if self._hushed is None:
            return weight
        since, followed = self._hushed
        return max(weight, followed * (1 - float(eased(np.array((time_s - since) / HUSH_S)))))

    def _add_window(self) -> None:
        start = self._spans.count * WINDOW
        samples = self._audio.window(start, start + WINDOW)
        self._silent = 0 if samples.any() else self._silent + 1
        if self._silent > SILENT_WINDOWS:
            self._state = {}
            self._spans.add(np.zeros(1, np.float32))
            return
        left = self._state or first_voice_state(self._connection)
        answer = self._connection.infer(InferRequest(VOICE_MODEL, {"audio": samples, **left}))
        self._state = {name: answer[f"next_{name}"] for name in left}
        self._spans.add(answer["speech_probs"])
        self._spans.forget(self._spans.count - SPANS_KEPT)
        self.found_speech = self.found_speech or bool(self._spans.spans_s)


class HeardShapes:
    """Lip shapes of speech that is still being spoken, each from what was heard a little after its frame."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource, live: LiveWindows) -> None:
        """Take the audio, the server that turns speech into shapes, and how far ahead of a frame it hears."""
        self._connection = connection
        self._audio = audio
        self._live = live
        self._running = RunningStatistics(lambda start, stop: audio.window(start, stop))
        self._known: OrderedDict[float, np.ndarray] = OrderedDict()

    def listen(self, time_s: float) -> None:
        """Hear what is known to a frame, by its middle in seconds, without asking for its shape."""
        self._running.until(heard_until(time_s, self._live))

    def around(self, times_s: np.ndarray, ahead_s: tuple[float, ...], gain: ShapeGain) -> np.ndarray:
        """Return the shapes at frames and some time after them, as heard for these frames.

        Args:
            times_s: float64 [F], the frames' middles in seconds.
            ahead_s: [A], seconds after them, within the look-ahead.
            gain: how far shapes are enlarged.

        Returns:
            float32 [1 + A, F, 7], components and closure.
        """
        return np.stack([self._around(time_s, ahead_s, gain) for time_s in times_s.tolist()], axis=1)

    def _around(self, time_s: float, ahead_s: tuple[float, ...], gain: ShapeGain) -> np.ndarray:
        if time_s not in self._known:
            while len(self._known) >= FRAMES_KEPT:
                self._known.popitem(last=False)
            self._known[time_s] = self._ask(time_s, ahead_s, gain)
        return self._known[time_s]

    def _ask(self, time_s: float, ahead_s: tuple[float, ...], gain: ShapeGain) -> np.ndarray:
        heard = heard_until(time_s, self._live)
        statistics = self._running.until(heard)
        start = int((time_s - CONTEXT_S) * HOPS_PER_SECOND // 1) * HOP
        times_s = np.array([time_s, *(time_s + ahead for ahead in ahead_s)]) - start / AUDIO_SAMPLE_RATE
        inputs = {
            "audio": self._audio.window(start, heard),
            "frame_times": times_s,
            "shape_gain": np.array([gain(statistics, self._running.sureness)], np.float32),
        }
        if statistics is not None:
            inputs["speech_statistics"] = statistics.tensor
        return self._connection.infer(InferRequest(SHAPES_MODEL, inputs))["mouth_shapes"]


class ShapeGain:
    """How far shapes are enlarged to open the mouth as far as the speaker does; the population's at first."""

    def __init__(self, gain_of: GainOf, strength: float) -> None:
        """Take what tells the speaker's gain by the statistics, and the factor that the user chose."""
        self._gain_of = gain_of
        self._strength = strength
        self._last: tuple[SpeechStatistics, float] | None = None

    def __call__(self, statistics: SpeechStatistics | None, sureness: float) -> float:
        """Return the gain; `sureness` says how far the statistics tell the range of the shapes, 0 to 1."""
        if statistics is None:
            return POPULATION_GAIN * self._strength
        if self._last is None or self._last[0] is not statistics:
            self._last = statistics, self._gain_of(statistics)
        return (POPULATION_GAIN + sureness * (self._last[1] - POPULATION_GAIN)) * self._strength


class HeardFeatures:
    """Whisper's features of speech that is still being spoken, by MuseTalk's rule: of the last ten seconds alone."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource, live: LiveWindows) -> None:
        """Take the audio, the server that computes features, and how far ahead of a frame it hears."""
        self._connection = connection
        self._audio = audio
        self._live = live

    def between(self, start: int, stop: int, time_s: float) -> np.ndarray:
        """Return the features of positions start..stop-1 as heard for a frame, float32 [stop - start, 5, 384].

        Args:
            start: first position, 0 or more; 50 per second.
            stop: position after the last one; it lies within the look-ahead.
            time_s: middle of the frame, in seconds.
        """
        first = max(0, start - FEATURE_CONTEXT)
        samples = self._audio.window(first * FEATURE_SAMPLES, heard_until(time_s, self._live))
        answer = self._connection.infer(InferRequest(PADDED_FEATURES_MODEL, {"audio": samples}))
        return answer["audio_features"][start - first : stop - first]
