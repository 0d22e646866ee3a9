"""Jobs with a script through the API, without a Triton: what is taken, refused, kept, fetched and planned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from client.errors import UsageError
from client.pipelines import PIPELINES
from client.scene.schema import scene_schema
from client.web import plan_routes, scripts
from client.web.app import create_app
from client.web.background import Background
from client.web.failures import failure
from client.web.job_settings import VOICE_FILES, JobSettings
from client.web.media_probe import MediaFacts
from client.web.plan_process import by_parts
from client.web.plan_views import PlanView
from client.web.scripts import MAX_SCRIPT_BYTES, stored_script
from client.web.service import Service
from tests.waiting import wait_until
from tests.web_receiver import receiving
from tests.web_service import SomeModels, make_service, open_client, problem

ANN = {"name": "ann", "voice": "audio", "face": "left"}
BOB = {"name": "bob", "voice": {"file": "voice_1", "offset": 2}, "face": "right"}
SCRIPT: dict[str, Any] = {"speakers": [ANN, BOB]}
PLAN = PlanView(timeline=[], script=SCRIPT, expected_s=None, warnings=[], contact_sheet="data:image/png;base64,")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service that accepts jobs and runs none."""
    with open_client(tmp_path) as opened:
        yield opened


def parts(*voices: str) -> dict[str, Any]:
    """Make a video and voices, for httpx."""
    return {"video": ("in.mp4", b"video")} | {name: (f"{name}.wav", name.encode()) for name in voices}


def send(client: TestClient, script: object, *voices: str, path: str = "/jobs", **fields: str) -> Any:
    text = script if isinstance(script, str) else json.dumps(script)
    return client.post(path, files=parts(*voices), data={"script": text, **fields})


def with_voice(voice: object) -> dict[str, Any]:
    return {"speakers": [{"name": "ann", "voice": voice}]}


def test_job_with_a_script_is_queued_with_its_voices(client: TestClient, tmp_path: Path) -> None:
    """Script and voices lie in the job's folder; the record names the files; a retry needs them all."""
    job = send(client, SCRIPT, "audio", "voice_1").json()
    assert (job["state"], job["audio_name"]) == ("queued", "audio.wav, voice_1.wav")
    assert job["voices"] == {"audio": "audio.wav", "voice_1": "voice_1.wav"}
    folder = tmp_path / "jobs" / job["id"]
    assert {path.name for path in folder.iterdir()} == {"video", "audio", "voice_1", "script.json"}
    kept = stored_script(folder)
    assert kept is not None
    options = JobSettings(**job["settings"]).job_options(folder, script=kept.scene)
    assert [speaker.name for speaker in options.scene.speakers] == ["ann", "bob"]
    assert options.audio is None
    for is_there in (True, False):
        client.post(f"/jobs/{job['id']}/cancel")
        answer = client.post(f"/jobs/{job['id']}/retry")
        assert answer.status_code == (202 if is_there else 404)
        (folder / "voice_1").unlink(missing_ok=True)


def test_audio_is_needed_only_where_the_script_names_it(client: TestClient) -> None:
    """Without it there is nothing to download as the speech."""
    job = send(client, with_voice("voice_7"), "voice_7").json()
    assert job["links"]["audio"] is None
    problem(client.get(f"/jobs/{job['id']}/audio"), 404)


def test_diarization_in_the_script_assigns_one_voice(client: TestClient) -> None:
    """Turns are written into the script."""
    turns = [{"speaker": "a", "start": 0, "end": 1}, {"speaker": "b", "start": 1, "end": 2}]
    job = send(client, {"voice": "audio", "diarization": turns}, "audio").json()
    assert job["voices"] == {"audio": "audio.wav"}


