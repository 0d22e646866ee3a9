"""Scenes with several speakers through a real service and server: a job with two voices, a plan, and the page."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from client.media import AudioSource
from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer
from tests.chaos.traces import command_line
from tests.server.clips import SIDE, SPEECH, read_frames, write_film, write_wave
from tests.server.scenes import columns_of, side_by_side, write_scene
from tests.server.test_web_page import PATIENCE_MS, browser
from tests.waiting import wait_until
from tests.web_service import WebProcess, wait_for_state

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.server
SCRIPT: dict[str, Any] = {
    "speakers": [
        {"name": "ann", "voice": "voice_1", "face": "left", "segments": [{"start": 0, "end": 1}]},
        {"name": "bob", "voice": "voice_2", "face": "right", "segments": [{"start": 1}]},
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people beside each other in a film with sound, and two voices."""
    made = tmp_path_factory.mktemp("scene")
    write_film(made / "two.mkv", side_by_side(["ann", "bob"], 50), speech(2.0))
    write_scene(made / "two.mp4", side_by_side(["ann", "bob"], 50))
    write_wave(made / "ann.wav", speech(2.0))
    write_wave(made / "bob.wav", speech(2.0)[::-1])
    return made


def speech(seconds: float) -> np.ndarray:
    """Return the beginning of the tests' speech."""
    return next(iter(AudioSource(SPEECH).speech_blocks(round(16_000 * seconds))))


@pytest.fixture(scope="module")
def web(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """The service, with the shared Triton."""
    with WebProcess(tmp_path_factory.mktemp("web"), "--url", server.url) as process:
        yield process


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    """A client of the service."""
    with web.client() as opened:
        yield opened


def send(client: httpx.Client, path: str, files: dict[str, Path], script: object = None, **settings: str) -> Any:
    data = settings if script is None else {"script": json.dumps(script), **settings}
    parts = {name: (file.name, file.read_bytes()) for name, file in files.items()}
    return client.post(path, files=parts, data=data)


def scene_files(folder: Path) -> dict[str, Path]:
    return {"video": folder / "two.mkv", "voice_1": folder / "ann.wav", "voice_2": folder / "bob.wav"}


def test_two_speakers_say_two_uploaded_voices(client: httpx.Client, folder: Path, tmp_path: Path) -> None:
    """Each face changes while its own voice is heard; the report counts each speaker; the audio is not there."""
    answer = send(client, "/jobs", scene_files(folder), SCRIPT, lossless="true", container="mkv")
    assert answer.status_code == 202, answer.text
    job = wait_for_state(client, answer.json()["id"], "finished")
    assert job["voices"] == {"voice_1": "ann.wav", "voice_2": "bob.wav"}
    assert [(speaker["name"], speaker["frames_synced"]) for speaker in job["report"]["speakers"]] == [
        ("ann", 25),
        ("bob", 25),
    ]
    assert client.get(f"/jobs/{job['id']}/audio").status_code == 404
    result = tmp_path / "result.mkv"
    result.write_bytes(client.get(job["links"]["result"]).content)
    pairs = list(zip(read_frames(folder / "two.mkv"), read_frames(result), strict=True))
    for place, spoken in ((0, slice(0, 25)), (1, slice(25, 50))):
        changed = [
            bool((before[:SIDE, columns_of(place)] != after[:SIDE, columns_of(place)]).any()) for before, after in pairs
        ]
        assert all(changed[spoken][3:-3])
        assert sum(changed) <= 25


@pytest.mark.long
def test_scene_that_does_not_fit_the_video_fails_with_its_place(client: httpx.Client, folder: Path) -> None:
    """The user is told, as with files that cannot be used."""
    speakers = [{**SCRIPT["speakers"][0], "face": [5000, 10]}, SCRIPT["speakers"][1]]
    job_id = send(client, "/jobs", scene_files(folder), {"speakers": speakers}).json()["id"]
    job = wait_for_state(client, job_id, "failed")
    assert job["error"]["detail"].startswith("speaker ann, face: expected a point in the picture (512 x 256 pixels)")


@pytest.mark.long
def test_plan_says_who_speaks_and_its_script_can_be_sent(client: httpx.Client, folder: Path) -> None:
    """Voices have the names of parts, faces are boxes, and the picture is a PNG; the script makes a job."""
    answer = send(client, "/plan", scene_files(folder), SCRIPT)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert {entry["speaker"] for entry in plan["timeline"] if entry["action"] == "lip-sync"} == {"ann", "bob"}, plan
    assert plan["expected_s"] > 0
    assert base64.b64decode(plan["contact_sheet"].partition(",")[2]).startswith(b"\x89PNG")
    ann, bob = plan["script"]["speakers"]
    assert (ann["voice"], bob["voice"]) == ("voice_1", "voice_2")
    assert ann["face"][0] < SIDE < bob["face"][0]
    job = send(client, "/jobs", scene_files(folder), plan["script"]).json()
    assert [one["frames_synced"] for one in wait_for_state(client, job["id"], "finished")["report"]["speakers"]] == [
        25,
        25,
    ]


@pytest.mark.long
def test_plan_of_no_video_fails(client: httpx.Client, folder: Path) -> None:
    """What cannot be read is refused, without a word about this machine."""
    files = {**scene_files(folder), "video": folder / "ann.wav"}
    answer = send(client, "/plan", files, SCRIPT)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("video: expected")
    assert str(folder) not in answer.text


@pytest.mark.long
def test_plan_ends_when_its_caller_leaves(web: WebProcess, client: httpx.Client, folder: Path) -> None:
    """Nobody waits for it; the next one is not kept waiting."""
    files = [argument for name, file in scene_files(folder).items() for argument in ("-F", f"{name}=@{file}")]
    command = ["curl", "-s", *files, "-F", f"script={json.dumps(SCRIPT)}", f"{web.address}/plan"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as caller:
        wait_until(lambda: plans(web))
        busy = send(client, "/plan", scene_files(folder), SCRIPT)
        caller.kill()
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "10")
    started = time.monotonic()
    wait_until(lambda: not plans(web))
    assert time.monotonic() - started < 5
    wait_until(lambda: send(client, "/plan", scene_files(folder), SCRIPT).status_code == 200)


@pytest.mark.long
def test_page_finds_out_who_speaks_and_sends_it(browser: Browser, web: WebProcess, folder: Path) -> None:
    """Two voices, a face picked for each, the plan in lanes, the job, and the speakers' counts in its details."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(web.address)
        page.locator("#video").set_input_files(folder / "two.mp4")
        page.get_by_label("Several people speak").check()
        for place, voice in enumerate(("ann.wav", "bob.wav")):
            page.get_by_label("Voice").nth(place).set_input_files(folder / voice)
            page.get_by_role("radio", name=f"Face {place + 1} from the left").check(force=True)
        page.get_by_role("button", name="Find out who speaks").click()
        part = page.get_by_role("region", name="Speaker 2").get_by_role("listitem").first
        expect(part).to_contain_text("lip-sync", timeout=3 * PATIENCE_MS)
        page.get_by_role("button", name="Make the video").click()
        page.locator("#result").get_by_text("Details").click(timeout=3 * PATIENCE_MS)
        expect(page.locator("#result")).to_contain_text("Speaker 2, lip-synced")
        expect(page.locator("#result")).to_contain_text("50 of 50 frames")


def plans(web: WebProcess) -> list[int]:
    """Return the processes that plan."""
    return [pid for pid in descendants(web.process.pid) if "client.web.plan_process" in command_line(pid)]
