"""The voice of a stream as it grows, and what generators know of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from client.live.voice import GrowingVoice, Track
from client.media import AudioSource
from client.options import read_options
from client.pipeline import LiveWindows
from client.pipelines.heard_speech import HeardShapes, HeardVoice, ShapeGain
from client.pipelines.live_options import LIVE_WINDOWS
from client.pipelines.speech import SpeechShapes
from client.servers.calls import InferRequest
from lipsync_core.audio.lip_shapes import lip_shapes, speech_statistics, statistics_from_tensor
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.audio.running import BLOCK, RunningStatistics
from lipsync_core.audio.speaking import WINDOW, SpeechSpans
from lipsync_core.contract import ModelContract, TensorSpec
from lipsync_core.mouth import real_shapes
from lipsync_core.mouth.contour import asked_openings
from tests.server.clips import SPEECH, write_wave
from tests.unit.test_audio import noise, syllables

LIVE = LiveWindows(look_ahead_s=0.25, chunk_frames=1)
TIMES = (np.arange(75) + 0.5) / 25


class Models:
    """Answers as the models do: a window is speech where it is loud."""

    def __init__(self) -> None:
        self.windows = 0

    def contract(self, model: str) -> ModelContract:
        state = TensorSpec("state", np.dtype(np.float32), (1,))
        return ModelContract(model, "", 0, (state,), (), {})

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        inputs = request.inputs
        if "frame_times" in inputs:
            known = inputs.get("speech_statistics")
            audio = inputs["audio"]
            statistics = speech_statistics([audio]) if known is None else statistics_from_tensor(known)
            found = lip_shapes(audio, statistics, inputs["frame_times"])
            return {"mouth_shapes": real_shapes(*found, float(inputs["shape_gain"][0]))}
        self.windows += 1
        loud = np.abs(inputs["audio"]).reshape(-1, WINDOW).max(axis=1) > 0.05
        return {"speech_probs": loud.astype(np.float32), "next_state": np.ones(1, np.float32)}


def voice_of(samples: np.ndarray, rate: int = AUDIO_SAMPLE_RATE) -> GrowingVoice:
    voice = GrowingVoice(rate)
    voice.append(samples)
    return voice


def some_speech(seconds: float = 4.0) -> np.ndarray:
    return (syllables(seconds) + 0.01 * noise(seconds)).astype(np.float32)


def heard_shapes(voice: GrowingVoice | AudioSource) -> HeardShapes:
    return HeardShapes(Models(), voice, LIVE)  # type: ignore[arg-type]  # it is asked for answers alone


def shapes_of(heard: HeardShapes, times_s: np.ndarray) -> np.ndarray:
    return heard.around(times_s, (0.1, 0.2), ShapeGain(lambda _: 2.0, 1.0))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_voice_is_resampled_as_a_file_is(tmp_path: Path, rate: int) -> None:
    """However it is cut into pieces."""
    samples = some_speech(1.0)
    voice = GrowingVoice(rate)
    for start in range(0, len(samples), 333):
        voice.append(samples[start : start + 333])
    voice.finish()
    with AudioSource(write_wave(tmp_path / "voice.wav", samples, rate, "pcm_f32le")) as source:
        assert voice.speech_length == source.speech_length
        assert np.array_equal(voice.window(-5, source.speech_length + 5), source.window(-5, source.speech_length + 5))


def test_silence_and_cuts_keep_the_voice_on_its_timeline() -> None:
    """What is cut is gone, and what follows is heard where it was cut."""
    voice = voice_of(np.full(16_000, 0.5, np.float32))
    voice.be_silent_until(20_000)
    assert voice.speech_length >= 20_000
    assert not voice.window(16_000, 20_000).any()
    voice.cut(0.5)
    assert (voice.duration, voice.speech_length) == (0.5, 8_000)
    voice.append(np.full(100, 0.25, np.float32))
    assert np.array_equal(voice.window(7_999, 8_001), np.array([0.5, 0.25], np.float32))
    voice.forget(0.4)
    assert voice.held_s == pytest.approx(0.1 + 100 / 16_000)
    assert not voice.window(0, 6_400).any()
    assert voice.sound(0.4, 0.5).all()


@pytest.mark.parametrize(("rate", "fps"), [(44_100, 24), (22_050, 60), (11_025, 50)])
def test_frames_share_the_sound_among_them(rate: int, fps: int) -> None:
    """No sample is lost or heard twice where frames end in the middle of one."""
    voice = GrowingVoice(rate)
    voice.append(np.arange(2 * rate, dtype=np.float32))
    duration_s = 1 / fps
    sounds = [voice.sound(number / fps, number / fps + duration_s) for number in range(2 * fps)]
    assert np.array_equal(np.concatenate(sounds), np.arange(2 * rate))


def test_a_piece_is_added_without_copying_what_waits() -> None:
    """So that a minute of voice in small pieces keeps no other stream waiting."""
    track = Track()
    rooms = []
    for piece in np.arange(100_000, dtype=np.float32).reshape(-1, 10):
        track.append(piece)
        if not rooms or track._room is not rooms[-1]:
            rooms.append(track._room)
    assert len(rooms) < 20
    track.forget(30_000)
    track.cut(60_000)
    track.append(np.ones(5, np.float32))
    assert (track.held, track.end) == (30_005, 60_005)
    expected = np.concatenate([np.zeros(1), np.arange(30_000, 60_000), np.ones(5), np.zeros(2)])
    assert np.array_equal(track.read(29_999, 60_007), expected)


def test_nothing_that_is_said_later_changes_a_frame() -> None:
    """A voice that ends a quarter of a second after a frame gives the frame the same shapes and the same mouth."""
    speech = some_speech()
    whole = voice_of(speech)
    shapes, speaking = shapes_of(heard_shapes(whole), TIMES), HeardVoice(Models(), whole, LIVE).at(TIMES)  # type: ignore[arg-type]
    for frame in (10, 37, 74):
        known = round((TIMES[frame] + LIVE.look_ahead_s) * AUDIO_SAMPLE_RATE)
        part = voice_of(np.concatenate([speech[:known], -speech[known:]]))
        again = shapes_of(heard_shapes(part), TIMES[: frame + 1])
        assert np.array_equal(again, shapes[:, : frame + 1])
        assert np.array_equal(HeardVoice(Models(), part, LIVE).at(TIMES[: frame + 1]), speaking[: frame + 1])  # type: ignore[arg-type]


def test_what_is_asked_again_is_answered_alike() -> None:
    """Earlier frames, after later ones were asked for."""
    voice = HeardVoice(Models(), voice_of(np.concatenate([np.zeros(16_000, np.float32), some_speech(2.0)])), LIVE)  # type: ignore[arg-type]
    first = voice.at(TIMES)
    assert np.array_equal(voice.at(TIMES), first)
    assert first[0] == 0
    assert first[60] == 1


def test_digital_silence_is_not_sent() -> None:
    """But for the second after a sound; a later sound is heard at once."""
    models = Models()
    voice = HeardVoice(models, voice_of(np.zeros(48_000, np.float32)), LIVE)  # type: ignore[arg-type]
    assert not voice.at(TIMES[:60]).any()
    assert models.windows == 0
    samples = np.zeros(80_000, np.float32)
    samples[16_000:17_000] = 0.5
    voice = HeardVoice(models, voice_of(samples), LIVE)  # type: ignore[arg-type]
    assert voice.at(np.arange(100) / 25)[25] == 1
    assert 30 <= models.windows <= 35


def test_hushed_mouths_close_within_two_frames_and_open_again() -> None:
    """Whatever was said before; the voice after it counts."""
    voice = voice_of(some_speech(2.0))
    heard = HeardVoice(Models(), voice, LIVE)  # type: ignore[arg-type]
    assert heard.at(TIMES[:25]).all()
    voice.cut(1.0)
    heard.hush(1.0)
    voice.be_silent_until(3 * AUDIO_SAMPLE_RATE)
    weights = heard.at(TIMES[25:60])
    assert weights[0] > 0.5
    assert not weights[2:].any()
    voice.append(some_speech(2.0))
    assert heard.at(np.array([voice.duration - 1.0])).all()


def test_statistics_approach_those_of_the_whole_voice() -> None:
    """None before there was half a second of sound, and nearly the whole voice's at the end."""
    speech = some_speech(8.0)
    running = RunningStatistics(voice_of(speech).window)
    assert running.until(BLOCK) is None
    early = running.until(16_000)
    assert early is not None
    assert running.sureness < 0.5
    late, whole = running.until(8 * AUDIO_SAMPLE_RATE), speech_statistics([speech])
    assert late is not None
    assert running.sureness == 1
    apart = [np.abs(found.tensor[:21] - whole.tensor[:21]).max() for found in (early, late)]
    assert apart[1] < 1.0  # dB; the last block is not heard yet
    assert apart[1] <= apart[0]


