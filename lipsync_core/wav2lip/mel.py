"""Speech to mel windows, one per frame, exactly as the generator was trained. Knows nothing of pictures.

Source: docs/specs/wav2lip.md, "Mel spectrogram" and "Mel windows".
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.checks import check_audio

SAMPLE_RATE = 16_000  # Hz
HOP = 200  # samples
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP  # 80
FFT_SIZE = 800  # samples; the taper has the same length
REACH = FFT_SIZE // 2  # samples on either side of a column's centre
BANDS = 80
MEL_RANGE_HZ = (55.0, 7600.0)
LINEAR_UP_TO_HZ = 1000.0  # Slaney's scale: linear up to here, then logarithmic
LINEAR_HZ_PER_MEL = 200 / 3
MELS_PER_OCTAVE = 27 / math.log(6.4)  # per factor e, in truth
PRE_EMPHASIS = 0.97
MAGNITUDE_FLOOR = 1e-5  # -100 dB
REFERENCE_DB = 20.0
MAX_VALUE = 4.0  # 0 dB and above; -100 dB and below are -4
VALUE_PER_DB = 2 * MAX_VALUE / 100
BLOCK_COLUMNS = 4096  # worked on at once: bounds memory for long audio

WINDOW_COLUMNS = 16  # 200 ms, from the frame's own time on
CONTEXT_COLUMNS = REACH // HOP  # that a column needs on either side of itself
FPS_RANGE = (1.0, 1000.0)


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Turn speech into mel columns, 80 per second.

    The spectrum is float64: float32 differs by up to 7e-5.

    Args:
        samples: float32 [S], mono at 16 kHz, full scale 1.

    Returns:
        float32 [80, 1 + S // 200], low band first, -4 (silence) .. 4; column t is centred on sample 200 t.

    Raises:
        ValueError: a sample is not a number or infinite.
    """
    check_audio(samples)
    if not len(samples):
        return np.full((BANDS, 1), -MAX_VALUE, np.float32)
    exact = samples.astype(np.float64)
    exact[1:] -= PRE_EMPHASIS * samples[:-1].astype(np.float64)
    padded = np.pad(exact, REACH, mode="reflect")
    segments = sliding_window_view(padded, FFT_SIZE)[::HOP]
    blocks = [_columns(segments[i : i + BLOCK_COLUMNS]) for i in range(0, len(segments), BLOCK_COLUMNS)]
    return np.concatenate(blocks).T.astype(np.float32)


def _columns(segments: np.ndarray) -> np.ndarray:
    magnitudes = np.abs(np.fft.rfft(segments * _taper(), axis=1)) @ mel_filters().T
    decibels = 20 * np.log10(np.maximum(MAGNITUDE_FLOOR, magnitudes)) - REFERENCE_DB
    return np.clip(VALUE_PER_DB * decibels + MAX_VALUE, -MAX_VALUE, MAX_VALUE)


def window_starts(columns: int, fps: float) -> np.ndarray:
    """Place one window per output frame of a clip with a constant rate.

    The last window is the clip's last 16 columns; where it starts there is no more frame, so a clip of 9.6 s at
    25 fps has 237. The product is i * (80 / fps) in float64: other orders differ by one column now and then.

    Args:
        columns: of the whole spectrogram; fewer than 16 count as 16.
        fps: frames per second.

    Returns:
        int32 [N], the column that each window starts at.

    Raises:
        ValueError: fps is no sensible rate.
    """
    step = COLUMNS_PER_SECOND / checked_fps(fps)
    last = max(columns, WINDOW_COLUMNS) - WINDOW_COLUMNS
    starts = np.trunc(np.arange(math.ceil((last + 1) / step) + 1) * step).astype(np.int32)
    return np.append(starts[starts <= last], np.int32(last))


def window_start(frame_index: int, fps: float) -> int:
    """Place the window of one frame, of a clip with a constant rate and without end."""
    return int(frame_index * (COLUMNS_PER_SECOND / checked_fps(fps)))


