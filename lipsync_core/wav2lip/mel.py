"""Mel windows of audio, one per frame, as the generator was trained on them.

Source: docs/specs/wav2lip.md, "Mel spectrogram" and "Mel windows".
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.audio.mel import periodic_hann, slaney_filters
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE, exact_div
from lipsync_core.checks import check_audio

HOP = 200  # samples from one mel frame to the next
MEL_FRAMES_PER_SECOND = exact_div(AUDIO_SAMPLE_RATE, HOP)  # 80
FFT_SIZE = 800  # samples; the Hann window has the same length
REACH = exact_div(FFT_SIZE, 2)  # samples on either side of a mel frame's centre
MEL_BANDS = 80
MEL_RANGE_HZ = (55.0, 7600.0)
PRE_EMPHASIS = 0.97
MAGNITUDE_FLOOR = 1e-5  # -100 dB
REFERENCE_DB = 20.0
MAX_VALUE = 4.0  # 0 dB and above; -100 dB and below are -4
VALUE_PER_DB = 2 * MAX_VALUE / 100
BLOCK_MEL_FRAMES = 4096  # computed at once: bounds memory for long audio

WINDOW_MEL_FRAMES = 16  # 200 ms, starting at the video frame's own time
CONTEXT_MEL_FRAMES = exact_div(REACH, HOP)  # that a mel frame's samples reach into, on either side
SILENT = -1  # start of a window of silence, for frames after the audio
FPS_RANGE = (1.0, 1000.0)


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute the mel spectrogram of audio, 80 mel frames per second.

    The spectrum is computed in float64: in float32 it differs by up to 7e-5.

    Args:
        samples: float32 [S], mono at 16 kHz, -1 to 1.

    Returns:
        float32 [80, 1 + S // 200], low band first, -4 (silence) to 4; mel frame t is centred on sample 200 t.

    Raises:
        ValueError: A sample is NaN or infinite.
    """
    check_audio(samples)
    if not len(samples):
        return np.full((MEL_BANDS, 1), -MAX_VALUE, np.float32)
    exact = samples.astype(np.float64)
    exact[1:] -= PRE_EMPHASIS * samples[:-1].astype(np.float64)
    padded = np.pad(exact, REACH, mode="reflect")
    segments = sliding_window_view(padded, FFT_SIZE)[::HOP]
    blocks = [_mel_frames(segments[i : i + BLOCK_MEL_FRAMES]) for i in range(0, len(segments), BLOCK_MEL_FRAMES)]
    return np.concatenate(blocks).T.astype(np.float32)


def mel_frame_count(sample_count: int) -> int:
    """Count the mel frames of audio of this many samples."""
    return 1 + sample_count // HOP


def mel_filters() -> np.ndarray:
    """Return the filters from the spectrum to mel bands, float64 [80, 401]."""
    return slaney_filters(MEL_BANDS, *MEL_RANGE_HZ, FFT_SIZE)


def window_start(frame_index: int, fps: float) -> int:
    """Place the window of one frame of a video with a constant frame rate, wherever the audio ends.

    The product is i * (80 / fps) in float64, as in the original: other orders sometimes differ by one mel frame.

    Args:
        frame_index: Number of the frame, from 0.
        fps: Frames per second of the video.

    Returns:
        The window's first mel frame.

    Raises:
        ValueError: fps is out of range.
    """
    return int(frame_index * (MEL_FRAMES_PER_SECOND / checked_fps(fps)))


def window_starts_at(times_s: np.ndarray) -> np.ndarray:
    """Place windows by the frames' times, for videos with a variable frame rate.

    Args:
        times_s: float64 [F], seconds from the first sample.

    Returns:
        int32 [F], each window's first mel frame, 0 or more.
    """
    mel_frames = times_s * MEL_FRAMES_PER_SECOND + 1e-6  # 3 / 30 * 80 must not round down to 7
    return np.maximum(0, np.floor(mel_frames)).astype(np.int32)


