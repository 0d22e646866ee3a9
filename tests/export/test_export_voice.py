from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export.__main__ import main
from export.shared.model_file import check_contract, model_path
from export.shared.wheel import fetch_wheel, read_members
from export.voice.silero import (
    CONTEXT,
    SERVED,
    SILERO_VAD,
    STATE,
    WINDOW,
    read_from_wheel,
)
from lipsync_core.config_file import read_contract
from tests.closeness import assert_close
from tests.conftest import skip_or_fail
from tests.sounds import WITHOUT_SPEECH, speech

STREAMING_MEMBER = "silero_vad/data/silero_vad_16k_op15.onnx"  # the network for one window per call
STREAMING_SHA256 = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
SUMS = 1e-4  # of the largest probability: kernels sum in another order by length and processor; measured 1e-6
REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
START = (np.zeros(CONTEXT, np.float32), np.zeros((2, STATE), np.float32))
Run = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def silero_wheel() -> Path:
    """The pinned wheel, from the cache or a package registry."""
    try:
        return fetch_wheel(SILERO_VAD)
    except ValueError as error:
        skip_or_fail(f"no silero-vad wheel: {error}")


@pytest.fixture(scope="module")
def network(silero_wheel: Path) -> onnx.ModelProto:
    """The served network."""
    return read_from_wheel(silero_wheel)


@pytest.fixture(scope="module")
def run(network: onnx.ModelProto) -> Run:
    """The served network, ready to be called: audio, context and state -> probabilities, context and state."""
    session = _open(network.SerializeToString())

    def call(audio: np.ndarray, context: np.ndarray = START[0], state: np.ndarray = START[1]) -> tuple[np.ndarray, ...]:
        outputs = ["speech_probs", "next_context", "next_state"]
        return tuple(session.run(outputs, {"audio": audio, "context": context, "state": state}))

    return call  # type: ignore[return-value]


def test_network_and_contract_agree(network: onnx.ModelProto) -> None:
    """The network has the inputs and outputs of its config.pbtxt."""
    check_contract(network, read_contract(REPOSITORY / SERVED))


@pytest.mark.parametrize("windows", [1, 7, 100])
def test_parts_equal_the_whole(run: Run, windows: int) -> None:
    """Whatever the parts, each continues where the one before ended."""
    audio = speech()
    whole, *_ = run(audio)
    left, found = START, []
    for start in range(0, len(audio), windows * WINDOW):
        probs, *left = run(audio[start : start + windows * WINDOW], *left)
        found.append(probs)
    assert_close(np.concatenate(found), whole, rel=SUMS)


def test_probabilities_are_those_of_the_network_for_one_window(run: Run, silero_wheel: Path) -> None:
    """The wheel's network for streams, called with every window and the samples before it, says the same."""
    content = read_members(silero_wheel, {STREAMING_MEMBER: STREAMING_SHA256})[STREAMING_MEMBER]
    session, audio = _open(content), speech()[: 100 * WINDOW - 200]
    padded = np.pad(audio, (CONTEXT, 200))
    state, expected = np.zeros((2, 1, STATE), np.float32), []
    for start in range(0, len(audio), WINDOW):
        inputs = {"input": padded[None, start : start + CONTEXT + WINDOW], "state": state, "sr": np.array(16_000)}
        prob, state = session.run(None, inputs)
        expected.append(prob[0, 0])
    probs, *_ = run(audio)
    assert_close(probs, expected, rel=SUMS)


def test_it_tells_speech_from_other_sounds(run: Run) -> None:
    """Most of a recording of speech is speech; no moment of silence, noise, hum, breathing or music is."""
    assert (run(speech())[0] > 0.5).mean() > 0.9
    for name, sound in WITHOUT_SPEECH.items():
        assert run(sound(8.0))[0].max() < 0.2, name


def test_export_writes_the_model_and_its_licence(
    silero_wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The licence is printed and laid beside the model; with --if-missing nothing is written again."""
    (tmp_path / SERVED / "1").mkdir(parents=True)
    shutil.copy(REPOSITORY / SERVED / "config.pbtxt", tmp_path / SERVED)
    arguments = ["voice", "--wheel", str(silero_wheel), "--repository", str(tmp_path)]
    assert main(arguments) == 0
    assert "MIT, silero-vad" in capsys.readouterr().out
    folder = model_path(tmp_path, SERVED).parent
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE.silero-vad", "model.onnx"]
    assert "MIT License" in (folder / "LICENSE.silero-vad").read_text()
    assert main([*arguments, "--if-missing"]) == 0
    assert capsys.readouterr().out == "voice_activity: already there\n"


def _open(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # its file has initializers that nothing uses
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
