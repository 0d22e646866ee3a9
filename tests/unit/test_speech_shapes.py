from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.media import AudioSource
from client.pipelines.speech import BLOCK_S, CLOSED, SpeechShapes, speech_statistics_of, spoken_shapes
from client.servers.calls import InferRequest
from lipsync_core.audio.lip_shapes import lip_shapes, speech_statistics, statistics_from_tensor
from lipsync_core.mouth import real_shapes
from tests.media_clips import write_sound
from tests.unit.test_audio import noise, syllables

SECONDS = 2.5 * BLOCK_S
TIMES = (np.arange(round(25 * SECONDS)) + 0.5) / 25


class Server:
    """Computes as the model mouth_shapes does."""

    def __init__(self) -> None:
        self.requests = 0

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        self.requests += 1
        inputs = request.inputs
        known = statistics_from_tensor(inputs["speech_statistics"])
        found = lip_shapes(inputs["audio"], known, inputs["frame_times"])
        return {"mouth_shapes": real_shapes(*found, float(inputs["shape_gain"][0]))}


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> AudioSource:
    samples = (syllables(SECONDS) + 0.01 * noise(SECONDS)).astype(np.float32)
    return AudioSource(write_sound(tmp_path_factory.mktemp("sound") / "speech.wav", samples))


def shapes_of(audio: AudioSource, server: Server) -> SpeechShapes:
    statistics = speech_statistics_of(audio)
    return SpeechShapes(server, audio, statistics, 2.0)  # type: ignore[arg-type]  # it is asked for answers alone


def test_shapes_do_not_depend_on_how_they_are_asked_for(audio: AudioSource) -> None:
    """All at once, by chunks, and backwards give the same numbers; a block is asked for once."""
    server = Server()
    whole = shapes_of(audio, server).at(TIMES)
    assert server.requests == 3
    chunks = shapes_of(audio, server)
    np.testing.assert_array_equal(
        np.concatenate([chunks.at(TIMES[i : i + 16]) for i in range(0, len(TIMES), 16)]), whole
    )
    np.testing.assert_array_equal(chunks.at(TIMES[::-1])[::-1], whole)


def test_shapes_are_those_of_the_whole_audio(audio: AudioSource) -> None:
    """Blocks with their surroundings give what one request for everything would; interpolation costs little."""
    samples = np.concatenate(list(audio.speech_blocks()))
    statistics = speech_statistics_of(audio)
    expected = real_shapes(*lip_shapes(samples, statistics, TIMES), 2.0)
    inner = slice(10, -10)  # beyond its ends audio is silent, which a piece sees and the whole does not
    np.testing.assert_allclose(shapes_of(audio, Server()).at(TIMES)[inner], expected[inner], atol=0.01)


def test_all_of_a_long_recording_is_measured(tmp_path: Path) -> None:
    """Speech in every other second of two minutes counts as it does in one piece."""
    second = syllables(1.0).astype(np.float32)
    samples = np.tile(np.concatenate([0.001 * noise(1.0).astype(np.float32), second]), 60)
    audio = AudioSource(write_sound(tmp_path / "long.wav", samples))
    whole = speech_statistics([np.concatenate(list(audio.speech_blocks()))])
    np.testing.assert_allclose(speech_statistics_of(audio).tensor, whole.tensor, atol=0.01)  # 12 blocks end in silence


def test_the_mouth_is_closed_outside_the_recording_and_in_silence(audio: AudioSource) -> None:
    """There are no components, and full closure; no request is made for it."""
    server = Server()
    shapes = shapes_of(audio, server)
    np.testing.assert_array_equal(shapes.at(np.array([-0.1, SECONDS + 1])), [CLOSED] * 2)
    np.testing.assert_array_equal(spoken_shapes(shapes, TIMES[:4], np.zeros(4, np.float32)), [CLOSED] * 4)
    assert server.requests == 0


def test_fading_speech_is_mixed_with_the_closed_mouth(audio: AudioSource) -> None:
    """Half of the speech is half of its shape, and half closed."""
    shapes = shapes_of(audio, Server())
    half = spoken_shapes(shapes, TIMES[:4], np.full(4, 0.5, np.float32))
    np.testing.assert_allclose(half, (shapes.at(TIMES[:4]) + CLOSED) / 2, atol=1e-6)
