"""The WebSocket of live streams: who may open it, what it takes, and what it says of what it does not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from client.errors import RequestRejected, ServerBusy, ServerLost
from client.live import waiting
from client.live.settings import StreamSettings
from client.live.waiting import AHEAD_S
from client.web import live_socket
from client.web.app import create_app
from client.web.live_messages import MAX_PIECE_BYTES
from tests.fake_live import FakeSession, write_clip
from tests.waiting import wait_until
from tests.web_service import TOKEN, TOKENS, SomeModels, make_service, problem

RATE = 16_000
OPEN = {"kind": "open", "clip": "ann", "rate": RATE}
VOICE = (np.sin(np.arange(RATE // 20) / 5) * 9000).astype("<i2").tobytes()  # 50 ms
SERVES_LIVE = SomeModels("mouth-motion", live=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, of which one cannot be shown live, and what is no clip."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "ann")
    write_clip(folder / "slow", "latentsync")
    write_clip(folder / "Not a name")
    (folder / "broken").mkdir()
    (folder / "file").write_text("no folder")
    return folder


class Desk:
    """A service with fake streams.

    Attributes:
        client: calls it.
        sessions: those that were opened.
    """

    def __init__(self, data: Path, folder: Path, **given: Any) -> None:
        self.sessions: list[FakeSession] = []
        self.error: Exception | None = None
        self.pace_s = 0.002
        settings = {"models": SERVES_LIVE, "open_session": self.open, "clips": folder} | given
        self.service = make_service(data, **settings)
        self.client = TestClient(create_app(self.service))

    def open(self, settings: StreamSettings) -> FakeSession:
        if self.error is not None:
            raise self.error
        self.sessions.append(FakeSession(settings, self.pace_s))
        return self.sessions[-1]

    def socket(self, **headers: str) -> WebSocketTestSession:
        return self.client.websocket_connect("/live", headers=headers)


@pytest.fixture(scope="module")
def one_desk(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[Desk]:
    """A service with room for two streams of a user."""
    made = Desk(tmp_path_factory.mktemp("data"), clips)
    with made.client:
        yield made


@pytest.fixture
def desk(one_desk: Desk) -> Desk:
    """The service, without a stream."""
    wait_until(lambda: one_desk.service.live.open_streams == 0)
    one_desk.sessions.clear()
    one_desk.error = None
    return one_desk


def read_until(socket: WebSocketTestSession, kind: str) -> tuple[list[dict[str, Any]], bytes]:
    """Return the texts until one of a kind, and all bytes before it."""
    texts: list[dict[str, Any]] = []
    content = b""
    while not texts or texts[-1]["kind"] != kind:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise AssertionError(f"closed after {texts}")
        if message.get("bytes"):
            content += message["bytes"]
        else:
            texts.append(json.loads(message["text"]))
    return texts, content


def refused(socket: WebSocketTestSession) -> dict[str, Any]:
    """Check that a problem and the connection's end are all that still comes; returns the problem."""
    texts, _ = read_until(socket, "problem")
    with pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_text()
    assert closed.value.code == live_socket.REFUSED
    said: dict[str, Any] = texts[-1]["problem"]
    assert said["user_message"]
    return said


def test_clips_are_listed_with_what_is_in_their_way(desk: Desk) -> None:
    """Folders that streams can name, and why one cannot be shown; no path of this machine."""
    answer = desk.client.get("/live/clips")
    found = answer.json()
    assert found["ready"]
    listed = {clip["name"]: clip for clip in found["clips"]}
    assert list(listed) == ["ann", "broken", "slow"]
    assert listed["ann"] == {"name": "ann", "model": "mouth-motion", "title": "Mouth motion", "obstacle": ""}
    assert "hear the whole speech" in listed["slow"]["obstacle"]
    assert "no clip.json" in listed["broken"]["obstacle"]
    assert str(desk.service.settings.clips) not in answer.text


@pytest.mark.parametrize(
    "given", [{"models": SomeModels("mouth-motion")}, {"clips": None}, {"max_live": 0}], ids=["model", "clips", "limit"]
)
def test_service_without_live_streams_says_so(tmp_path: Path, clips: Path, given: dict[str, Any]) -> None:
    """The page then shows nothing of them."""
    desk = Desk(tmp_path / "data", clips, **given)
    assert desk.client.get("/live/clips").json() == {"ready": False, "clips": []}


