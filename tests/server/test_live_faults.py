"""Live streams through a real server: what is refused, and what bad clients cannot do to others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.errors import AccessDenied, LipSyncError, RequestRejected, ServerBusy, ServerLost, UsageError
from client.live.stream import LiveSession
from client.prepared.clip import MANIFEST, PreparedClip
from client.servers.security import Security
from lipsync_core.serving.access import Access
from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.media_clips import write_sound
from tests.server.live import (
    IDLE_TIMEOUT_S,
    MAX_SESSIONS,
    RATE,
    clips,
    live_server,
    opened,
    server,
    sound_of,
    speech_of,
    spoken_part,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.server
__all__ = ["clips", "server"]  # fixtures
TOKEN = "callers-token-0123456789"


def is_free(server: EmbeddedServer) -> bool:
    """Return whether the server has no stream: then it takes as many as it may."""
    with ExitStack() as stack:
        try:
            for _ in range(MAX_SESSIONS):
                stack.enter_context(LiveSession(server.url, "head"))
        except ServerBusy:
            return False
    return True


def wait_until_free(server: EmbeddedServer) -> None:
    """Wait until a server has no stream; asked seldom, as the question opens some itself."""

    def ask() -> bool:
        free = is_free(server)
        time.sleep(1.0)  # for the streams that this has opened
        return free

    wait_until(ask)


def read_all(live: LiveSession) -> None:
    """Read pictures until the stream ends or fails."""
    for _ in live:
        pass


@pytest.mark.parametrize(
    ("clip", "settings", "said"),
    [
        ("nobody", {}, "nobody: expected a clip of the server, got no such clip"),
        ("../head", {}, "clip: expected a name of 1 to 64 lower-case letters, digits, - and _, got '../head'"),
        ("linked", {}, "linked: expected a clip of the server, got no such clip"),
        ("older", {}, "of format 1, got 0. Prepare the clip again"),
        ("damaged", {}, "expected a part of this clip, got a damaged one. Prepare the clip again"),
        ("diffusion", {}, "model: expected a clip prepared for mouth-motion or wav2lip or musetalk, got one for"),
        ("head", {"options": {"crf": 20}}, "crf: expected an option of live output, got one of jobs alone"),
        ("head", {"options": {"strength": 9}}, "strength: expected 0.5 to 1.5, got 9"),
    ],
)
def test_opening_fails_in_one_line(
    server: EmbeddedServer, clips: Path, clip: str, settings: dict[str, object], said: str
) -> None:
    """It says what is wrong with the clip or with a choice, and the server goes on."""
    make_bad_clips(clips)
    with pytest.raises(RequestRejected) as caught:
        LiveSession(server.url, clip, **settings)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def make_bad_clips(clips: Path) -> None:
    """Write clips that cannot be used beside a good one."""
    if (clips / "linked").is_symlink():
        return
    (clips / "linked").symlink_to(clips / "head")
    for name in ("older", "damaged", "diffusion"):
        shutil.copytree(clips / "head", clips / name)
    manifest = json.loads((clips / "older" / MANIFEST).read_text())
    (clips / "older" / MANIFEST).write_text(json.dumps({**manifest, "format": 0}))
    for part in (clips / "damaged").glob("faces-*"):
        part.write_bytes(part.read_bytes()[:-100])
    rewrite_model(clips / "diffusion", "latentsync")


def rewrite_model(folder: Path, pipeline: str) -> None:
    """Let a clip be one that was prepared for another pipeline."""
    manifest = PreparedClip(folder).manifest
    changed = replace(manifest, options={**manifest.options, "model": pipeline})
    (folder / MANIFEST).write_text(changed.as_json())


def test_bad_voice_fails_in_one_line_and_the_stream_goes_on(server: EmbeddedServer) -> None:
    """An empty piece, another rate, samples that are no numbers, and more than may wait."""
    with opened(server) as live:
        with pytest.raises(UsageError, match="voice: expected at least one sample, got none"):
            live.send(np.zeros(0, np.float32))
        with pytest.raises(UsageError, match="expected mono samples"):
            live.send(np.zeros((2, 100), np.float32))
        for pcm, rate, said in (
            (np.zeros(100, np.float32), 8_000, "rate: expected 16000 Hz, as the stream was opened, got 8000 Hz"),
            (np.full(100, np.nan, np.float32), None, "voice: expected finite samples"),
            (np.zeros(61 * RATE, np.float32), None, "voice: expected at most 60 s that wait to be shown, got 61.0 s"),
        ):
            live.send(pcm, rate)
            with pytest.raises(RequestRejected) as caught:
                read_all(live)
            assert said in str(caught.value)
        assert live.next_picture() is not None  # tells that the 61 s do not wait
        live.send(speech_of(0.3))
        live.end()
        assert any(picture.speaks for picture in live)


def test_streams_beyond_the_limit_are_refused(server: EmbeddedServer) -> None:
    """A hundred clients at once get one clear line; those that have a stream go on, and their places are free again."""
    refused: list[LipSyncError] = []

    def open_one() -> None:
        try:
            LiveSession(server.url, "head").close()
        except LipSyncError as error:
            refused.append(error)

    with ExitStack() as stack:
        streams = [stack.enter_context(opened(server)) for _ in range(MAX_SESSIONS)]
        threads = [threading.Thread(target=open_one) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(error) for error in refused] == [ServerBusy] * 100
        said = "live: expected at most 3 streams at once, got one more. Try again later"
        assert {str(error) for error in refused} == {said}
        assert all(live.next_picture() is not None for live in streams)
    with opened(server) as live:
        assert live.next_picture() is not None


@pytest.mark.long  # in real time, which a busy machine does not keep
def test_a_slow_reader_does_not_stall_others(server: EmbeddedServer) -> None:
    """It misses pictures, and is told how many; the other stream is on time."""
    with opened(server) as slow, opened(server) as other:
        slow.next_picture()
        began = time.monotonic()
        first = other.next_picture()
        assert first is not None
        late = []
        while time.monotonic() - began < 3.5:
            picture = other.next_picture()
            assert picture is not None
            late.append(time.monotonic() - began - (picture.time_s - first.time_s))
        assert len(late) > 60
        assert np.median(late) < 0.2
        left_out = 0
        for _ in range(60):
            picture = slow.next_picture()
            assert picture is not None
            left_out += picture.left_out
        assert left_out > 10


def test_a_reader_that_holds_misses_nothing(server: EmbeddedServer) -> None:
    """The stream's clock stands still while it does not read."""
    voice = speech_of(3.0)
    with opened(server, slow_reader="hold") as live:
        live.send(voice)
        live.end()
        time.sleep(3.5)
        pictures = list(live)
    assert [picture.number for picture in pictures] == list(range(len(pictures)))
    assert np.array_equal(spoken_part(sound_of(pictures)), spoken_part(voice))