def test_spans_judged_early_are_those_that_were_known_then() -> None:
    """As if later windows had not been added."""
    probs = np.array([0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0], np.float32)
    times = np.arange(20) * 0.032
    spans = SpeechSpans()
    spans.add(probs)
    for known in range(len(probs) + 1):
        early = SpeechSpans()
        early.add(probs[:known])
        assert np.array_equal(spans.weights(times, known), early.weights(times))


def test_live_mouths_are_close_to_those_of_jobs() -> None:
    """On real speech: how far they open, and when they close; docs/live.md has the figures."""
    with AudioSource(SPEECH) as audio:
        times = (np.arange(round(25 * audio.duration)) + 0.5) / 25
        statistics = speech_statistics([audio.window(0, audio.speech_length)])
        whole = SpeechShapes(Models(), audio, statistics, 2.0).at(times)  # type: ignore[arg-type]
        live = heard_shapes(audio).around(times, (), ShapeGain(lambda _: 2.0, 1.0))[0]
    early, late = times < 1, times >= 3
    for part, least in ((early, 0.9), (late, 0.99)):
        assert np.corrcoef(asked_openings(whole[part]), asked_openings(live[part]))[0, 1] > least
    assert np.corrcoef(whole[:, -1], live[:, -1])[0, 1] > 0.98


def test_a_pipeline_that_must_hear_all_refuses_live_windows() -> None:
    """Others take them."""
    assert read_options({"live_windows": True, "model": "wav2lip"})[LIVE_WINDOWS]
    with pytest.raises(UsageError, match="live_windows: expected model mouth-motion or wav2lip or musetalk, got model"):
        read_options({"live_windows": True, "model": "latentsync"})