def window_starts_at(times_s: np.ndarray) -> np.ndarray:
    """Place windows at frames' own times, float64 [F] in seconds from the first sample: for variable rates.

    Returns:
        int32 [F], never below 0.
    """
    columns = times_s * COLUMNS_PER_SECOND + 1e-6  # 8 must not become 7 for having been 3 / 30 * 80
    return np.maximum(0, np.floor(columns)).astype(np.int32)


def checked_fps(fps: float) -> float:
    """Return a frame rate that can be one.

    Raises:
        ValueError: it is not.
    """
    low, high = FPS_RANGE
    if not low <= fps <= high:  # NaN included
        raise ValueError(f"fps: expected {low:g} to {high:g} frames per second, got {fps:g}. Check the video file")
    return fps


def samples_for_windows(starts: np.ndarray, sample_count: int) -> tuple[slice, np.ndarray]:
    """Say which samples of a long speech give the same windows as all of it.

    A column looks 400 samples to either side; where the part ends with the speech, so does the spectrogram.

    Args:
        starts: int [F], at least one, columns of the whole speech's spectrogram.
        sample_count: samples of the whole speech.

    Returns:
        the part, in samples; int32 [F], the starts within the part's own spectrogram.
    """
    first = max(0, int(starts.min()) - CONTEXT_COLUMNS)
    end = (int(starts.max()) + WINDOW_COLUMNS - 1 + CONTEXT_COLUMNS) * HOP
    return slice(first * HOP, min(sample_count, end)), (starts - first).astype(np.int32)


def mel_windows(mel: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Cut windows out of a spectrogram; one shorter than a window is followed by silence.

    Args:
        mel: float32 [80, L].
        starts: int [F], the column that each window starts at.

    Returns:
        float32 [F, 80, 16].

    Raises:
        ValueError: a window is not inside.
    """
    if mel.shape[1] < WINDOW_COLUMNS:
        mel = np.pad(mel, ((0, 0), (0, WINDOW_COLUMNS - mel.shape[1])), constant_values=-MAX_VALUE)
    last = mel.shape[1] - WINDOW_COLUMNS
    if len(starts) and not (starts.min() >= 0 and starts.max() <= last):
        raise ValueError(
            f"window_starts: expected columns 0 to {last} of this audio, got {starts.min()} to {starts.max()}."
            " Send the audio that the windows lie in"
        )
    return sliding_window_view(mel, WINDOW_COLUMNS, axis=1)[:, starts].transpose(1, 0, 2)


def check_windows(windows: np.ndarray) -> np.ndarray:
    """Return finished windows, float [F, 80, 16].

    Raises:
        ValueError: one holds what is no number.
    """
    broken = np.flatnonzero(~np.isfinite(windows).all(axis=(1, 2)))
    if len(broken):
        raise ValueError(
            f"mel_windows: expected finite values, got NaN or infinity in window {broken[0]}. Send silence as -4"
        )
    return windows


@functools.cache
def mel_filters() -> np.ndarray:
    """Triangles of equal area over the spectrum's bins, float64 [80, 401]."""
    low, high = (_hz_to_mel(edge) for edge in MEL_RANGE_HZ)
    points = _mel_to_hz(np.linspace(low, high, BANDS + 2))[:, None]
    bins = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (points[2:] - points[:-2])


@functools.cache
def _taper() -> np.ndarray:
    """Periodic Hann window, float64 [800]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE)


def _hz_to_mel(hz: float) -> float:
    if hz < LINEAR_UP_TO_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return LINEAR_UP_TO_HZ / LINEAR_HZ_PER_MEL + math.log(hz / LINEAR_UP_TO_HZ) * MELS_PER_OCTAVE


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    bend = LINEAR_UP_TO_HZ / LINEAR_HZ_PER_MEL
    above = LINEAR_UP_TO_HZ * np.exp((mel - bend) / MELS_PER_OCTAVE)
    return np.where(mel < bend, mel * LINEAR_HZ_PER_MEL, above)