def test_streams_of_killed_clients_end(server: EmbeddedServer) -> None:
    """The places are free again soon."""
    wait_until_free(server)
    code = (
        "import sys, time; from client.live.stream import LiveSession\n"
        f"live = [LiveSession({server.url!r}, 'head') for _ in range({MAX_SESSIONS})]\n"
        "print('open', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        assert not is_free(server)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    wait_until_free(server)


def test_a_stream_without_any_message_ends(server: EmbeddedServer) -> None:
    """As that of a client which is there, but stands still."""
    with opened(server, timeout_s=20) as live:
        time.sleep(IDLE_TIMEOUT_S + 1.5)
        with pytest.raises(RequestRejected, match=f"expected a message within {IDLE_TIMEOUT_S} s"):
            read_all(live)


def test_the_command_fails_in_one_line(server: EmbeddedServer, tmp_path: Path) -> None:
    """An output whose protocol FFmpeg does not have here."""
    voice = write_sound(tmp_path / "voice.wav", speech_of(0.3))
    command = [sys.executable, str(ROOT / "client" / "lipsync.py"), "live", "--url", server.url, "--clip", "head"]
    done = subprocess.run(
        [*command, "--audio", str(voice), "--output", "nothing://here"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7
    assert done.stderr == (
        "lipsync: nothing://here: expected a protocol that FFmpeg has here, got nothing."
        " Write to stdout, and let another program send it\n"
    )


def test_a_server_with_a_token_asks_for_it_and_tells_its_death(
    model_repository: Path, clips: Path, server: EmbeddedServer
) -> None:
    """The client is told both, and does not hang."""
    access = Access(token=TOKEN)
    with live_server(model_repository, clips, access=access) as other:
        with pytest.raises(AccessDenied, match="a token that the server accepts"):
            LiveSession(other.url, "head")
        live = LiveSession(other.url, "head", security=Security(token=TOKEN))
        assert live.next_picture() is not None
        for pid in other.pids:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((ServerLost, RequestRejected)):
            read_all(live)
        live.close()
