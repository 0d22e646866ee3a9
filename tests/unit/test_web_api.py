"""The API without a Triton: what it accepts, refuses, limits and reveals."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from client.options import options_for_front_end, pipelines_of
from client.storage.names import MAX_NAME_LENGTH, shown_name
from client.web import service_routes, upload
from client.web.app import PAGE, create_app
from client.web.service import Service
from client.web.triton import LoadedModels
from client.web.views import FaceList
from tests.limits import small_files
from tests.waiting import wait_until
from tests.web_service import (
    NO_TRITON,
    OTHER_TOKEN,
    TOKEN,
    TOKENS,
    SomeModels,
    bearer,
    files,
    listening,
    make_service,
    open_client,
    problem,
)

HALF = b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\nhalf'


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service that accepts jobs and runs none."""
    with open_client(tmp_path) as opened:
        yield opened


def stored(client: TestClient) -> Path:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service.settings.data


def left_over(client: TestClient) -> list[Path]:
    return [*(stored(client) / "uploads").iterdir(), *(stored(client) / "jobs").iterdir()]


def test_job_is_queued_with_its_choices(client: TestClient) -> None:
    """An accepted job lies in a folder of its own, its choices and the user's file names kept."""
    answer = client.post("/jobs", files=files(), data={"crf": "24", "face": "640,210", "lossless": "false"})
    assert answer.status_code == 202
    job = client.get(answer.headers["location"]).json()
    assert (job["state"], job["queue_position"], job["video_name"]) == ("queued", 1, "in.mp4")
    assert (job["settings"]["crf"], job["settings"]["face"]) == (24, "640,210")
    folder = stored(client) / "jobs" / job["id"]
    assert ((folder / "video").read_bytes(), (folder / "audio").read_bytes()) == (b"video", b"audio")
    assert client.get("/jobs").json()["total"] == 1


def test_queued_job_is_cancelled_at_once(client: TestClient) -> None:
    """A job that waits is cancelled without ever running; cancelling again changes nothing."""
    job = client.post("/jobs", files=files()).json()
    for _ in range(2):
        assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    problem(client.get(f"/jobs/{job['id']}/result"), 409)


@pytest.mark.parametrize(
    "name", ["../../evil.mp4", "/etc/passwd", "..\\..\\evil.mp4", "a\x00b\x1b[31m.mp4", "x" * 4000]
)
def test_file_names_are_never_paths(client: TestClient, name: str) -> None:
    """Whatever a file is called, it lies in its job's folder, and only a printable last part is shown."""
    job = client.post("/jobs", files=files(name=name)).json()
    assert job["video_name"] == shown_name(job["video_name"])
    assert not set(job["video_name"]) & set("/\\\x00\x1b")
    assert len(job["video_name"]) <= MAX_NAME_LENGTH
    inside = sorted(path.relative_to(stored(client) / "jobs") for path in (stored(client) / "jobs").rglob("*"))
    assert [str(path) for path in inside] == [job["id"], f"{job['id']}/audio", f"{job['id']}/video"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crf", "52"), ("crf", "high"), ("model", "nonsense"), ("face", "middle"), ("start", "-1"), ("end", "nan"),
        ("fps", "0"), ("fps", "1/0"), ("pads", "1,2,3"), ("seed", "-1"), ("guidance", "0.5"), ("output", "/etc/passwd"),
        ("resume", "true"), ("container", "../x"),
    ],
)  # fmt: skip
def test_bad_choice_fails_and_names_the_field(client: TestClient, field: str, value: str) -> None:
    """A choice out of range is refused by the field's name, and nothing is kept."""
    said = problem(client.post("/jobs", files=files(), data={field: value}), 422)
    assert said["detail"].startswith(f"{field}: expected ")
    assert [error["name"] for error in said["errors"]] == [field]
    assert left_over(client) == []


def test_bad_choice_is_told_in_fields_and_to_people(client: TestClient) -> None:
    """Programs get the rule and the value one by one; people get sentences with the page's label."""
    said = problem(client.post("/jobs", files=files(), data={"crf": "99"}), 422)
    assert said["title"] == "An option cannot be used like this"
    assert said["detail"] == "crf: expected a whole number from 0 to 51, got '99'"
    assert said["user_message"] == "Quality: Needed: a whole number from 0 to 51. Found: '99'."
    (error,) = said["errors"]
    assert (error["name"], error["expected"], error["got"]) == ("crf", "a whole number from 0 to 51", "'99'")
    assert error["detail"] == "expected a whole number from 0 to 51, got '99'"


