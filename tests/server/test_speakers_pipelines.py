"""Scenes with the neural pipelines, on networks with synthetic weights: each draws over its speakers' faces alone.

MuseTalk's is beside its other jobs: servers with large networks live one after the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SIDE, SPEECH
from tests.server.scenes import side_by_side, write_scene
from tests.server.test_speakers_jobs import changed_places, scene_runner

pytestmark = [pytest.mark.server, pytest.mark.long]
FRAMES = 24


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people beside each other."""
    return write_scene(tmp_path_factory.mktemp("scenes") / "row.mp4", side_by_side(["ann", "bob", "cat"], FRAMES))


def check_scene(server: EmbeddedServer, row: Path, folder: Path, options: dict[str, object]) -> None:
    """Two speakers say two voices, the second one only for a while; a third person listens."""
    speakers = [
        {"name": "ann", "voice": str(SPEECH), "face": "left"},
        {
            "name": "bob",
            "voice": {"file": str(SPEECH), "start": 0.5},
            "face": 1,
            "segments": [{"start": 0.2, "end": 0.8}],
        },
    ]
    report = scene_runner(server, folder)(row, {"speakers": speakers}, in_silence="model", **options)
    changed = changed_places(row, folder / "out.mkv", 3)
    assert changed[0].all()
    assert np.flatnonzero(changed[1]).tolist() == list(range(5, 20))
    assert not changed[2].any()
    assert [speaker.frames_synced for speaker in report.speakers] == [FRAMES, 15]


def test_speakers_of_wav2lip(wav2lip_server: EmbeddedServer, row: Path, tmp_path: Path) -> None:
    """Wav2Lip draws both."""
    check_scene(wav2lip_server, row, tmp_path, {"model": "wav2lip"})


def test_speakers_of_latentsync(latentsync_server: EmbeddedServer, row: Path, tmp_path: Path) -> None:
    """LatentSync, whose chunks have a fixed number of frames, draws both."""
    check_scene(latentsync_server, row, tmp_path, {"model": "latentsync", "steps": 2})


def test_speakers_choose_their_pipelines(wav2lip_server: EmbeddedServer, row: Path, tmp_path: Path) -> None:
    """One speaker has the default pipeline, the other one Wav2Lip in one segment and the default in the next."""
    segments = [{"start": 0, "end": 0.4, "options": {"model": "wav2lip"}}, {"start": 0.4}]
    speakers = [
        {"name": "ann", "voice": str(SPEECH), "face": "left"},
        {"name": "bob", "voice": str(SPEECH), "face": 1, "segments": segments},
    ]
    report = scene_runner(wav2lip_server, tmp_path)(row, {"speakers": speakers}, in_silence="model")
    changed = changed_places(row, tmp_path / "out.mkv", 3)
    assert changed[:2].all()
    assert not changed[2].any()
    assert [speaker.frames_synced for speaker in report.speakers] == [FRAMES, FRAMES]
    assert report.width == 3 * SIDE
