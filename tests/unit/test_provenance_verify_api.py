"""POST /verify: what the service says of signed, altered, marked and other files, each examined by a real process."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.concurrency import run_in_threadpool
from starlette.testclient import TestClient

from client.errors import LipSyncError
from client.lipsync import main
from client.provenance.certificates import make_credentials
from client.provenance.findings import Findings, examine
from client.provenance.reading import CredentialsFound
from client.web import verify_process, verify_routes
from client.web.child import EXIT_REFUSED
from client.web.media_probe import MediaFacts
from client.web.problems import ProblemError
from client.web.verify_views import CredentialsView, VerificationView
from tests.imitation_triton import imitated_server
from tests.media_clips import tone, write_clip, write_sound
from tests.unit.test_provenance_signing import FRAMES, JOB, flipped
from tests.waiting import wait_until
from tests.web_service import TOKEN, TOKENS, bearer, open_client, problem

pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", size=(320, 240), frames=FRAMES)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """A folder with a signed and marked out.mp4, and an out.mkv beside its credentials."""
    folder = tmp_path_factory.mktemp("results")
    files = make_credentials(folder / "credentials", "Test Studio")
    speech = write_sound(folder / "speech.wav", tone(FRAMES / 25))
    credentials = ("--sign-cert", str(files.certificate), "--sign-key", str(files.key), "--mark")
    with imitated_server():
        for name in ("out.mp4", "out.mkv"):
            paths = ("--video", str(clip), "--audio", str(speech), "--output", str(folder / name))
            assert main([*paths, *JOB, *credentials]) == 0
    return folder


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with open_client(tmp_path) as opened:
        yield opened


def send(client: TestClient, video: Path | bytes, credentials: Path | None = None, **named: Any) -> Any:
    content = video if isinstance(video, bytes) else video.read_bytes()
    parts = {"video": ("holiday.mp4", content)}
    if credentials is not None:
        parts["credentials"] = ("holiday.mp4.c2pa", credentials.read_bytes())
    return client.post("/verify", files=parts, **named)


def verified(client: TestClient, video: Path, credentials: Path | None = None) -> dict[str, Any]:
    answer = send(client, video, credentials)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def test_signed_file_is_told(client: TestClient, results: Path, tmp_path: Path) -> None:
    """What was changed, when and by which models; signature, file and mark hold; nothing of it is kept."""
    said = verified(client, results / "out.mp4")
    assert (said["file"], said["outcome"]) == ("holiday.mp4", "valid")
    credentials, mark = said["credentials"], said["mark"]
    assert (credentials["state"], credentials["signed_by"], credentials["title"]) == ("valid", "Test Studio", "out.mp4")
    assert credentials["stated_time"].endswith("Z")
    assert credentials["job"]["pipeline"] == "wav2lip"
    assert credentials["job"]["models"]["wav2lip"] == "wav2lip"
    assert credentials["job"]["changed_spans"] == [[0.0, 2.0]]
    assert [item["name"] for item in credentials["ingredients"]] == ["clip.mp4", "speech.wav"]
    assert mark["is_found"]
    assert mark["score"] > mark["threshold"]
    assert any("real name" in line for line in said["unknown"])
    assert list((tmp_path / "uploads").iterdir()) == []


def test_altered_file_is_told(client: TestClient, results: Path, tmp_path: Path) -> None:
    """One bit in the pictures: the credentials are there, and do not hold."""
    place = (results / "out.mp4").read_bytes().index(b"mdat") + 5000
    said = verified(client, flipped(results / "out.mp4", tmp_path / "bit.mp4", place))
    assert (said["outcome"], said["credentials"]["state"]) == ("not-valid", "altered")
    assert 0.9 < said["credentials"]["intact"] <= 1
    assert said["credentials"]["problems"]


def test_credentials_beside_a_file_are_read(client: TestClient, results: Path) -> None:
    """They are a part of their own; without it, the mark is all that is found."""
    video = results / "out.mkv"
    assert verified(client, video, results / "out.mkv.c2pa")["outcome"] == "valid"
    assert verified(client, video)["outcome"] == "mark-alone"


def test_unmarked_file_tells_nothing(client: TestClient, clip: Path) -> None:
    said = verified(client, clip)
    assert (said["outcome"], said["credentials"]["state"], said["mark"]["is_found"]) == ("nothing", "none", False)
    assert said["credentials"]["job"] is None
    assert "who made the file, when, and from what" in said["unknown"]


def test_file_that_is_no_video_fails(client: TestClient, tmp_path: Path) -> None:
    """In people's words, without a path of the service."""
    said = problem(send(client, b"no video at all"), 422)
    assert said["type"] == "/problems/unreadable-media"
    assert said["errors"][0]["name"] == "video"
    assert said["user_message"] == "This file cannot be read as a video. Check that it plays."
    assert str(tmp_path) not in str(said)
    assert list((tmp_path / "uploads").iterdir()) == []


def test_what_is_no_upload_fails(client: TestClient, clip: Path) -> None:
    """Other parts, none at all, and a body of another kind."""
    assert problem(client.post("/verify", files={"audio": b"sound"}), 422)["errors"][0]["name"] == "audio"
    assert problem(client.post("/verify", files={"credentials": b"c2pa"}), 422)["errors"][0]["name"] == "video"
    problem(client.post("/verify", content=b"bytes", headers={"Content-Type": "video/mp4"}), 415)


