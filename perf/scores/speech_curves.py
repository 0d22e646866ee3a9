"""The curves of speech that a mouth is compared with: loudness, the vocal band, and the opening asked for."""

from __future__ import annotations

import numpy as np

from client.media import AudioSource
from client.pipelines.speech import speech_statistics_of
from lipsync_core.audio.lip_shapes import POPULATION_GAIN, SpeechStatistics, lip_shapes, speech_statistics
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth import asked_openings, real_shapes
from perf.scores.loudness import MEL_FRAMES_PER_SECOND, mel_power, vocal_level

SEGMENT_S = 60  # analysed at once...
CONTEXT_S = 10  # ...with as much before and after it, more than any curve needs


def speech_curves(
    samples: np.ndarray, frame_times: np.ndarray, statistics: SpeechStatistics | None = None
) -> dict[str, np.ndarray]:
    """Compute the curves of speech held in memory.

    Args:
        samples: float32 [S], mono at 16 kHz.
        frame_times: float64 [F], the frames' centres in seconds from the first sample.
        statistics: The levels of the whole speech; by default the samples are all of it.

    Returns:
        float64 [F] for each measure: "log_mel", the mean of 40 log-mel bands in dB; "vocal", the level of the vocal
        band in dB; "intended", the opening that the default pipeline asks for.
    """
    statistics = statistics or speech_statistics([samples])
    shapes = real_shapes(*lip_shapes(samples, statistics, frame_times), POPULATION_GAIN)
    mel = mel_power(samples)
    hops = np.arange(len(mel)) / MEL_FRAMES_PER_SECOND
    log_mel = (10 * np.log10(mel)).mean(axis=1)
    return {
        "log_mel": np.interp(frame_times, hops, log_mel),
        "vocal": np.interp(frame_times, hops, vocal_level(mel)),
        "intended": asked_openings(shapes),
    }


def audio_curves(audio: AudioSource, frame_times: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the curves of an audio file of any length, a minute at a time.

    Args:
        audio: the speech.
        frame_times: float64 [F], the frames' centres in seconds from the first sample, ascending.

    Returns:
        As `speech_curves`.

    Raises:
        MediaError: the audio cannot be decoded.
    """
    parts: list[dict[str, np.ndarray]] = []
    statistics = speech_statistics_of(audio)
    segments = (frame_times // SEGMENT_S).astype(int)
    for segment in np.unique(segments):
        times = frame_times[segments == segment]
        start = max(0, segment * SEGMENT_S - CONTEXT_S)
        end = max(start + 1, min((segment + 1) * SEGMENT_S + CONTEXT_S, audio.duration))
        samples = audio.window(start * AUDIO_SAMPLE_RATE, round(end * AUDIO_SAMPLE_RATE))
        parts.append(speech_curves(samples, times - start, statistics))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
