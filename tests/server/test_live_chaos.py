"""Live streams under accidents: nothing hangs, nothing is left behind, and the others go on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from client.errors import RequestRejected
from client.live.stream import LivePicture, LiveSession
from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer
from perf.machine.memory import open_files
from tests.chaos import traces
from tests.chaos.case import Skip
from tests.chaos.faults import clock_of, set_clock
from tests.conftest import ROOT
from tests.media_clips import write_sound
from tests.server.live import RATE, clips, opened, server, sound_of, speaking, speech_of
from tests.waiting import wait_until

pytestmark = pytest.mark.server
__all__ = ["clips", "server"]  # fixtures
TWO_HOURS = 7200
COMMAND = (sys.executable, str(ROOT / "client" / "lipsync.py"), "live")
WALL_CLOCK = re.compile(r"time\.time\(|datetime|localtime|gmtime|CLOCK_REALTIME")
HELD_SHARE = 0.2  # of a bystander's pictures, on a machine that is busy with the tests themselves


@contextmanager
def bystander(server: EmbeddedServer, seconds: float) -> Iterator[None]:
    """Speak to a stream while something happens to others; it must be shown whole, in order and in time."""
    voice = speech_of(seconds)
    pictures: list[LivePicture] = []
    arrived: list[float] = []
    with opened(server) as live:

        def read() -> None:
            for picture in live:
                pictures.append(picture)
                arrived.append(time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        with speaking(live, voice):
            yield
        reader.join(20)
        assert not reader.is_alive()
    assert [picture.number for picture in pictures] == list(range(len(pictures)))
    assert sum(picture.is_held for picture in pictures) <= HELD_SHARE * len(pictures)
    assert np.array_equal(without_silence(sound_of(pictures)), without_silence(voice))
    late = np.array(arrived) - [picture.time_s for picture in pictures]
    assert np.median(late - late.min()) < 0.2


def without_silence(sound: np.ndarray) -> np.ndarray:
    """Return the samples that are not zero."""
    return sound[sound != 0]


@pytest.mark.long  # in real time, which a busy machine does not keep
def test_others_go_on_while_clients_fail(server: EmbeddedServer) -> None:
    """One is killed while it speaks, one sends nonsense, one leaves without a word."""
    code = (
        "import time, numpy as np; from client.live.stream import LiveSession\n"
        f"live = LiveSession({server.url!r}, 'head'); live.send(np.ones(80_000, np.float32) * 0.1)\n"
        "print(live.next_picture().number, flush=True); time.sleep(600)"
    )
    with bystander(server, 4.0), killed_at_the_end([sys.executable, "-c", code]) as killed:
        with opened(server) as bad:
            for pcm, rate in ((np.full(320, np.inf, np.float32), RATE), (speech_of(0.1), 2 * RATE)):
                bad.send(pcm, rate)
                with pytest.raises(RequestRejected):
                    read_all(bad)
            bad.send(speech_of(1.0))
        assert killed.stdout is not None
        assert killed.stdout.readline() != ""


@contextmanager
def killed_at_the_end(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and kill it."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_all(live: LiveSession) -> None:
    """Read pictures until the stream ends or fails."""
    for _ in live:
        pass


def test_voice_in_bursts_is_shown_whole(server: EmbeddedServer) -> None:
    """Much at once, then nothing, then single milliseconds: in order, and no sample twice."""
    voice = speech_of(2.4)
    ends = np.cumsum([0, 16, 16_000, 160, 16, 8_000, 1])
    pictures: list[LivePicture] = []
    with opened(server) as live:
        reader = threading.Thread(target=lambda: pictures.extend(live))
        reader.start()
        for start, end in zip(ends, [*ends[1:], len(voice)], strict=True):
            live.send(voice[start:end])
            time.sleep(0.25)
        live.end()
        reader.join(20)
    assert np.array_equal(without_silence(sound_of(pictures)), without_silence(voice))
    assert [picture.number for picture in pictures] == list(range(len(pictures)))


def test_a_clip_that_is_removed_stays_with_its_streams(server: EmbeddedServer, clips: Path) -> None:
    """Those that show it go on; the next one is refused."""
    shutil.copytree(clips / "head", clips / "removed")
    with opened(server, "removed") as live:
        assert live.next_picture() is not None
        shutil.rmtree(clips / "removed")
        live.send(speech_of(1.0))
        live.end()
        assert sum(picture.speaks for picture in live) >= 20
    with pytest.raises(RequestRejected, match="removed: expected a clip of the server, got no such clip"):
        opened(server, "removed")


def test_a_clients_clock_that_jumps_changes_nothing(server: EmbeddedServer, tmp_path: Path) -> None:
    """Two hours ahead, and back to two hours before, while it speaks."""
    try:
        environment = clock_of(tmp_path)
    except Skip as skip:
        pytest.skip(str(skip))
    output = tmp_path / "out.mp4"
    voice = write_sound(tmp_path / "voice.wav", speech_of(5.0))
    files = ["--audio", str(voice), "--output", str(output)]
    job = subprocess.Popen(
        [*COMMAND, "--url", server.url, "--clip", "head", "--json", *files],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        wait_until(lambda: output.is_file() and output.stat().st_size > 0)
        for seconds in (TWO_HOURS, -TWO_HOURS):
            set_clock(tmp_path, seconds)
            time.sleep(1.5)
        told, said = job.communicate(timeout=120)
    finally:
        job.kill()
        job.communicate()
    assert job.returncode == 0, said
    report = json.loads(told)
    assert report["left_out"] == 0
    assert report["pictures"] / 25 == pytest.approx(report["seconds"], abs=0.05)
    assert 5.0 <= report["seconds"] < 60  # a clock that counts would add hours


def test_no_part_of_a_stream_reads_a_clock_that_may_jump() -> None:
    """The server's part cannot be run with such a clock, as libfaketime slows it down too much."""
    sources = [*(ROOT / "client" / "live").glob("*.py"), ROOT / "model_repository" / "live" / "1" / "model.py"]
    assert len(sources) > 10
    assert [path.name for path in sources if WALL_CLOCK.search(path.read_text())] == []


