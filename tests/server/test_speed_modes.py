from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.job_options import JobOptions
from client.servers.connection import TritonConnection
from lipsync_core.latentsync.options import SPEEDS
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, head_frame, write_video

pytest.importorskip("diffusers", reason="no diffusers; run: make test")
pytest.importorskip("skimage", reason="no scikit-image; run: make test")

from perf.jobs.speed_modes import as_table, main, measure

pytestmark = [pytest.mark.server, pytest.mark.long]


def test_each_speed_is_timed_and_compared_with_exact(latentsync_server: EmbeddedServer, tmp_path: Path) -> None:
    """Exact is no way from itself; the others are some way, but nearer than another seed; each has a line."""
    clip = write_video(tmp_path / "head.mp4", [head_frame(shift) for shift in np.sin(np.arange(4))])

    def job(name: str, speed: str, seed: int) -> JobOptions:
        output = tmp_path / f"{name}.mkv"
        given = {"model": "latentsync", "speed": speed, "steps": 4, "seed": seed}
        return JobOptions.read(clip, SPEECH, output, {**given, "if_audio_longer": "cut", "lossless": True})

    jobs = {speed: job(speed, speed, 1) for speed in SPEEDS} | {"other seed": job("other", "exact", 2)}
    with TritonConnection(latentsync_server.url) as connection:
        figures = measure(jobs, connection)
    distances = {name: figure.distance.psnr_db for name, figure in figures.items()}
    assert distances.pop("exact") == float("inf")
    assert all(distance is not None and np.isfinite(distance) for distance in distances.values())
    assert (distances["cached"] or 0) > (distances["other seed"] or 0)
    assert all(figure.report.frames_synced == 4 for figure in figures.values())
    lines = as_table({speed: figures[speed] for speed in SPEEDS}).splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(SPEEDS)


def test_speed_modes_fail_on_a_missing_video(tmp_path: Path) -> None:
    """One line through the command that all measurements share."""
    from perf.__main__ import main as perf

    assert perf(["speed-modes", str(tmp_path / "no.mp4"), str(SPEECH), "--url", "127.0.0.1:1"]) != 0
    with pytest.raises(SystemExit):
        main(["--help"])
