"""Live streams through the web service and a real Triton: by a program, and on the page."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from websockets.sync.client import ClientConnection, connect

from client.servers.access import ServerAccess
from client.web.service import Service
from client.web.triton import LoadedModels
from lipsync_core.serving.server import EmbeddedServer
from tests.page_states import LIVE, start_live
from tests.server.clips import SPEECH
from tests.server.live import RATE, live_server, pieces_of, prepare_clip, speech_of
from tests.server.test_web_page import PATIENCE_MS, browser
from tests.waiting import wait_until
from tests.web_service import listening, make_service

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.server
FRAMES = 12
INTERRUPT_S = 0.1


@pytest.fixture(scope="module")
def service(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose Triton draws live streams of one clip."""
    clips = tmp_path_factory.mktemp("clips")
    with live_server(model_repository, clips, "mouth_motion", "voice_activity") as server:
        prepare_clip(server, clips / "head", frames=FRAMES)
        yield make_service(tmp_path_factory.mktemp("web"), LoadedModels(access_of(server)), clips=clips)


def access_of(server: EmbeddedServer) -> ServerAccess:
    return ServerAccess((server.url,))


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    """Where it listens."""
    with listening(service) as found:
        yield found


def say(socket: ClientConnection, pcm: np.ndarray) -> None:
    """Send a voice at the pace of a speaker."""
    for piece in pieces_of(pcm, [RATE // 20]):
        socket.send((piece * 32767).astype("<i2").tobytes())
        time.sleep(0.05)


def test_voice_is_spoken_by_a_clip(service: Service, address: str) -> None:
    """Pictures with the voice come back in time; an interruption drops the rest; the end comes by itself."""
    voice = speech_of(1.0)
    with connect(address.replace("http", "ws") + "/live") as socket:
        socket.send(json.dumps({"kind": "open", "clip": "head", "rate": RATE}))
        assert json.loads(socket.recv(timeout=60))["width"] == 256
        say(socket, voice)
        for piece in pieces_of(speech_of(1.0, 2.0), [RATE // 20]):  # at once, to be dropped
            socket.send((piece * 32767).astype("<i2").tobytes())
        socket.send(json.dumps({"kind": "interrupt"}))
        socket.send(json.dumps({"kind": "end"}))
        messages = list(socket)
    texts = [json.loads(message) for message in messages if isinstance(message, str)]
    content = b"".join(message for message in messages if isinstance(message, bytes))
    assert texts[-1]["kind"] == "ended"
    assert [text["speaks"] for text in texts if text["kind"] == "speaks"][:2] == [False, True]
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == texts[-1]["pictures"]
    with av.open(io.BytesIO(content)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.flatnonzero(np.abs(sound) > 0.05) / 48_000
    assert 0.3 < loud[-1] - loud[0] < 1.0 + INTERRUPT_S  # the look-ahead is not shown yet
    wait_until(lambda: service.live.open_streams == 0)


def test_recording_is_spoken_on_the_page(browser: Browser, service: Service, address: str) -> None:
    """What is buffered grows while the recording is sent, and the mouth moves."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        start_live(page, SPEECH)
        video = page.locator(LIVE)
        expect(page.locator("#live-badge")).to_have_text("Speaks")
        before_s = video.evaluate("video => video.buffered.end(0)")
        wait_until(lambda: video.evaluate("video => video.buffered.end(video.buffered.length - 1)") > before_s + 1)
        wait_until(lambda: video.evaluate("video => video.currentTime > 1"))
        page.get_by_role("button", name="Stop").click()
        wait_until(lambda: service.live.open_streams == 0)
        assert errors == []