def test_model_that_is_not_loaded_fails_before_the_files(tmp_path: Path) -> None:
    """A job for a model that the server lacks is refused at once, with what it has and what to do."""
    lacking = SomeModels("mouth-motion", unavailable={"in_silence": ["close", "keep"]})
    with open_client(tmp_path, models=lacking) as client:
        said = problem(client.post("/jobs", files=files(), data={"model": "wav2lip"}), 422)
        assert said["detail"].startswith(
            "model: expected one that the server has loaded (mouth-motion), got 'wav2lip'."
        )
        assert said["user_message"].startswith("Model “Wav2Lip” is not loaded on this server. Choose Mouth motion, or")
        said = problem(client.post("/jobs", files=files(), data={"in_silence": "keep"}), 422)
        assert said["detail"].startswith("in_silence: expected one that the server has loaded (model), got 'keep'.")
        assert client.post("/jobs", files=files(), data={"in_silence": "model"}).status_code == 202
        half = HALF.replace(b"--b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwav2lip\r\n--b')
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        problem(client.post("/jobs", content=half, headers=headers), 422)


def test_job_waits_for_a_server_that_is_away(tmp_path: Path) -> None:
    """Whether a model is loaded cannot be known then: the job is taken, and waits."""
    with open_client(tmp_path, models=LoadedModels(NO_TRITON)) as client:
        assert client.post("/jobs", files=files()).status_code == 202


def test_problems_are_sentences_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to people on the page is said in whole sentences, not as a rule and what was found."""
    with open_client(tmp_path, max_jobs_per_user=1, max_upload_bytes=1000) as client:
        job = client.post("/jobs", files=files()).json()
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        answers = [
            client.post("/jobs", files=files()),
            client.get("/jobs/x"),
            client.get(job["links"]["self"] + "/result"),
        ]
        client.post(f"/jobs/{job['id']}/cancel")
        answers += [
            client.post("/jobs", files=files(bytes(100_000))),
            client.post("/jobs", files={"video": b"video"}),
            client.post("/jobs", files=files(b"")),
        ]
        monkeypatch.setattr(service.models, "get", lambda: LoadedModels(NO_TRITON).get())
        answers.append(client.get("/models"))
    assert [answer.status_code for answer in answers] == [429, 404, 409, 413, 422, 422, 503]
    for answer in answers:
        assert not re.search("Needed:|Found:", answer.json()["user_message"]), answer.text


def test_choices_that_do_not_go_together_fail(client: TestClient) -> None:
    """The client's own rules hold: by name in the detail, by label for people."""
    said = problem(client.post("/jobs", files=files(), data={"detector": "s3fd"}), 422)
    assert said["detail"].startswith("detector: expected model wav2lip, got model mouth-motion.")
    assert said["user_message"].startswith("Face detector: Needed: “Model” wav2lip. Found: “Model” mouth-motion.")
    assert "--" not in said["detail"]
    problem(client.post("/jobs", files=files(), data={"seed": "1"}), 422)
    problem(client.post("/jobs", files=files(), data={"container": "webm", "codec": "h264"}), 422)
    problem(client.post("/jobs", files=files(), data={"start": "5", "end": "4"}), 422)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x", "text/plain", 415),
        (b"x", "multipart/form-data", 415),
        (b"no parts at all", "multipart/form-data; boundary=b", 400),
        (HALF, "multipart/form-data; boundary=b", 400),
    ],
)  # fmt: skip
def test_bad_body_fails(client: TestClient, body: bytes, kind: str, status: int) -> None:
    """A body that is no multipart form, or half of one, is refused, and nothing is kept."""
    problem(client.post("/jobs", content=body, headers={"Content-Type": kind}), status)
    assert left_over(client) == []


def test_missing_empty_and_double_files_fail(client: TestClient) -> None:
    """Each of both files is wanted once, and with content."""
    assert "audio" in problem(client.post("/jobs", files={"video": b"video"}), 422)["detail"]
    assert "empty" in problem(client.post("/jobs", files=files(audio=b"")), 422)["detail"]
    twice = [("video", b"a"), ("video", b"b"), ("audio", b"c")]
    assert "twice" in problem(client.post("/jobs", files=twice), 422)["detail"]
    assert left_over(client) == []