def test_voice_comes_back_with_pictures(desk: Desk) -> None:
    """An mp4 that plays, whose type the first message names; the end comes when the voice is over."""
    with desk.socket() as socket:
        socket.send_json(OPEN | {"options": {"strength": 1.2}})
        (opened,), _ = read_until(socket, "opened")
        assert opened["media_type"].startswith('video/mp4; codecs="avc1.')
        assert (opened["width"], opened["rate"], opened["is_signed"]) == (64, RATE, False)
        for _ in range(20):
            socket.send_bytes(VOICE)
        socket.send_json({"kind": "end"})
        texts, content = read_until(socket, "ended")
    assert {"kind": "speaks", "speaks": True} in [{key: text[key] for key in ("kind", "speaks")} for text in texts[:-1]]
    assert texts[-1]["spoken"] >= 25
    with av.open(io.BytesIO(content)) as container:
        assert len(list(container.decode(video=0))) == texts[-1]["pictures"]
    with av.open(io.BytesIO(content)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert np.abs(sound).max() > 0.2
    (session,) = desk.sessions
    assert session.settings.options == {"strength": 1.2}
    assert session.asked == [f"{RATE // 20} samples"] * 20 + ["end"]
    assert session.is_closed
    assert desk.service.live.open_streams == 0


def test_interruption_reaches_the_stream(desk: Desk) -> None:
    """In the order of the voice around it."""
    with desk.socket() as socket:
        socket.send_json(OPEN)
        socket.send_bytes(VOICE)
        socket.send_json({"kind": "interrupt"})
        socket.send_bytes(VOICE)
        read_until(socket, "opened")
        wait_until(lambda: len(desk.sessions[0].asked) == 3)
    assert desk.sessions[0].asked == ["800 samples", "interrupt", "800 samples"]


def test_interruption_drops_all_that_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, also after more voice than the server takes ahead."""
    monkeypatch.setattr(desk, "pace_s", 100.0)
    with desk.socket() as socket:
        socket.send_json(OPEN)
        for _ in range(2 * round(AHEAD_S)):
            socket.send_bytes(bytes(2 * RATE))
        socket.send_json({"kind": "interrupt"})
        wait_until(lambda: "interrupt" in desk.sessions[0].asked)
        socket.send_json({"kind": "end"})
        wait_until(lambda: "end" in desk.sessions[0].asked)
    *pieces, interruption, end = desk.sessions[0].asked
    assert (interruption, end) == ("interrupt", "end")
    assert set(pieces) == {f"{RATE} samples"}
    assert AHEAD_S <= len(pieces) <= AHEAD_S + 1  # one more where a picture was shown before the interruption


def test_voice_that_comes_faster_than_it_is_shown_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is passed on in time, and the end after it."""
    monkeypatch.setattr(waiting, "AHEAD_S", 0.2)
    monkeypatch.setattr(live_socket, "MOST_WAITING_S", 0.5)
    with desk.socket() as socket:
        socket.send_json(OPEN)
        for _ in range(60):
            socket.send_bytes(VOICE)
        socket.send_json({"kind": "end"})
        texts, _ = read_until(socket, "ended")
    assert desk.sessions[0].asked == ["800 samples"] * 60 + ["end"]
    assert texts[-1]["seconds"] >= 3.0


def test_page_that_goes_ends_its_stream(desk: Desk) -> None:
    """Its place is free at once."""
    with desk.socket() as socket:
        socket.send_json(OPEN)
        read_until(socket, "opened")
        assert desk.service.live.open_streams == 1
    wait_until(lambda: desk.service.live.open_streams == 0)
    assert desk.sessions[0].is_closed


def denied(desk: Desk, **headers: str) -> httpx.Response:
    with pytest.raises(WebSocketDenialResponse) as denial, desk.socket(**headers):
        pass
    response: httpx.Response = denial.value
    assert response.headers["x-content-type-options"] == "nosniff"
    return response


def test_tokens_are_asked_for_before_the_connection(tmp_path: Path, clips: Path) -> None:
    """A bearer token or a session opens it; a wrong one is told as on every route."""
    desk = Desk(tmp_path / "data", clips, tokens=TOKENS)
    assert problem(desk.client.get("/live/clips"), 401)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert problem(denied(desk, **headers), 401)["type"] == "/problems/token-required"
    with desk.socket(Authorization=f"Bearer {TOKEN}") as socket:
        socket.send_json(OPEN)
        read_until(socket, "opened")
    assert desk.client.post("/session", json={"token": TOKEN}).status_code == 204
    with desk.socket() as socket:
        socket.send_json(OPEN)
        read_until(socket, "opened")


def test_pages_of_other_sites_are_refused(tmp_path: Path, clips: Path) -> None:
    """Cookies travel with a WebSocket of any site; sites that the service was started for may open one."""
    desk = Desk(tmp_path / "data", clips, cors_origins=("https://friend.example", "null"))
    for origin in ("https://evil.example", "null", "http://["):
        assert problem(denied(desk, Origin=origin), 403)["type"] == "/problems/other-site"
    problem(denied(desk, Host="evil.example"), 421)
    for origin in ("http://testserver", "https://friend.example"):
        with desk.socket(Origin=origin) as socket:
            socket.send_json(OPEN)
            read_until(socket, "opened")


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        (OPEN | {"clip": "nobody"}, 404, "another name"),
        (OPEN | {"clip": "../ann"}, 404, "another name"),
        (OPEN | {"clip": "slow"}, 422, "whole speech"),
        (OPEN | {"clip": "broken"}, 422, "clip.json"),
        (OPEN | {"clip": 5}, 422, "clip"),
        (OPEN | {"rate": 5}, 422, "sample rate"),
        (OPEN | {"options": {"crf": 5}}, 422, "an option of live output"),
        (OPEN | {"options": {"nothing": 5}}, 422, "nothing"),
        (OPEN | {"further": 1}, 422, "further"),
        ({"kind": "end"}, 422, "`open` before anything else"),
        ({"kind": "sing"}, 422, "sing"),
        ([], 422, "dictionary"),
        ("no JSON", 400, "JSON object"),
        (b"voice", 422, "`open` before anything else"),
    ],
)
def test_bad_opening_is_told(desk: Desk, message: object, status: int, words: str) -> None:
    """As a problem like those of other routes, for programs and for people."""
    with desk.socket() as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message if isinstance(message, str) else json.dumps(message))
        said = refused(socket)
    assert (said["status"], words in said["detail"]) == (status, True), said
    assert not desk.sessions


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "0 bytes"),
        (b"odd", "3 bytes"),
        (bytes(MAX_PIECE_BYTES + 2), "at most"),
        (OPEN, "while it is open"),
        ({"kind": "pause"}, "pause"),
    ],
)
def test_bad_message_ends_the_stream(desk: Desk, message: object, words: str) -> None:
    """Its page is told why."""
    with desk.socket() as socket:
        socket.send_json(OPEN)
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_json(message)
        assert words in refused(socket)["detail"]
    assert desk.sessions[0].is_closed


