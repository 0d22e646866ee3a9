"""The routes that the page needs beside the API's own, without a Triton."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from client.media import VideoSource
from client.pipelines import PIPELINES
from client.portrait import portrait
from client.web.example import LOOP, LOOP_S, LOOP_SIDE, write_before_and_after, write_inputs
from client.web.page_routes import queue_view
from client.web.triton import LoadedModels
from client.web.waveform import PEAKS, read_waveform
from tests.media_clips import write_clip
from tests.server.clips import write_wave
from tests.web_service import NO_TRITON, TOKEN, TOKENS, SomeModels, add_job, bearer, make_service, open_client, problem

REPORT = {"frames": 50, "seconds": 4.0, "duration_s": 2.0, "warnings": []}


def test_all_pipelines_are_listed_in_words(tmp_path: Path) -> None:
    """Each says what it is, at what speed and under which licence; what the server lacks says what to do."""
    with open_client(tmp_path, models=SomeModels(PIPELINES[0].name)) as client:
        listed = client.get("/pipelines").json()["pipelines"]
    assert [view["id"] for view in listed] == [pipeline.name for pipeline in PIPELINES]
    assert [view["ready"] for view in listed] == [True, *[False] * (len(PIPELINES) - 1)]
    for view in listed:
        assert view["speed_text"]
        assert view["quality_text"]
        assert view["licence"]
        assert bool(view["advice"]) != view["ready"]


def test_pipelines_without_a_server_fail(tmp_path: Path) -> None:
    """Which can run is not known then."""
    with open_client(tmp_path, models=LoadedModels(NO_TRITON)) as client:
        problem(client.get("/pipelines"), 503)


def test_time_is_estimated_from_earlier_jobs(tmp_path: Path) -> None:
    """Cards have the pace of their pipeline, the queue the time of all jobs that have not ended."""
    service = make_service(tmp_path)
    done, waiting = add_job(service), add_job(service, "b" * 32)
    service.store.claim(done)
    service.store.finish(done, dict(REPORT))
    assert queue_view(service).model_dump() == {"ahead": 1, "wait_s": None}  # its length is not known
    service.store.cancel(waiting)
    assert queue_view(service).model_dump() == {"ahead": 0, "wait_s": 0.0}
    service.store.add("c" * 32, "ann", {"model": "mouth-motion", "container": "mp4"}, "v", "a", 3.0)
    assert queue_view(service).wait_s == pytest.approx(6.0)


def test_waveform_is_measured(tmp_path: Path) -> None:
    """A sound's loudness over time, in a number of parts that does not depend on its length."""
    sound = write_wave(tmp_path / "a.wav", np.concatenate([np.zeros(16_000), 0.5 * np.ones(16_000)]))
    found = read_waveform(sound)
    assert found.length_s == pytest.approx(2.0)
    assert len(found.peaks) == PEAKS
    assert max(found.peaks[: PEAKS // 2 - 1]) == 0
    assert found.peaks[-1] == pytest.approx(0.5, abs=0.01)


def test_waveform_is_sent(tmp_path: Path) -> None:
    """The route measures an upload, and keeps nothing."""
    sound = write_wave(tmp_path / "a.wav", 0.5 * np.ones(8_000))
    with open_client(tmp_path / "web") as client:
        said = client.post("/waveform", files={"sound": sound.read_bytes()}).json()
        assert said["length_s"] == pytest.approx(0.5)
        assert list((tmp_path / "web" / "uploads").iterdir()) == []


def test_waveform_of_no_sound_fails(tmp_path: Path) -> None:
    """What cannot be decoded is refused in people's words."""
    with open_client(tmp_path) as client:
        said = problem(client.post("/waveform", files={"sound": b"no sound"}), 422)
    assert "cannot be shown here" in said["user_message"]


def test_example_is_offered_once_it_is_made(tmp_path: Path) -> None:
    """Its parts have links when they are there; they are small."""
    with open_client(tmp_path) as client:
        folder = tmp_path / "example"
        assert client.get("/example").json()["video"] is None
        problem(client.get("/example/video"), 404)
        folder.mkdir()
        write_inputs(folder)
        said = client.get("/example").json()
        assert said["loop"] is None
        assert client.get(said["video"]).headers["content-type"] == "image/jpeg"
        assert client.get(said["audio"]).headers["content-type"] == "video/ogg"
        assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
        problem(client.get("/example/..%2Fjobs.sqlite3"), 404)


def test_example_needs_a_token_like_all_else(tmp_path: Path) -> None:
    """Who is not signed in sees none of it."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        for path in ("/example", "/example/video", "/queue", "/pipelines"):
            problem(client.get(path), 401)
        assert client.get("/example", headers=bearer(TOKEN)).status_code == 200


def test_loop_shows_before_and_after(tmp_path: Path) -> None:
    """Both halves have their picture, for three seconds at most."""
    clip = write_clip(tmp_path / "after.mp4")
    write_before_and_after(portrait(), VideoSource(clip), tmp_path / LOOP)
    with av.open(str(tmp_path / LOOP)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert frames[0].shape == (LOOP_SIDE, 2 * LOOP_SIDE, 3)
    assert 0 < len(frames) <= LOOP_S * 25
    left = np.abs(frames[0][:, :LOOP_SIDE].astype(int) - frames[-1][:, :LOOP_SIDE])
    assert left.mean() < 2  # the photograph stands still


def test_form_says_which_fields_choose_the_part(tmp_path: Path) -> None:
    """The page's handles fill in options whose names it does not know itself."""
    with open_client(tmp_path) as client:
        listed = client.get("/options").json()
    names = json.dumps(listed["groups"])
    assert f'"{listed["preview_at"]}"' in names
    assert f'"{listed["preview_until"]}"' in names
