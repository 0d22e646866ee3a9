"""Log-mel segments as Whisper sees them, computed from whole audio or from parts of it with equal results.

The floor below the logarithm depends on the loudest moment of the whole audio, its peak. Given the peak, a segment
can be computed from its own samples, and equals the same segment of the whole audio to the last bit.

Source: docs/specs/whisper.md, "Log-mel segments".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.audio.mel import periodic_hann, slaney_filters
from lipsync_core.audio.rates import exact_div
from lipsync_core.checks import check_audio
from lipsync_core.whisper.sizes import HOP, MEL_BANDS, MEL_FRAMES_PER_POSITION, SEGMENT_MEL_FRAMES

FFT_SIZE = 400  # samples; the Hann window has the same length
REACH = exact_div(FFT_SIZE, 2)  # samples on either side of a mel frame's centre
MEL_RANGE_HZ = (0.0, 8000.0)
POWER_FLOOR = 1e-10
DECADES_BELOW_PEAK = np.float32(8)
MIN_SAMPLES = MEL_FRAMES_PER_POSITION * HOP  # fewer give no position
CONTEXT_MEL_FRAMES = -(-REACH // HOP)  # that a part needs before its first mel frame


class AudioPart(NamedTuple):
    """The part of audio that gives some mel frames of the whole."""

    samples: slice  # of the whole audio
    first_mel_frame: int  # of the part's own mel frames
    mel_frame_count: int


def mel_frame_count(sample_count: int) -> int:
    """Count the mel frames of audio of this many samples."""
    return sample_count // HOP


def segment_count(sample_count: int) -> int:
    """Count the 30 s segments of audio of this many samples; the last one may be short."""
    return -(-mel_frame_count(sample_count) // SEGMENT_MEL_FRAMES)


def position_count(sample_count: int) -> int:
    """Count the encoder's positions of audio of this many samples; an odd last mel frame gives none."""
    return mel_frame_count(sample_count) // MEL_FRAMES_PER_POSITION


def segment_part(segment: int, sample_count: int) -> AudioPart:
    """Find the part of audio that one segment needs.

    Args:
        segment: Index of the segment, less than `segment_count`.
        sample_count: Length of the whole audio in samples.
    """
    first = segment * SEGMENT_MEL_FRAMES
    end = min(first + SEGMENT_MEL_FRAMES, mel_frame_count(sample_count))
    start = max(0, first - CONTEXT_MEL_FRAMES)
    stop = min((end - 1) * HOP + REACH, sample_count)
    return AudioPart(slice(start * HOP, stop), first - start, end - first)


def log_mel(samples: np.ndarray, first: int = 0, count: int | None = None) -> np.ndarray:
    """Compute mel frames of audio, before the floor.

    Args:
        samples: float32 [S], mono at 16 kHz, -1 to 1.
        first: First mel frame.
        count: Number of mel frames; None for all to the end.

    Returns:
        float32 [80, count], decades (log10 of power), -10 or more; mel frame t is centred on sample 160 t.

    Raises:
        ValueError: A sample is NaN or infinite, the audio is too short, or it does not have these mel frames.
    """
    _check_samples(samples)
    available = mel_frame_count(len(samples))
    count = available - first if count is None else count
    if first < 0 or count < 1 or first + count > available:
        raise ValueError(
            f"first_mel_frame, mel_frame_count: expected mel frames within 0 to {available} of this audio,"
            f" got {first} to {first + count}. Send the samples that these mel frames cover"
        )
    padded = np.pad(samples, REACH, mode="reflect")
    windows = sliding_window_view(padded, FFT_SIZE)[::HOP][first : first + count]
    # Whole segments at a time: rounding may depend on the number of rows, and parts must equal the whole.
    starts = range(0, count, SEGMENT_MEL_FRAMES)
    return np.concatenate([_log_power(windows[start : start + SEGMENT_MEL_FRAMES]) for start in starts], axis=1)


def log_mel_peak(samples: np.ndarray) -> float:
    """Find the highest log-mel value of audio, float32 [S], in decades."""
    return find_peak(samples[segment_part(i, len(samples)).samples] for i in range(segment_count(len(samples))))


def find_peak(parts: Iterable[np.ndarray]) -> float:
    """Find the highest log-mel value of long audio, in decades.

    Args:
        parts: float32 [S] each, the samples of every segment in order; see `segment_part`.
    """
    peaks = []
    for index, samples in enumerate(parts):
        first = CONTEXT_MEL_FRAMES if index else 0
        count = min(SEGMENT_MEL_FRAMES, mel_frame_count(len(samples)) - first)
        peaks.append(float(log_mel(samples, first, count).max()))
    return max(peaks)


def normalise(mel: np.ndarray, peak: float) -> np.ndarray:
    """Apply the floor, 8 decades below the peak, and scale to the encoder's range.

    Args:
        mel: float32 [80, T], from `log_mel`.
        peak: The highest value that the floor is relative to, in decades.

    Returns:
        float32 [80, T].
    """
    floor = np.float32(peak) - DECADES_BELOW_PEAK
    return (np.maximum(mel, floor) + np.float32(4)) / np.float32(4)


def cut_segments(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut normalised mel frames into segments; the last one is padded with 0, which is far from silence.

    Args:
        mel: float32 [80, T].

    Returns:
        float32 [segments, 80, 3000]; int32 [segments], how many of the encoder's positions are not padding.
    """
    mel_frames = mel.shape[1]
    segments = -(-mel_frames // SEGMENT_MEL_FRAMES)
    padded = np.pad(mel, ((0, 0), (0, segments * SEGMENT_MEL_FRAMES - mel_frames)))
    lengths = np.minimum(mel_frames - np.arange(segments) * SEGMENT_MEL_FRAMES, SEGMENT_MEL_FRAMES)
    cut = padded.reshape(MEL_BANDS, segments, SEGMENT_MEL_FRAMES).transpose(1, 0, 2)
    return cut, (lengths // MEL_FRAMES_PER_POSITION).astype(np.int32)


def mel_filters() -> np.ndarray:
    """Return the filters from the spectrum to mel bands, float64 [80, 201]."""
    return slaney_filters(MEL_BANDS, *MEL_RANGE_HZ, FFT_SIZE)


def _check_samples(samples: np.ndarray) -> None:
    if len(samples) < MIN_SAMPLES:
        raise ValueError(
            f"audio: expected at least {MIN_SAMPLES} samples (0.02 s at 16 kHz), got {len(samples)}. Send longer audio"
        )
    check_audio(samples)


def _log_power(windows: np.ndarray) -> np.ndarray:
    """Compute mel frames from their samples, float32 [T, 400] -> float32 [80, T]."""
    power = np.abs(np.fft.rfft(windows * periodic_hann(FFT_SIZE), axis=1)) ** 2
    return np.log10(np.maximum(POWER_FLOOR, mel_filters() @ power.T)).astype(np.float32)
