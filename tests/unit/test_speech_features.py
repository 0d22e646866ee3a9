"""The speech that Whisper hears: 16 bits, as LatentSync's original has FFmpeg make it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler

from client.media import AudioSource
from client.pipelines.speech import SpeechFeatures
from client.servers.calls import InferRequest
from lipsync_core.audio.pcm import as_16_bits
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.whisper.mel import log_mel_peak
from tests.media_clips import write_sound

FULL_SCALE = 32_768
TIES = 1e-3  # of the samples: a float half-way between two levels may fall to either side; measured 5e-4


class Server:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[InferRequest] = []

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        self.asked.append(request)
        count = int(request.inputs["mel_frame_count"][0]) // 2
        return {"audio_features": np.zeros((count, 5, 384), np.float32)}


def converted_by_ffmpeg(path: Path) -> np.ndarray:
    """Convert a file to mono, 16 kHz and 16 bits at once, int16 [S]."""
    resampler, pieces = AudioResampler("s16", "mono", AUDIO_SAMPLE_RATE), []
    with av.open(str(path)) as container:
        for frame in (*container.decode(audio=0), None):
            pieces += [piece.to_ndarray().ravel() for piece in resampler.resample(frame) if piece is not None]
    return np.concatenate(pieces)


@pytest.mark.parametrize("loudness", [0.2, 1.5])
@pytest.mark.parametrize(
    ("rate", "codec", "layout"),
    [
        (16_000, "pcm_s16le", "mono"),
        (16_000, "pcm_s16le", "stereo"),
        (44_100, "pcm_s16le", "mono"),
        (44_100, "pcm_s16le", "stereo"),
        (48_000, "pcm_f32le", "stereo"),
    ],
)
def test_whisper_hears_what_the_originals_does(
    tmp_path: Path, rate: int, codec: str, layout: str, loudness: float
) -> None:
    """Rounded, and clipped where it is too loud; the peak that the floor depends on is that of the same samples."""
    noise = np.random.default_rng(0).normal(0, loudness / 2, (2 if layout == "stereo" else 1, rate)).astype(np.float32)
    path = write_sound(tmp_path / "speech.wav", noise, rate=rate, codec=codec, layout=layout)
    server = Server()
    features = SpeechFeatures(server, AudioSource(path))  # type: ignore[arg-type]
    features.between(0, features.count)
    (request,) = server.asked
    heard, expected = request.inputs["audio"], converted_by_ffmpeg(path)[: len(request.inputs["audio"])]
    difference = np.abs(heard * FULL_SCALE - expected)
    assert set(np.unique(difference)) <= {0, 1}
    assert difference.mean() <= TIES
    assert request.inputs["log_mel_peak"] == np.float32(log_mel_peak(heard))


def test_samples_of_16_bits_stay() -> None:
    """All of them; beyond full scale they are clipped, halves are rounded up."""
    every = np.arange(-FULL_SCALE, FULL_SCALE, dtype=np.float32) / FULL_SCALE
    assert np.array_equal(as_16_bits(every), every)
    levels = as_16_bits(np.array([-1.5, -1.5 / FULL_SCALE, 0.5 / FULL_SCALE, 1.0, 7.0], np.float32)) * FULL_SCALE
    assert levels.tolist() == [-32_768, -1, 1, 32_767, 32_767]