PART = "expected the name of an uploaded part (audio, voice_1 ...), got "


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (with_voice("/etc/passwd"), f'speakers[0].voice: {PART}"/etc/passwd"'),
        (with_voice("voice_17"), f'speakers[0].voice: {PART}"voice_17"'),
        (with_voice("https://example.org/a.wav"), f'speakers[0].voice: {PART}"https://example.org/a.wav"'),
        (with_voice({"file": "../video"}), f'speakers[0].voice.file: {PART}"../video"'),
        ({"voice": "a.wav", "speakers": [{"name": "a"}]}, f'voice: {PART}"a.wav"'),
        (with_voice("video"), f'speakers[0].voice: {PART}"video"'),
        ({"voice": "audio", "diarization": "talk.rttm"}, "diarization: expected a list of turns"),
        ({"voice": "audio", "speaker_boxes": "boxes.json"}, "speaker_boxes: expected no file of boxes in the API"),
        ({"speakers": [{**ANN, "fce": 1}]}, "speakers[0].fce: expected one of"),
        ({"speakers": [ANN, {**ANN, "name": "bob"}]}, "speakers[1]: expected a face that no other speaker has"),
        ("{", "script: expected JSON, got a mistake in line 1"),
        ('{"speakers": [], "speakers": []}', "script: expected strict JSON, got the key"),
        ("[" * 100, "script: expected lists and objects at most"),
    ],
)
def test_bad_script_fails_in_one_line(client: TestClient, tmp_path: Path, script: object, line: str) -> None:
    """The place is named, and nothing is kept."""
    said = problem(send(client, script, "audio"), 422)
    assert said["type"] == "/problems/wrong-script"
    assert said["detail"].startswith(line)
    assert len(said["detail"].splitlines()) == 1
    assert [*(tmp_path / "jobs").iterdir(), *(tmp_path / "uploads").iterdir()] == []


@pytest.mark.parametrize(
    ("script", "voices", "line"),
    [
        (SCRIPT, ["audio"], "voice_1: expected a file, which the script names, got none. Add it"),
        (SCRIPT, ["voice_1"], "audio: expected a file, which the script names"),
        (SCRIPT, ["audio", "voice_1", "voice_2"], "voice_2: expected no file, as the script does not name it"),
        (with_voice("voice_1"), ["audio", "voice_1"], "audio: expected no file, as the script does not name it"),
        (None, ["audio", "voice_1"], "voice_1: expected a script that names it"),
        (None, [], "audio: expected a file, got none"),
    ],
)
def test_parts_that_do_not_fit_the_script_fail(
    client: TestClient, script: object, voices: Sequence[str], line: str
) -> None:
    """Every part is named, and every named part is there."""
    data = {} if script is None else {"script": json.dumps(script)}
    said = problem(client.post("/jobs", files=parts(*voices), data=data), 422)
    assert said["detail"].startswith(line)


@pytest.mark.parametrize(("field", "value"), [("face", "left"), ("voice_channel", "left")])
def test_options_of_one_voice_fail_beside_a_script(client: TestClient, field: str, value: str) -> None:
    """As on the command line."""
    said = problem(send(client, SCRIPT, "audio", "voice_1", **{field: value}), 422)
    assert f"{field}" in said["detail"]
    assert "beside script" in said["detail"]


def test_large_script_is_taken_and_a_larger_one_fails(client: TestClient) -> None:
    """10,000 segments fit; more than the limit is refused while it arrives."""
    segments = [{"start": i, "end": i + 0.5} for i in range(10_000)]
    assert send(client, {"speakers": [{**ANN, "segments": segments}]}, "audio").status_code == 202
    said = problem(send(client, " " * (MAX_SCRIPT_BYTES + 1), "audio"), 422)
    assert said["detail"] == f"script: expected at most {MAX_SCRIPT_BYTES} bytes, got more"