def test_upload_limit_holds_while_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of unknown length is refused as soon as it exceeds the limit: what follows is never asked for."""
    monkeypatch.setattr(upload, "WRITE_BYTES", 10_000)
    app = create_app(make_service(tmp_path, max_upload_bytes=1_000_000))
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        head = b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\n'
        return {"type": "http.request", "body": head if taken == 1 else bytes(10_000), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"testserver"), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/jobs", "raw_path": b"/jobs", "query_string": b""}
    asyncio.run(app({**scope, "headers": headers, "client": ("127.0.0.1", 9), "server": None}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert taken < 110
    assert list((tmp_path / "uploads").iterdir()) == list((tmp_path / "jobs").iterdir()) == []


def test_stated_length_over_the_limit_fails_at_once(tmp_path: Path) -> None:
    """A stated length over the limit is refused before the body."""
    with open_client(tmp_path, max_upload_bytes=1000) as client:
        assert "at most 0.001 MB" in problem(client.post("/jobs", files=files(bytes(100_000))), 413)["detail"]


def test_large_picture_fails_as_a_picture(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large is named as the request has it."""
    monkeypatch.setattr(service_routes, "MAX_PICTURE_BYTES", 10)
    said = problem(client.post("/faces", files={"picture": bytes(100)}), 413)
    assert said["detail"] == "picture: expected at most 1e-05 MB in all, got more. Send less"


def test_full_disk_fails(tmp_path: Path) -> None:
    """Without the room that is to be left alone, nothing is accepted, and the service is not ready."""
    with open_client(tmp_path, min_free_bytes=10**18) as client:
        problem(client.post("/jobs", files=files()), 507)
        problem(client.get("/ready"), 507)


@pytest.mark.parametrize("nbytes", [21_000, 3_000_000])
def test_disk_that_refuses_fails_as_full(client: TestClient, nbytes: int) -> None:
    """Whether the disk refuses at once or when all is to be written out, the answer is the same, and nothing stays."""
    with small_files():
        answer = client.post("/jobs", files=files(bytes(nbytes)))
    problem(answer, 507)
    assert left_over(client) == []


