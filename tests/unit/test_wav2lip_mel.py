from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.wav2lip.mel import (
    SILENT,
    check_windows,
    mel_filters,
    mel_spectrogram,
    mel_windows,
    samples_for_windows,
    window_start,
    window_starts_at,
)
from tests.closeness import assert_close
from tests.data.wav2lip_goldens import FOLDER, SPEECH_FILE, SPEECH_SAMPLES
from tests.wav2lip_original import original_windows

CHUNKS = np.load(FOLDER / "chunks.npz")
RATES = dict(zip(CHUNKS["fps_names"].tolist(), CHUNKS["fps_values"].tolist(), strict=True))
LENGTHS = CHUNKS["lens"].tolist()
ROUNDING = 1e-5  # of 4: float32 steps; measured 2e-7
SILENCE = -4


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    with av.open(str(SPEECH_FILE)) as container:
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(np.float32)[:SPEECH_SAMPLES] / 32768


@pytest.mark.parametrize("name", ["mel", "mel_b", "mel_silence", "mel_c"])
def test_golden_spectrograms_hold(reference_dir: Path, name: str) -> None:
    """The original's, on speech that is loud at both ends, silence, and a sound of 0.19 s."""
    goldens = np.load(reference_dir / "wav2lip" / "mel_demo1.npz")
    mel = mel_spectrogram(goldens[name.replace("mel", "wav")])
    assert mel.dtype == np.float32
    assert mel.shape == goldens[name].shape
    assert_close(mel, goldens[name], rel=ROUNDING)


def test_a_spectrogram_is_librosas(speech: np.ndarray) -> None:
    """With the settings that the original fixes."""
    expected = np.load(FOLDER / "speech_mel.npy")
    assert_close(mel_spectrogram(speech), expected, rel=ROUNDING)


def test_golden_filters_hold() -> None:
    """80 triangles of Slaney's scale."""
    expected = np.load(FOLDER / "audio.npz")["mel_basis"]
    assert_close(mel_filters(), expected, rel=1e-6)  # kept as float32; measured 6e-8


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", RATES)
def test_golden_window_starts_hold(name: str, length: int) -> None:
    """13 rates, clips of 0.2 s to 10 min."""
    assert np.array_equal(original_windows(length, RATES[name]), CHUNKS[f"start_fps{name}_len{length}"])


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60])
def test_times_of_a_constant_rate_give_its_windows(rate: int) -> None:
    """A variable rate that does not vary is a constant one."""
    indices = np.arange(2000)
    expected = [indices_start * 80 // rate for indices_start in range(2000)]
    assert window_starts_at(indices / rate).tolist() == expected


def test_a_frame_before_the_audio_sees_its_beginning() -> None:
    """No window starts below 0."""
    assert window_starts_at(np.array([-0.04, 0.0, 0.0125])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("first", [0, 1, 2, 3, 57, 150, 180])
def test_a_part_of_the_audio_gives_the_same_windows(speech: np.ndarray, first: int) -> None:
    """At the beginning, inside and at the end of a speech."""
    starts = np.array([first, first + 3, min(first + 16, 185)])
    part, own_starts = samples_for_windows(starts, len(speech))
    expected = mel_windows(mel_spectrogram(speech), starts)
    windows = mel_windows(mel_spectrogram(speech[part]), own_starts)
    assert part.stop - part.start <= (16 + 16 + 4) * 200
    assert_close(windows, expected, rel=ROUNDING)


@pytest.mark.parametrize("count", [0, 1, 199, 400, 2999])
def test_audio_shorter_than_a_window_is_followed_by_silence(count: int) -> None:
    """The original fails below 3000 samples."""
    mel = mel_spectrogram(np.full(count, 0.5, np.float32))
    starts = original_windows(mel.shape[1], 25)
    windows = mel_windows(mel, starts)
    assert starts.tolist() == [0, 0]
    assert windows.shape == (2, 80, 16)
    assert np.isfinite(windows).all()
    assert (windows[:, :, mel.shape[1] :] == SILENCE).all()


def test_silence_is_no_nan() -> None:
    """Gaps in synthesised speech are digital zeros."""
    assert (mel_spectrogram(np.zeros(8000, np.float32)) == SILENCE).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_mel_spectrogram_fails_on_broken_samples(value: float) -> None:
    """They would spread over whole columns."""
    with pytest.raises(ValueError, match="audio: expected finite samples, got NaN or infinity"):
        mel_spectrogram(np.array([0, value, 0], np.float32))


def test_check_windows_fails_on_broken_values() -> None:
    """The first broken window is named."""
    windows = np.zeros((3, 80, 16), np.float32)
    assert check_windows(windows) is windows
    windows[2, 5, 5] = np.nan
    with pytest.raises(ValueError, match="mel_windows: expected finite values, got NaN or infinity in window 2"):
        check_windows(windows)


@pytest.mark.parametrize("fps", [0, -1, 0.5, 1e9, float("nan"), float("inf")])
def test_window_start_fails_on_an_absurd_rate(fps: float) -> None:
    """0 divides, negative ones never end, huge ones fill memory."""
    with pytest.raises(ValueError, match="fps: expected 1 to 1000 frames per second"):
        window_start(3, fps)


def test_silent_windows_need_no_audio() -> None:
    """They lie beside others, or alone."""
    mel = mel_spectrogram(np.full(AUDIO_SAMPLE_RATE, 0.5, np.float32))
    windows = mel_windows(mel, np.array([3, SILENT]))
    assert np.array_equal(windows[0], mel[:, 3:19])
    assert (windows[1] == SILENCE).all()
    assert (mel_windows(mel_spectrogram(np.zeros(0, np.float32)), np.array([SILENT])) == SILENCE).all()
    part, starts = samples_for_windows(np.array([SILENT, SILENT]), AUDIO_SAMPLE_RATE)
    assert part == slice(0, 0)
    assert starts.tolist() == [SILENT, SILENT]


@pytest.mark.parametrize("starts", [[-2], [0, 90], [-1, 90]])
def test_mel_windows_fails_outside_the_audio(starts: list[int]) -> None:
    """A window beside the spectrogram is the caller's mistake."""
    mel = mel_spectrogram(np.zeros(AUDIO_SAMPLE_RATE, np.float32))
    with pytest.raises(ValueError, match="window_starts: expected mel frames 0 to 65 of this audio, got"):
        mel_windows(mel, np.array(starts))