def test_models_of_all_speakers_are_checked_before_their_files_arrive(tmp_path: Path) -> None:
    """A pipeline that the server lacks is refused at once; one that nobody uses need not be loaded."""
    loaded, lacking = PIPELINES[0].name, PIPELINES[-1].name
    missing = {"speakers": [ANN, {**BOB, "options": {"model": lacking}}]}
    with open_client(tmp_path, models=SomeModels(loaded)) as client:
        head = f'--b\r\nContent-Disposition: form-data; name="script"\r\n\r\n{json.dumps(missing)}\r\n'
        half = '--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\nhalf'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        assert lacking in problem(client.post("/jobs", content=head + half, headers=kind), 422)["detail"]
        everybody = {"speakers": [{**ANN, "options": {"model": loaded}}]}
        answer = client.post(
            "/jobs", files={"script": (None, json.dumps(everybody)), **parts("audio")}, data={"model": lacking}
        )
        assert answer.status_code == 202
        problem(send(client, {"speakers": [ANN]}, "audio", model=lacking), 422)


def test_voice_that_ends_last_counts(tmp_path: Path) -> None:
    """Offsets and parts of files are part of the length."""

    async def lengths(paths: Sequence[Path]) -> list[MediaFacts]:
        return [MediaFacts(length_s={"audio": 5.0, "voice_1": 9.0}.get(path.name)) for path in paths]

    with open_client(tmp_path, probe=lengths, max_duration_s=10) as client:
        assert send(client, SCRIPT, "audio", "voice_1", path="/jobs").status_code == 422  # 9 s from 2 s on
        part = {"speakers": [ANN, {**BOB, "voice": {"file": "voice_1", "start": 1, "end": 4, "offset": 2}}]}
        assert send(client, part, "audio", "voice_1").status_code == 202
        said = problem(send(client, SCRIPT, "audio", "voice_1"), 422)
    assert said["detail"].startswith("voice_1: expected at most 10 s, got 11 s")


def test_key_with_another_script_fails(client: TestClient) -> None:
    """The script is a part of the request."""
    client.headers["Idempotency-Key"] = "one"
    first = send(client, SCRIPT, "audio", "voice_1").json()
    assert send(client, SCRIPT, "audio", "voice_1").json()["id"] == first["id"]
    problem(send(client, {"speakers": [BOB, ANN]}, "audio", "voice_1"), 422)


def test_voices_are_fetched_from_web_addresses(tmp_path: Path) -> None:
    """Through the same guard, into the parts that the script names."""
    with receiving() as site:
        site.content = {"/v.mp4": b"video", "/a.wav": b"ann", "/b.wav": b"bob"}
        service = make_service(tmp_path, guard=site.guard(), allow_urls=True)
        client = TestClient(create_app(service))
        body = {
            "video_url": site.url("/v.mp4"),
            "audio_url": site.url("/a.wav"),
            "voice_urls": {"voice_1": site.url("/b.wav")},
            "script": SCRIPT,
        }
        with Background(service):
            job = client.post("/jobs", json=body).json()
            assert job["voices"] == {"audio": "a.wav", "voice_1": "b.wav"}
            wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["stage"] == "")
        folder = tmp_path / "jobs" / job["id"]
        assert [(folder / name).read_bytes() for name in ("audio", "voice_1")] == [b"ann", b"bob"]
        for change, line in (
            ({"voice_urls": {}}, "voice_urls.voice_1: expected a file, which the script names"),
            ({"script": with_voice("audio")}, "voice_urls.voice_1: expected no file"),
            ({"voice_urls": {"video": "https://x"}}, "voice_urls: expected voice_1 to voice_16, got 'video'"),
            ({"script": with_voice("https://x/a.wav")}, "speakers[0].voice: expected the name of an uploaded part"),
        ):
            assert problem(client.post("/jobs", json=body | change), 422)["detail"].startswith(line)


def test_inner_address_of_a_voice_fails_the_job(tmp_path: Path) -> None:
    """The guard looks at voices as at all else."""
    with receiving() as site:
        site.content = {"/v.mp4": b"video", "/b.wav": b"bob"}
        service = make_service(tmp_path, guard=site.guard(), allow_urls=True)
        client = TestClient(create_app(service))
        urls = {"video_url": site.url("/v.mp4"), "voice_urls": {"voice_1": site.url("/b.wav", "inside.example")}}
        with Background(service):
            job = client.post("/jobs", json={**urls, "script": with_voice("voice_1")}).json()
            wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["state"] == "failed")
        said = client.get(f"/jobs/{job['id']}").json()["error"]["detail"]
    assert said.startswith("voice_urls.voice_1: expected an address of the public")


