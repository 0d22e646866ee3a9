from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.media import AudioSource
from client.pipelines.speech import SpeechShapes, speech_statistics_of, spoken_shapes
from client.pipelines.voice import VoiceActivity
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.audio.lip_shapes import POPULATION_GAIN
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.audio.speaking import REACH_S
from lipsync_core.mouth import speaker_template, wanted_lips
from lipsync_core.mouth.lips import LIPS, openings
from lipsync_core.serving.server import EmbeddedServer
from tests.closeness import assert_close
from tests.server.clips import read_planes, swaying_head, write_video, write_wave
from tests.server.jobs import job_runner
from tests.sounds import WITHOUT_SPEECH, music, speech
from tests.unit.mouth_samples import LANDMARKS

pytestmark = pytest.mark.server

START = {"context": np.zeros(64, np.float32), "state": np.zeros((2, 128), np.float32)}
OPEN = 0.15  # of the mouth's range
WIDE = 0.2  # eye spans
FRAME_S = 0.04


def test_the_server_carries_on_where_an_earlier_request_ended(connection: TritonConnection) -> None:
    """Two requests, the second with what the first returned, answer as one does; the last window may be short."""
    audio = speech()
    (whole,) = _ask(connection, audio)
    parts = _ask(connection, audio[:51_200], audio[51_200:])
    assert len(whole) == -(-len(audio) // 512)
    assert_close(np.concatenate(parts), whole, rel=1e-4)  # kernels sum in another order by length; measured 1e-6


@pytest.mark.parametrize("sound", WITHOUT_SPEECH)
def test_the_mouth_is_shut_in_sounds_that_are_no_speech(server: EmbeddedServer, tmp_path: Path, sound: str) -> None:
    """No frame of silence, noise, hum, breathing or music opens the mouth."""
    assert _opening(server, write_wave(tmp_path / "sound.wav", WITHOUT_SPEECH[sound](6.0))).max() <= OPEN


def test_music_between_speech_is_silence_and_no_loud_speech_is_lost(server: EmbeddedServer, tmp_path: Path) -> None:
    """The mouth is shut in the music once the fade is over, and follows all loud moments of the speech."""
    spoken, between = speech(), music(5.0, -30)
    sound = np.concatenate([spoken, between, spoken]).clip(-1, 1)
    opening = _opening(server, write_wave(tmp_path / "sound.wav", sound))
    times = (np.arange(len(opening)) + 0.5) * FRAME_S
    start, end = len(spoken) / AUDIO_SAMPLE_RATE, (len(spoken) + len(between)) / AUDIO_SAMPLE_RATE
    assert opening[(times > start + REACH_S) & (times < end - REACH_S)].max() <= OPEN
    with TritonConnection(server.url) as triton, AudioSource(tmp_path / "sound.wav") as audio:
        follows = VoiceActivity(triton, audio).at(times)
    hops = sound[: len(times) * 640].reshape(-1, 640)
    levels = 20 * np.log10(np.sqrt((hops**2).mean(axis=1)) + 1e-6)
    loud = (levels > np.percentile(levels, 95) - 20) & ((times < start) | (times > end))
    assert loud.mean() > 0.4
    assert follows[loud].min() == 1


def test_silence_keeps_the_sources_own_mouth(server: EmbeddedServer, tmp_path: Path) -> None:
    """Every sample is the source's, nothing is generated, and the report says why; the job is complete."""
    clip = write_video(tmp_path / "head.mp4", swaying_head(20))
    sound = write_wave(tmp_path / "music.wav", music(0.8, -20))
    report = job_runner(server, in_silence="keep", lossless=True)(clip, sound, tmp_path / "out.mkv")
    assert (report.frames_synced, report.unchanged["silence"].frames) == (0, 20)
    assert any("no speech was found" in warning for warning in report.warnings)
    for before, after in zip(read_planes(clip), read_planes(tmp_path / "out.mkv"), strict=True):
        np.testing.assert_array_equal(before, after)


def _ask(connection: TritonConnection, *parts: np.ndarray) -> list[np.ndarray]:
    left, found = START, []
    for part in parts:
        answer = connection.infer(InferRequest("voice_activity", {"audio": part, **left}))
        left = {name: answer[f"next_{name}"] for name in left}
        found.append(answer["speech_probs"])
    return found


def _opening(server: EmbeddedServer, sound: Path) -> np.ndarray:
    """Return each frame's opening over a wide one, as the default pipeline asks for it."""
    with TritonConnection(server.url) as triton, AudioSource(sound) as audio:
        times = np.arange(FRAME_S / 2, audio.duration, FRAME_S)
        statistics = speech_statistics_of(audio)
        speaking = VoiceActivity(triton, audio).at(times)
        shapes = spoken_shapes(SpeechShapes(triton, audio, statistics, POPULATION_GAIN), times, speaking)
    mouth = speaker_template(LANDMARKS[None])[list(LIPS), :2]
    return openings(wanted_lips(mouth, shapes)) / WIDE
