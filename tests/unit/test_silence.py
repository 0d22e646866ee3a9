from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.errors import RequestRejected
from client.job_options import JobOptions
from client.lanes.lane import Lane
from client.lanes.stage import DrawnFrame
from client.lanes.synchroniser import Synchroniser
from client.media import AudioSource, VideoSource, timeline
from client.option import FrontEnd, OptionValues
from client.options import choices_for, options_for_front_end
from client.pipeline import JobMedia, Layer
from client.pipelines import PIPELINES
from client.pipelines.silence_options import IN_SILENCE
from client.pipelines.voice import BLOCK, VoiceActivity
from client.report import StageClock
from client.servers.calls import InferRequest
from client.silence import layers_for
from client.tracking.faces import LARGEST
from client.tracking.finder import FixedFace
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.reasons import Reason
from tests.conftest import REPOSITORY
from tests.media_clips import tone, write_clip, write_sound
from tests.unit.painting import CLOSED, COLOURS, FRAMES, NETWORK, RATE, Painter, PaintingTriton

SPOKEN = range(16, 24)  # frames; the middle of the second chunk of 16


def speaking(times_s: np.ndarray) -> np.ndarray:
    """Frames 16 to 23 are spoken; 4 frames fade at either end."""
    numbers = np.floor(times_s * RATE)
    distance = np.maximum(SPOKEN.start - numbers, numbers - (SPOKEN.stop - 1))
    return np.clip(1 - np.maximum(distance, 0) / 5, 0, 1).astype(np.float32)


def silent(times_s: np.ndarray) -> np.ndarray:
    return 1 - speaking(times_s)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", codec="ffv1", pix_fmt="bgr0", frames=FRAMES)


@dataclass
class Result:
    frames: list[DrawnFrame]
    sent: Counter[str]

    @property
    def corner(self) -> np.ndarray:
        """One sample of each frame."""
        return np.array([frame.picture.rgb()[5, 5, 0] for frame in self.frames]).astype(int)


def synchronise(clip: Path, *layers: Layer, window_frames: int = 16) -> Result:
    triton, source = PaintingTriton(), VideoSource(clip)
    synchroniser = Synchroniser(
        triton=triton,  # type: ignore[arg-type]  # it is asked for answers alone
        lanes=[Lane(0, LARGEST, layers)],
        finder=FixedFace(np.array([8, 8, 40, 40], np.float32)),
        frame_bytes=source.frame_bytes,
        window_frames=window_frames,
        clock=StageClock(),
    )
    return Result(list(synchroniser.sync(timeline(source, FRAMES / RATE, "cut", "cut"))), triton.sent)


def test_keep_leaves_silent_frames_as_they_are(clip: Path) -> None:
    """They are not sent, keep every sample, and are counted by their reason; the others fade."""
    source = synchronise(clip, Layer(Painter(NETWORK), lambda times_s: 0 * times_s)).corner
    result = synchronise(clip, Layer(Painter(NETWORK), speaking))
    assert result.sent == {NETWORK: len(SPOKEN) + 2 * 4}
    kept = [frame.reason is Reason.SILENCE for frame in result.frames]
    assert kept == [number not in range(12, 28) for number in range(FRAMES)]
    np.testing.assert_array_equal(result.corner[kept], source[kept])
    assert (result.corner[list(SPOKEN)] == COLOURS[NETWORK]).all()
    assert (np.diff(result.corner[11:17]) > 0).all()  # from the source to the network's, step by step


def test_close_fades_from_one_mouth_to_the_other(clip: Path) -> None:
    """Each frame's two mouths add up; frames that show one alone are sent to one alone."""
    result = synchronise(clip, Layer(Painter(NETWORK), speaking), Layer(Painter(CLOSED), silent))
    shares = speaking((np.arange(FRAMES) + 0.5) / RATE)
    expected = shares * COLOURS[NETWORK] + (1 - shares) * COLOURS[CLOSED]
    np.testing.assert_allclose(result.corner, expected, atol=2)  # two roundings
    assert result.sent == {NETWORK: 16, CLOSED: FRAMES - len(SPOKEN)}
    assert all(frame.reason is Reason.CHANGED for frame in result.frames)


def test_whole_chunks_are_drawn_or_left_out(clip: Path) -> None:
    """A network of fixed chunks gets all frames of a chunk with speech and none of a silent one; its state goes on."""
    painter = Painter(NETWORK, chunk_frames=8)
    alone = synchronise(clip, Layer(Painter(NETWORK, chunk_frames=8)))
    result = synchronise(clip, Layer(painter, speaking), Layer(Painter(CLOSED), silent))
    assert painter.asked == list(range(FRAMES))
    assert result.sent[NETWORK] == 3 * 8
    spoken = list(SPOKEN)
    np.testing.assert_array_equal(result.corner[spoken], alone.corner[spoken])