def test_job_that_cannot_be_recorded_leaves_no_files(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a record nobody would ever remove them."""

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    service: Service = client.app.state.service  # type: ignore[attr-defined]
    monkeypatch.setattr(service.store, "add", broken)
    problem(client.post("/jobs", files=files()), 500)
    assert left_over(client) == []


def test_faces_without_a_server_fail_as_not_ready(client: TestClient) -> None:
    """The picture is not to blame where Triton does not answer."""
    _, picture = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))
    said = problem(client.post("/faces", files={"picture": picture.tobytes()}), 503)
    assert "expected a ready lip-sync server" in said["detail"]


def test_fields_are_limited_too(client: TestClient) -> None:
    """Endless fields or parts do not fill the memory."""
    problem(client.post("/jobs", files=files(), data={"face": "9" * 2000}), 422)
    problem(client.post("/jobs", files=[("video", b"a")] + [("face", (None, "left"))] * 60), 422)


def test_stalled_upload_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that stops sending is given up, and its place is free again."""
    monkeypatch.setattr(upload, "STALL_S", 0.2)
    go_on = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"--b\r\n"
        go_on.wait(20)
        yield b"--b--\r\n"

    with listening(make_service(tmp_path, max_jobs_per_user=1)) as address, ThreadPoolExecutor(1) as pool:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        slow = pool.submit(httpx.post, f"{address}/jobs", content=body(), headers=headers, timeout=30)
        wait_until(lambda: list((tmp_path / "uploads").iterdir()))
        answer = httpx.post(f"{address}/jobs", files=files())
        while answer.status_code == 429:
            answer = httpx.post(f"{address}/jobs", files=files())
        go_on.set()
        assert answer.status_code == 202
        assert slow.exception() is not None or problem(slow.result(), 408)


def test_idle_uploads_do_not_block_the_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that never arrive keep nobody else from having faces found."""

    async def found(*_: object) -> FaceList:
        return FaceList(width=1, height=1, faces=[], frame="")

    monkeypatch.setattr(service_routes, "preview_faces", found)
    head = b"POST /faces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    with listening(make_service(tmp_path)) as address, ExitStack() as stack:
        for _ in range(2 * service_routes.MAX_PREVIEWS):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))))
            idle.sendall(head)
        wait_until(lambda: len(list((tmp_path / "uploads").iterdir())) == 2 * service_routes.MAX_PREVIEWS)
        assert httpx.post(f"{address}/faces", files={"picture": b"picture"}, timeout=5).status_code == 200


def test_fifty_uploads_at_once(tmp_path: Path) -> None:
    """Fifty uploads at the same time all become jobs, each with its own bytes."""
    videos = [bytes([number]) * 500_000 for number in range(50)]
    with listening(make_service(tmp_path, max_jobs_per_user=50)) as address, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda video: httpx.post(f"{address}/jobs", files=files(video), timeout=60), videos))
        assert {answer.status_code for answer in answers} == {202}
        assert httpx.get(f"{address}/jobs").json()["total"] == 50
        assert problem(httpx.post(f"{address}/jobs", files=files()), 429)
    for answer, video in zip(answers, videos, strict=True):
        assert (tmp_path / "jobs" / answer.json()["id"] / "video").read_bytes() == video


def test_limits_hold_for_fifty_uploads_at_once(tmp_path: Path) -> None:
    """Of fifty uploads at once, exactly as many as allowed are accepted; the others hear when to come back."""
    with listening(make_service(tmp_path, max_jobs_per_user=20)) as address, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{address}/jobs", files=files(), timeout=60), range(50)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(202), codes.count(429)) == (20, 30)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) > 0
    assert len(list((tmp_path / "jobs").iterdir())) == 20


def test_total_limit_counts_all_users(tmp_path: Path) -> None:
    """The queue's size is limited for all users together."""
    with open_client(tmp_path, max_jobs=1, tokens=TOKENS) as client:
        assert client.post("/jobs", files=files(), headers=bearer(TOKEN)).status_code == 202
        assert "full" in problem(client.post("/jobs", files=files(), headers=bearer(OTHER_TOKEN)), 429)["detail"]


def test_form_has_every_option_of_the_page(client: TestClient) -> None:
    """The page's form is made from the table: every option once, with its label, default, control and models."""
    listed = client.get("/options").json()
    shown = {option["name"]: option for group in listed["groups"] for option in group["options"]}
    assert sum(len(group["options"]) for group in listed["groups"]) == len(shown)
    table = options_for_front_end("page")
    assert set(shown) == {option.name for option in table}
    for option in table:
        view = shown[option.name]
        assert (view["label"], view["explanation"]) == (option.label, option.explanation)
        assert view["default"] == option.write(option.default)
        assert view["control"] == option.kind.control()
        assert view["models"] == [pipeline.name for pipeline in pipelines_of(option)]
    assert listed["preview_at"] in shown


@pytest.mark.parametrize("path", ["/openapi.json", "/options", "/models", "/"])
def test_texts_spell_the_options_that_they_name(client: TestClient, path: str) -> None:
    """No mark of a reference to another option is left in what people and programs read."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert not set("⟦⟧") & set(answer.text)


def test_page_lists_no_options() -> None:
    """No option's name stands in the page, but those of what it asks for in its own way."""
    own = {"face", "video", "audio", "model"}
    of_streams = {"live_stream.js": {"end"}}  # a message
    names = {option.name for option in options_for_front_end("page")} - own
    for file in [*PAGE.glob("*.js"), PAGE / "index.html"]:
        words = set(re.findall(r"""[."'`=]([a-z_]+)\b(?![(-])""", file.read_text()))
        assert not words & names - of_streams.get(file.name, set()), file.name


def test_urls_are_off_by_default(client: TestClient) -> None:
    """Web addresses are refused unless the service was started with them."""
    urls = {"video_url": "https://example.org/v.mp4", "audio_url": "https://example.org/a.wav"}
    problem(client.post("/jobs", json=urls), 403)


def test_bad_json_fails(tmp_path: Path) -> None:
    """JSON that is none, or lacks an address, is refused by the field's name."""
    with open_client(tmp_path, allow_urls=True) as client:
        json_type = {"Content-Type": "application/json"}
        problem(client.post("/jobs", content=b"{", headers=json_type), 422)
        said = problem(client.post("/jobs", content=json.dumps({"video_url": "https://x"}), headers=json_type), 422)
        assert "audio_url" in said["detail"]
        problem(client.post("/jobs", content=b'"' + b"x" * 2_000_000, headers=json_type), 413)
