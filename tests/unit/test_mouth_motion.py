"""What the default pipeline asks the server for, and when it listens to the audio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.media import AudioSource
from client.option import OptionValues
from client.pipeline import JobMedia, Share, always, never
from client.pipelines.mouth_motion import STRENGTH, MouthMotion
from client.pipelines.speech import CLOSED
from client.silence import ClosedMouth
from client.tracking.faces import Face
from client.tracking.mouth_scan import profile_of
from tests.media_clips import write_sound
from tests.unit.mouth_samples import LANDMARKS, astronaut
from tests.unit.test_audio import syllables
from tests.unit.test_speech_shapes import Server

FRAME_TIMES = (0.5, 0.54)  # seconds; not a multiple of the steps ahead apart


class Deaf:
    """Audio and a server that nobody may ask."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked for {name}")


def lowered() -> tuple[np.ndarray, np.ndarray]:
    """The same face with its nose further down."""
    frame, landmarks = astronaut()
    landmarks[[1, 2, 152], 1] += 10
    return frame, landmarks


def media(triton: object, audio: object, speaking: Share = always) -> JobMedia:
    values, scanned = OptionValues({STRENGTH.name: 1.0}), [astronaut(), lowered()]
    return JobMedia(triton, values, audio, 25.0, lambda: profile_of(*zip(*scanned, strict=True)), speaking)  # type: ignore[arg-type]


def ask(
    generator: MouthMotion | ClosedMouth,
    times_s: Sequence[float] = FRAME_TIMES,
    poses: Sequence[np.ndarray] = (LANDMARKS, LANDMARKS),
) -> dict[str, np.ndarray]:
    """Return the inputs of some frames' request."""
    faces = [Face(np.concatenate([pose[:, :2].min(axis=0), pose[:, :2].max(axis=0)]), 1.0, pose) for pose in poses]
    frames = [SimpleNamespace(middle_s=time) for time in times_s]
    return generator.request(frames, faces, [0] * len(frames)).inputs  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [MouthMotion, ClosedMouth])
def test_a_mouth_that_never_speaks_listens_to_nothing(kind: type[MouthMotion | ClosedMouth]) -> None:
    """Where nobody speaks, no statistics are taken of the audio and no shapes are asked for."""
    inputs = ask(kind(media(Deaf(), Deaf(), never)))
    np.testing.assert_array_equal(inputs["shapes"], [CLOSED] * 2)
    assert inputs["interior_indices"].shape == (2,)


def test_each_moment_is_asked_for_once(tmp_path: Path) -> None:
    """A frame's own shape also tells how far the mouth is open now; only the coming moments are added."""
    asked: list[np.ndarray] = []

    def speaking(times_s: np.ndarray) -> np.ndarray:
        asked.append(times_s)
        return always(times_s)

    with AudioSource(write_sound(tmp_path / "speech.wav", syllables(2.0))) as audio:
        inputs = ask(MouthMotion(media(Server(), audio, speaking)))
    times = np.concatenate(asked)
    assert len(times) == len(np.unique(times.round(6))) == 2 * 6
    assert (inputs["shapes"] != CLOSED).any()


def test_the_choice_does_not_depend_on_how_the_clip_is_cut(tmp_path: Path) -> None:
    """Two requests give the interiors of one; another one is taken as the mouth opens in another pose."""
    times = (np.arange(16) + 0.5) / 25
    poses = [LANDMARKS if number >= 8 else lowered()[1] for number in range(len(times))]

    def speaking(times_s: np.ndarray) -> np.ndarray:
        return np.isin(times_s * 25 // 1 % 4, (1, 2)).astype(np.float32)

    with AudioSource(write_sound(tmp_path / "speech.wav", syllables(2.0))) as audio:
        whole, parts = (MouthMotion(media(Server(), audio, speaking)) for _ in range(2))
        expected = ask(whole, times, poses)["interior_indices"]
        cut = [ask(parts, times[at], poses[at])["interior_indices"] for at in (slice(6), slice(6, None))]
    np.testing.assert_array_equal(np.concatenate(cut), expected)
    assert expected.dtype == np.int32
    assert len(np.unique(expected)) == 2
