"""Streams of each pipeline give the frames of a job that hears the voice in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lipsync_core.serving.server import EmbeddedServer
from tests.media_clips import write_sound
from tests.server.live import job_pictures, live_server, prepare_clip, speech_of, streamed

pytest.importorskip("torch", reason="no torch; run: make test")
pytestmark = [pytest.mark.server, pytest.mark.long]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def wav2lip_live(wav2lip_repository: Path, clips: Path) -> Iterator[EmbeddedServer]:
    """A server of live streams with Wav2Lip."""
    with live_server(wav2lip_repository, clips) as server:
        yield server


@pytest.fixture(scope="module")
def musetalk_live(musetalk_repository: Path, clips: Path) -> Iterator[EmbeddedServer]:
    """A server of live streams with MuseTalk, its networks small."""
    with live_server(musetalk_repository, clips) as server:
        yield server


@pytest.mark.parametrize(
    ("pipeline", "fixture", "prepared", "chosen"),
    [
        ("wav2lip", "wav2lip_live", {}, {"blend": "box"}),
        ("musetalk", "musetalk_live", {"mouth_area": "mouth"}, {"in_silence": "close"}),
    ],
)
def test_a_stream_gives_the_frames_of_a_job_with_live_windows(
    request: pytest.FixtureRequest,
    clips: Path,
    tmp_path: Path,
    pipeline: str,
    fixture: str,
    prepared: dict[str, object],
    chosen: dict[str, object],
) -> None:
    """Speech, and silence in which another network than the pipeline's closes the mouth."""
    server: EmbeddedServer = request.getfixturevalue(fixture)
    folder = prepare_clip(server, clips / pipeline, model=pipeline, **prepared)
    voice = np.concatenate([speech_of(0.8), np.zeros(16_000, np.float32)])
    pictures = streamed(server, pipeline, voice, [800, 1600], options=chosen)
    expected = job_pictures(server, folder, write_sound(tmp_path / "voice.wav", voice), tmp_path / "job.mkv", **chosen)
    assert len(pictures) == len(expected) == 45
    assert [i for i, (a, b) in enumerate(zip(pictures, expected, strict=True)) if not np.array_equal(a.rgb, b)] == []
    assert {picture.speaks for picture in pictures} == {True, False}