def test_large_and_long_files_fail(tmp_path: Path, clip: Path) -> None:
    """The limits of uploads and of plans hold."""
    with open_client(tmp_path / "small", max_upload_bytes=1000) as client:
        assert problem(send(client, bytes(100_000)), 413)["type"] == "/problems/too-large"

    async def an_hour(*_: object) -> list[MediaFacts]:
        return [MediaFacts(length_s=3600.0)]

    with open_client(tmp_path / "short", probe=an_hour) as client:
        assert problem(send(client, clip), 422)["type"] == "/problems/too-long"


def test_token_is_needed(tmp_path: Path, clip: Path) -> None:
    with open_client(tmp_path, tokens=TOKENS) as client:
        problem(send(client, clip), 401)


def test_one_file_of_a_user_at_a_time(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused until the first is done; another user's is taken."""
    begun, go_on = threading.Event(), threading.Event()

    async def wait(_video: Path, name: str, _is_to_end: object) -> VerificationView:
        if not begun.is_set():
            begun.set()
            await run_in_threadpool(go_on.wait, 20)
        return VerificationView(file=name, outcome="nothing", verdict="", credentials=None, mark=None, unknown=[])

    monkeypatch.setattr(verify_routes, "run_verify", wait)
    with open_client(tmp_path, tokens=TOKENS) as client:
        ann = bearer(TOKEN)
        first = threading.Thread(target=send, args=(client, clip), kwargs={"headers": ann})
        first.start()
        assert begun.wait(20)
        said = problem(send(client, clip, headers=ann), 503)
        assert said["type"] == "/problems/busy"
        assert send(client, clip, headers=bearer(TOKENS["bob"])).status_code == 200
        go_on.set()
        first.join()
        wait_until(lambda: send(client, clip, headers=ann).status_code == 200)


def test_caller_that_leaves_is_not_checked_later(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves, or whose service ends, while others are checked holds no place and is not begun."""
    begun = []

    async def note(_video: Path, name: str, _is_to_end: object) -> VerificationView:
        begun.append(name)
        raise AssertionError

    monkeypatch.setattr(verify_routes, "run_verify", note)
    monkeypatch.setattr(verify_routes, "MAX_RUNNING", 0)
    with open_client(tmp_path) as client:
        client.app.state.service.is_ending = True  # type: ignore[attr-defined]
        said = problem(send(client, clip), 503)
        assert said["user_message"] == "The service is being stopped. Try again in a moment."
        assert begun == list((tmp_path / "uploads").iterdir()) == []


async def never() -> None:
    await asyncio.Event().wait()


def answer_of(monkeypatch: pytest.MonkeyPatch, code: int, stdout: str) -> dict[str, Any]:
    """Return the problem that a process's answer leads to."""

    async def ask(*_: object) -> tuple[int, bytes]:
        return code, stdout.encode()

    monkeypatch.setattr(verify_process, "ask", ask)
    with pytest.raises(ProblemError) as raised:
        asyncio.run(verify_process.run_verify(Path("video.mp4"), "clip.mp4", never))
    assert raised.value.problem.status == 422
    return raised.value.problem.model_dump()


def test_what_a_signer_made_up_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is none, and one that is too long, are told as what they are."""
    too_long = LipSyncError(expected="credentials of at most 100 bytes", got="more")
    assert "cannot be read" in answer_of(monkeypatch, 0, '{"file": null}')["user_message"]
    told = answer_of(monkeypatch, EXIT_REFUSED, json.dumps(too_long.as_dict()))["user_message"]
    assert told == "What the credentials of this file say is too long to be shown."


def test_answer_has_what_the_command_line_has(results: Path) -> None:
    """Every field of the credentials and of the mark, under the same names."""
    found = examine(results / "out.mp4")
    view, printed = VerificationView.of(found).model_dump(), found.as_dict()
    assert set(printed["credentials"]) - {"is_trusted"} <= set(view["credentials"])  # a service trusts nobody
    assert set(printed["mark"]) == set(view["mark"])


def test_foreign_assertion_under_our_name_is_left_out() -> None:
    """Anybody can sign anything: what has another form than ours is not repeated."""
    job = {"pipeline": ["x"], "changed_spans": "all"}
    found = CredentialsFound("valid", job=job)
    assert CredentialsView.of(found).job is None
    endless = {"pipeline": "x", "models": {}, "changed_spans": [["nan", "inf"]], "changed_frames": 1, "frames": 1}
    assert CredentialsView.of(CredentialsFound("valid", job=endless)).job is None
    assert "what was changed: not as this program states it" in Findings("clip.mp4", found, None).text()


def test_endless_credentials_fail(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer is bounded, whatever a file says."""
    monkeypatch.setattr(verify_process, "MAX_ANSWER_BYTES", 100)
    monkeypatch.setattr(verify_process, "limit_this_process", lambda: None)
    monkeypatch.setattr("sys.argv", ["verify_process", str(shutil.copy(results / "out.mp4", tmp_path))])
    assert verify_process.main() == verify_process.EXIT_REFUSED
    assert "at most 100 bytes" in capsys.readouterr().out