def test_errors_of_a_scene_are_the_users(tmp_path: Path) -> None:
    """What only the media show to be wrong is told, too."""
    told = failure(UsageError(about="speaker ann, face", expected="a point in the picture", got="900,10"))
    assert told.detail == "speaker ann, face: expected a point in the picture, got 900,10"


def test_schema_is_published(client: TestClient) -> None:
    """As the documentation has it, and as the document's field `script` refers to it."""
    assert client.get("/scene.schema.json").json() == json.loads(json.dumps(scene_schema()))
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("FilesJob", "FilesPlan"):
        assert schemas[name]["properties"]["script"]["contentSchema"] == {"$ref": "#/components/schemas/Scene"}
        assert set(VOICE_FILES) <= set(schemas[name]["properties"])
    assert schemas["UrlJob"]["properties"]["script"]["anyOf"][0] == {"$ref": "#/components/schemas/Scene"}
    assert schemas["Scene"]["properties"]["voice"]["$ref"] == "#/components/schemas/SceneVoice"


def test_plan_is_made_and_nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the files and the script in a folder that goes afterwards."""
    seen: list[set[str]] = []

    async def plan(folder: Path, *_: object) -> PlanView:
        seen.append({path.name for path in folder.iterdir()})
        return PLAN

    monkeypatch.setattr(plan_routes, "run_plan", plan)
    with open_client(tmp_path) as client:
        assert send(client, SCRIPT, "audio", "voice_1", path="/plan").json() == PLAN.model_dump()
        assert client.post("/plan", files=parts("audio"), data={"face": "auto"}).status_code == 200
        problem(send(client, SCRIPT, "audio", path="/plan"), 422)
        problem(send(client, SCRIPT, "audio", "voice_1", path="/plan", callback_url="https://x"), 422)
    assert seen == [{"video", "audio", "voice_1", "script.json"}, {"video", "audio"}]
    assert [*(tmp_path / "jobs").iterdir(), *(tmp_path / "uploads").iterdir()] == []


def test_second_plan_fails_while_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be asked for again in a moment."""
    answers = []

    async def plan(folder: Path, *_: object) -> PlanView:
        answers.append(inner.post("/plan", files=parts("audio")))
        return PLAN

    monkeypatch.setattr(plan_routes, "run_plan", plan)
    app = create_app(make_service(tmp_path))
    with TestClient(app) as client, TestClient(app) as inner:
        assert client.post("/plan", files=parts("audio")).status_code == 200
    (answer,) = answers
    problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


def test_long_plan_fails(tmp_path: Path) -> None:
    """A limit of its own: it is work for nothing."""

    async def lengths(paths: Sequence[Path]) -> list[MediaFacts]:
        return [MediaFacts(length_s=61.0) for _ in paths]

    with open_client(tmp_path, probe=lengths, max_plan_s=60) as client:
        said = problem(client.post("/plan", files=parts("audio")), 422)
        assert client.get("/limits").json()["max_plan_s"] == 60
    assert said["detail"].startswith("audio: expected at most 60 s")


def test_plan_names_voices_by_parts() -> None:
    """No path of the machine is in its script."""
    script = {
        "speakers": [
            {"name": "a", "voice": {"file": "/x/audio"}},
            {"name": "b", "voice": {"file": "/x/voice_1", "start": 1}},
        ]
    }
    found = [speaker["voice"] for speaker in by_parts(script)["speakers"]]
    assert found == ["audio", {"file": "voice_1", "start": 1}]


def test_script_of_a_record_is_read_once_sent(client: TestClient) -> None:
    """Records without a script have none."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    assert scripts.stored_script(service.settings.data) is None