def test_voice_after_the_end_is_refused(desk: Desk) -> None:
    """It would not be shown."""
    with desk.socket() as socket:
        socket.send_json(OPEN)
        socket.send_bytes(VOICE * 20)
        socket.send_json({"kind": "end"})
        socket.send_bytes(VOICE)
        assert "after the message `end`" in refused(socket)["detail"]


def test_streams_are_limited(tmp_path: Path, clips: Path) -> None:
    """Per user, and of all users together; the place of one that has ended is free."""
    desk = Desk(tmp_path / "data", clips, tokens=TOKENS, max_live_per_user=1, max_live=1)
    bearers = [{"Authorization": f"Bearer {token}"} for token in TOKENS.values()]
    with desk.client, desk.socket(**bearers[0]) as first:
        first.send_json(OPEN)
        read_until(first, "opened")
        for headers, words in zip(bearers, ("of yours", "all users"), strict=True):
            with desk.socket(**headers) as further:
                said = refused(further)
                assert (said["type"], words in said["detail"]) == ("/problems/too-many-streams", True)
    wait_until(lambda: desk.service.live.open_streams == 0)
    assert desk.client.get("/limits", headers=bearers[0]).json()["max_live_per_user"] == 1


def test_silent_pages_are_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they open a stream, and after; once no voice follows, the stream takes its time."""
    monkeypatch.setattr(live_socket, "OPEN_WITHIN_S", 0.05)
    monkeypatch.setattr(live_socket, "IDLE_S", 0.1)
    with desk.socket() as socket:
        assert refused(socket)["status"] == 408
    with desk.socket() as socket:
        socket.send_json(OPEN)
        assert refused(socket)["title"] == "The stream was idle"
    assert desk.sessions[0].is_closed


def test_voice_of_a_stream_is_limited(tmp_path: Path, clips: Path) -> None:
    """To what a job's speech may last."""
    desk = Desk(tmp_path / "data", clips, max_duration_s=0.1)
    with desk.socket() as socket:
        socket.send_json(OPEN)
        for _ in range(3):
            socket.send_bytes(VOICE)
        assert refused(socket)["type"] == "/problems/too-long"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ServerBusy("at most 16 streams at once"), "too-many-streams", "on the server"),
        (ServerLost(about="10.0.0.5:8001", expected="a running Triton", got="no connection"), "not-ready", "ready"),
        (RequestRejected("no such clip", about="10.0.0.5:8001"), "unusable", "no such clip"),
    ],
)
def test_what_the_server_refuses_is_told(desk: Desk, error: Exception, kind: str, words: str) -> None:
    """Without its address."""
    desk.error = error
    with desk.socket() as socket:
        socket.send_json(OPEN)
        said = refused(socket)
    assert said["type"] == f"/problems/{kind}"
    assert words in said["detail"]
    assert "10.0.0.5" not in json.dumps(said)


def test_server_that_is_lost_ends_the_stream(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is told, and its place is free."""

    def lost(_: FakeSession) -> Iterator[Any]:
        raise ServerLost(about="10.0.0.5:8001", expected="a running Triton", got="no connection")

    monkeypatch.setattr(FakeSession, "__iter__", lost)
    with desk.socket() as socket:
        socket.send_json(OPEN)
        assert refused(socket)["type"] == "/problems/not-ready"
    wait_until(lambda: desk.service.live.open_streams == 0)


def test_server_without_the_model_is_told(tmp_path: Path, clips: Path) -> None:
    """And what to do about it."""
    desk = Desk(tmp_path / "data", clips, models=SomeModels("mouth-motion"))
    with desk.socket() as socket:
        socket.send_json(OPEN)
        said = refused(socket)
    assert said["type"] == "/problems/not-loaded"
    assert "draws no live streams" in said["user_message"]