def test_streams_leave_nothing_behind(server: EmbeddedServer) -> None:
    """Neither threads nor open files, here and on the server, however they ended."""
    own = threading.active_count()
    for turn in range(6):
        run_stream(server, turn)
    wait_until(lambda: threading.active_count() <= own, seconds=15)
    settled = wait_until(lambda: holdings(server), seconds=5)
    for turn in range(24):
        run_stream(server, turn)
    wait_until(lambda: all(now <= before for now, before in zip(holdings(server), settled, strict=True)), seconds=15)


def holdings(server: EmbeddedServer) -> tuple[int, int]:
    """Return how many threads and open files the server's processes have."""
    pids = server.pids
    return sum(psutil.Process(pid).num_threads() for pid in pids), open_files(pids)


def run_stream(server: EmbeddedServer, turn: int) -> None:
    """Run a short stream; one of three leaves without a word, and one interrupts its voice."""
    with opened(server, pace="fast") as live:
        live.send(speech_of(0.4))
        if turn % 3 == 1:
            live.next_picture()
            return
        if turn % 3 == 2:
            live.interrupt()
        live.end()
        read_all(live)


def test_the_command_tells_that_its_server_was_killed(server: EmbeddedServer, clips: Path, tmp_path: Path) -> None:
    """In one line; what was written until then can be played, and nothing is left running."""
    voice = write_sound(tmp_path / "voice.wav", speech_of(8.0))
    output = tmp_path / "out.mp4"
    command = [*COMMAND, "--clip", "head", "--clips", str(clips)]
    job = subprocess.Popen(
        [*command, "--audio", str(voice), "--output", str(output)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, traces.MARK: str(tmp_path)},
    )  # fmt: skip
    try:
        wait_until(lambda: output.is_file() and output.stat().st_size > 40_000, seconds=60)
        (triton,) = [
            pid for pid in descendants(job.pid) if traces.command_line(pid).split(" ")[0].endswith("tritonserver")
        ]
        os.kill(triton, signal.SIGKILL)
        _, said = job.communicate(timeout=120)
    finally:
        job.kill()
        job.communicate()
    assert job.returncode == 5, said
    assert len(said.splitlines()) == 1
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10
    assert traces.settled(lambda: [str(pid) for pid in traces.marked_pids(str(tmp_path))]) == []