@pytest.mark.parametrize("window_frames", [1, 5, 40])
def test_chunk_borders_do_not_show(clip: Path, window_frames: int) -> None:
    """Any number of frames per request gives the same pictures."""
    layers = (Layer(Painter(NETWORK), speaking), Layer(Painter(CLOSED), silent))
    usual, other = synchronise(clip, *layers), synchronise(clip, *layers, window_frames=window_frames)
    np.testing.assert_array_equal(usual.corner, other.corner)


class LoudnessTriton:
    """Takes loud windows for speech, and checks that each part continues the one before."""

    transport, server_count = "grpc", 1

    def __init__(self, *lacking: str) -> None:
        self.lacking = lacking
        self.parts = 0

    def contract(self, model: str) -> ModelContract:
        if model in self.lacking:
            raise RequestRejected(about=model, expected="a model", got="none")
        return read_contract(REPOSITORY / model)

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        audio, state = request.inputs["audio"], request.inputs["state"]
        assert (state == self.parts).all()
        assert request.inputs["context"].shape == (64,)
        self.parts += 1
        windows = np.pad(audio, (0, -len(audio) % 512)).reshape(-1, 512)
        probs = (np.abs(windows).max(axis=1) > 0.01).astype(np.float32)
        return {"speech_probs": probs, "next_state": state + 1, "next_context": audio[-64:]}


def test_voice_activity_is_asked_once_and_only_as_far_as_needed(tmp_path: Path) -> None:
    """Blocks follow each other with what the one before left; known times ask nothing more."""
    sound = np.concatenate([np.zeros(20 * 16_000), tone(2.0), np.zeros(30 * 16_000)])
    with AudioSource(write_sound(tmp_path / "speech.wav", sound)) as audio:
        triton = LoudnessTriton()
        voice = VoiceActivity(triton, audio)  # type: ignore[arg-type]  # it asks these calls alone
        assert voice.at(np.array([0.0, 1.0])).tolist() == [0, 0]
        assert triton.parts == 1
        assert voice.at(np.array([21.0, 19.0, 23.5])).tolist() == [1, 0, 0]
        assert triton.parts == 2
        assert voice.found_speech
        voice.at(np.array([10.0, 100.0]))
        assert triton.parts == -(-audio.speech_length // BLOCK)


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.name)
@pytest.mark.parametrize("rule", ["close", "keep", "model"])
def test_a_job_needs_the_models_of_its_silence(rule: str, pipeline: object, tmp_path: Path) -> None:
    """Voice activity unless the model draws silence too; the default pipeline's model closes others' mouths."""
    options = JobOptions.read(tmp_path, tmp_path, tmp_path, {"model": pipeline.name, "in_silence": rule})  # type: ignore[attr-defined]
    needed = set(options.needed_models)
    assert ("voice_activity" in needed) == (rule != "model")
    assert ("mouth_motion" in needed) == (rule == "close" or options.pipeline is PIPELINES[0])


@pytest.mark.parametrize(("lacking", "rule"), [("voice_activity", "keep"), ("mouth_motion", "close")])
def test_a_server_without_the_models_fails_with_the_way_out(lacking: str, rule: str) -> None:
    """An older server is told before any frame, with the choice that does without."""
    pipeline = PIPELINES[1]
    values = OptionValues({"in_silence": rule})
    speech = SimpleNamespace(duration=1.0)
    media = JobMedia(LoudnessTriton(lacking), values, speech, 25.0, None)  # type: ignore[arg-type]
    with pytest.raises(RequestRejected, match=rf"{lacking}: expected a server.*choose in_silence model"):
        layers_for(pipeline, media, VoiceActivity(media.triton, media.audio))


@pytest.mark.parametrize("front_end", ["cli", "batch", "api", "page"])
def test_every_front_end_shows_the_option(front_end: FrontEnd) -> None:
    """With all three choices for every pipeline."""
    assert IN_SILENCE in options_for_front_end(front_end)
    for pipeline in PIPELINES:
        assert choices_for(pipeline, IN_SILENCE) == ("close", "keep", "model")


def test_another_choice_changes_the_answers() -> None:
    """So that finished parts of a job with another choice are not taken."""
    assert IN_SILENCE.changes_answers