def checked_fps(fps: float) -> float:
    """Return the frame rate if it is plausible.

    Raises:
        ValueError: fps is out of range.
    """
    low, high = FPS_RANGE
    if not low <= fps <= high:  # NaN included
        raise ValueError(f"fps: expected {low:g} to {high:g} frames per second, got {fps:g}. Check the video file")
    return fps


def starts_within(starts: np.ndarray, mel_frames: int) -> np.ndarray:
    """Fit windows to the audio's end.

    Windows that reach beyond it become its last one, as in the original; those that begin behind it are silent.

    Args:
        starts: int [F], where the frames' own times place their windows.
        mel_frames: Length of the whole spectrogram.

    Returns:
        int32 [F], each window's first mel frame, or SILENT.
    """
    last = max(mel_frames - WINDOW_MEL_FRAMES, 0)
    return np.where(starts < mel_frames, np.minimum(starts, last), SILENT).astype(np.int32)


def samples_for_windows(starts: np.ndarray, sample_count: int) -> tuple[slice, np.ndarray]:
    """Find the part of long audio that gives the same windows as the whole.

    A mel frame covers 400 samples on either side. Where the part ends with the audio, so does its spectrogram.

    Args:
        starts: int [F], at least one; the windows' first mel frames in the whole audio, or SILENT.
        sample_count: Length of the whole audio in samples.

    Returns:
        The part, in samples, empty if all windows are silent; int32 [F], the windows' first mel frames within the
        part, or SILENT.
    """
    heard = starts[starts != SILENT]
    if not len(heard):
        return slice(0, 0), starts.astype(np.int32)
    first = max(0, int(heard.min()) - CONTEXT_MEL_FRAMES)
    end = (int(heard.max()) + WINDOW_MEL_FRAMES - 1 + CONTEXT_MEL_FRAMES) * HOP
    own_starts = np.where(starts == SILENT, SILENT, starts - first).astype(np.int32)
    return slice(first * HOP, min(sample_count, end)), own_starts


def mel_windows(mel: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Cut windows out of a spectrogram; one shorter than a window is padded with silence.

    Args:
        mel: float32 [80, T].
        starts: int [F], each window's first mel frame, or SILENT.

    Returns:
        float32 [F, 80, 16].

    Raises:
        ValueError: A window is not within the spectrogram.
    """
    if mel.shape[1] < WINDOW_MEL_FRAMES:
        mel = np.pad(mel, ((0, 0), (0, WINDOW_MEL_FRAMES - mel.shape[1])), constant_values=-MAX_VALUE)
    last, silent = mel.shape[1] - WINDOW_MEL_FRAMES, starts == SILENT
    heard = starts[~silent]
    if len(heard) and not (heard.min() >= 0 and heard.max() <= last):
        raise ValueError(
            f"window_starts: expected mel frames 0 to {last} of this audio, got {heard.min()} to {heard.max()}."
            f" Send the audio that the windows cover, and {SILENT} for silence"
        )
    windows = sliding_window_view(mel, WINDOW_MEL_FRAMES, axis=1)[:, np.where(silent, 0, starts)].transpose(1, 0, 2)
    windows[silent] = -MAX_VALUE
    return windows


def check_windows(windows: np.ndarray) -> np.ndarray:
    """Check mel windows computed by the caller, float [F, 80, 16], and return them.

    Raises:
        ValueError: A window holds NaN or infinity.
    """
    broken = np.flatnonzero(~np.isfinite(windows).all(axis=(1, 2)))
    if len(broken):
        raise ValueError(
            f"mel_windows: expected finite values, got NaN or infinity in window {broken[0]}. Send silence as -4"
        )
    return windows


def _mel_frames(segments: np.ndarray) -> np.ndarray:
    """Compute mel frames from their samples, float64 [T, 800] -> float64 [T, 80]."""
    magnitudes = np.abs(np.fft.rfft(segments * periodic_hann(FFT_SIZE), axis=1)) @ mel_filters().T
    decibels = 20 * np.log10(np.maximum(MAGNITUDE_FLOOR, magnitudes)) - REFERENCE_DB
    return np.clip(VALUE_PER_DB * decibels + MAX_VALUE, -MAX_VALUE, MAX_VALUE)
