"""Speech to Whisper's log-mel segments, by the whole or by parts with equal results. Knows nothing of pictures.

The floor under the logarithm hangs on the loudest moment of the whole speech, its peak. With the peak, a segment can
be computed from its own samples, and is then what the whole speech would have given, to the last bit.

Source: docs/specs/whisper.md, "Log-mel segments".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.checks import check_audio

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP  # 100
FFT_SIZE = 400  # samples; the taper has the same length
REACH = FFT_SIZE // 2  # samples before a column's centre, and as many from it on
BANDS = 80
MAX_HZ = 8000.0
LINEAR_UP_TO_HZ = 1000.0  # Slaney's scale: linear up to here, then logarithmic
LINEAR_HZ_PER_MEL = 200 / 3
MELS_PER_FACTOR_E = 27 / math.log(6.4)
POWER_FLOOR = 1e-10
RANGE = np.float32(8)  # decades under the peak

SEGMENT_COLUMNS = 3000  # 30 s, what Whisper sees at once
COLUMNS_PER_POSITION = 2  # the encoder halves the rate: 50 positions per second
SEGMENT_POSITIONS = SEGMENT_COLUMNS // COLUMNS_PER_POSITION
MIN_SAMPLES = COLUMNS_PER_POSITION * HOP  # below this there is not one position
CONTEXT_COLUMNS = -(-REACH // HOP)  # that a part needs before its first column


class SpeechPart(NamedTuple):
    """A part of a speech that gives some columns of the whole: samples to send, and where the columns lie in them."""

    samples: slice  # of the whole speech
    first_column: int  # of the part's own columns
    column_count: int


def column_count(sample_count: int) -> int:
    """Count the columns of a speech."""
    return sample_count // HOP


def segment_count(sample_count: int) -> int:
    """Count the segments of a speech; the last one may be short."""
    return -(-column_count(sample_count) // SEGMENT_COLUMNS)


def position_count(sample_count: int) -> int:
    """Count the encoder's positions of a speech: an odd last column gives none."""
    return column_count(sample_count) // COLUMNS_PER_POSITION


def segment_part(segment: int, sample_count: int) -> SpeechPart:
    """Say which samples one segment needs.

    Args:
        segment: from 0 on; below `segment_count`.
        sample_count: samples of the whole speech.
    """
    first = segment * SEGMENT_COLUMNS
    end = min(first + SEGMENT_COLUMNS, column_count(sample_count))
    start = max(0, first - CONTEXT_COLUMNS)
    stop = min((end - 1) * HOP + REACH, sample_count)
    return SpeechPart(slice(start * HOP, stop), first - start, end - first)


def log_mel(samples: np.ndarray, first: int = 0, count: int | None = None) -> np.ndarray:
    """Compute columns of a speech, without the floor under the peak.

    Args:
        samples: float32 [S], mono at 16 kHz, full scale 1.
        first: first column.
        count: how many; all to the end when left out.

    Returns:
        float32 [80, count], decades, -10 or more; column t is centred on sample 160 t.

    Raises:
        ValueError: a sample is no finite number, the speech is too short, or the columns are not in it.
    """
    _check_samples(samples)
    available = column_count(len(samples))
    count = available - first if count is None else count
    if first < 0 or count < 1 or first + count > available:
        raise ValueError(
            f"first_column, column_count: expected columns within 0 to {available} of this audio,"
            f" got {first} to {first + count}. Send the samples that the columns need"
        )
    padded = np.pad(samples, REACH, mode="reflect")
    windows = sliding_window_view(padded, FFT_SIZE)[::HOP][first : first + count]
    # Whole segments at a time: a sum's rounding may hang on the number of rows, which must not differ between parts.
    starts = range(0, count, SEGMENT_COLUMNS)
    return np.concatenate([_log_power(windows[start : start + SEGMENT_COLUMNS]) for start in starts], axis=1)


def log_mel_peak(samples: np.ndarray) -> float:
    """Find the highest value of a speech's columns; the floor lies 8 decades below."""
    return find_peak(samples[segment_part(i, len(samples)).samples] for i in range(segment_count(len(samples))))


def find_peak(parts: Iterable[np.ndarray]) -> float:
    """Find a long speech's peak from the samples of its segments (`segment_part`), one by one."""
    peaks = []
    for index, samples in enumerate(parts):
        first = CONTEXT_COLUMNS if index else 0
        count = min(SEGMENT_COLUMNS, column_count(len(samples)) - first)
        peaks.append(float(log_mel(samples, first, count).max()))
    return max(peaks)


def normalise(columns: np.ndarray, peak: float) -> np.ndarray:
    """Floor columns 8 decades under the peak, and bring them to Whisper's range; float32, the same shape."""
    floor = np.float32(peak) - RANGE
    return (np.maximum(columns, floor) + np.float32(4)) / np.float32(4)


def cut_segments(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut finished columns into segments; what is missing at the end becomes 0, which is far from silence.

    Args:
        mel: float32 [80, T].

    Returns:
        float32 [segments, 80, 3000]; int32 [segments], the encoder's positions that count.
    """
    columns = mel.shape[1]
    segments = -(-columns // SEGMENT_COLUMNS)
    padded = np.pad(mel, ((0, 0), (0, segments * SEGMENT_COLUMNS - columns)))
    lengths = np.minimum(columns - np.arange(segments) * SEGMENT_COLUMNS, SEGMENT_COLUMNS)
    cut = padded.reshape(BANDS, segments, SEGMENT_COLUMNS).transpose(1, 0, 2)
    return cut, (lengths // COLUMNS_PER_POSITION).astype(np.int32)


@functools.cache
def mel_filters() -> np.ndarray:
    """Triangles of equal area over the spectrum's bins, float64 [80, 201]."""
    points = _mel_to_hz(np.linspace(0, _hz_to_mel(MAX_HZ), BANDS + 2))[:, None]
    bins = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (points[2:] - points[:-2])


def _check_samples(samples: np.ndarray) -> None:
    if len(samples) < MIN_SAMPLES:
        raise ValueError(
            f"audio: expected at least {MIN_SAMPLES} samples (0.02 s at 16 kHz), got {len(samples)}."
            " Give a longer speech"
        )
    check_audio(samples)


def _log_power(windows: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(windows * _taper(), axis=1)) ** 2
    return np.log10(np.maximum(POWER_FLOOR, mel_filters() @ power.T)).astype(np.float32)


@functools.cache
def _taper() -> np.ndarray:
    """Periodic Hann window, float64 [400]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)


def _hz_to_mel(hz: float) -> float:
    return LINEAR_UP_TO_HZ / LINEAR_HZ_PER_MEL + math.log(hz / LINEAR_UP_TO_HZ) * MELS_PER_FACTOR_E


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    bend = LINEAR_UP_TO_HZ / LINEAR_HZ_PER_MEL
    above = LINEAR_UP_TO_HZ * np.exp((mel - bend) / MELS_PER_FACTOR_E)
    return np.where(mel < bend, mel * LINEAR_HZ_PER_MEL, above)
