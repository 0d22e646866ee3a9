"""Whole jobs by the command line, with an imitated server."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import av
import cv2
import pytest

from client.errors import ShortageError
from client.job_options import JobOptions
from client.job_process import JobRequest, JobResult, answer
from client.lipsync import main
from client.media import VideoSource
from client.media.opening import read_packets
from client.servers.access import ServerAccess
from tests.conftest import ROOT
from tests.imitation_triton import OPTIONS, PAINT, PaintingTriton, imitated_server
from tests.limits import little_memory
from tests.media_clips import leftovers, read_frames, tone, write_clip, write_sound

NO_MEMORY = "lipsync: memory ran out. Free some, or raise its limit (ulimit -v)\n"
NO_THREAD = (
    "lipsync: no further thread could be started. End other programs, or raise the limits of threads"
    " (ulimit -u) and memory (ulimit -v)\n"
)


@pytest.fixture
def triton() -> Iterator[PaintingTriton]:
    with imitated_server() as triton:
        yield triton


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The arguments of a job."""
    video, speech = write_clip(tmp_path / "clip.mp4"), write_sound(tmp_path / "speech.wav", tone(0.4))
    return ["--video", str(video), "--audio", str(speech), "--output", str(tmp_path / "out.mp4"), "--quiet", *OPTIONS]


def test_job_paints_every_mouth(tmp_path: Path, triton: PaintingTriton, command: list[str]) -> None:
    """The imitation is good for whole jobs."""
    assert main(command) == 0
    assert triton.requests["wav2lip"]
    frames = read_frames(tmp_path / "out.mp4")
    assert len(frames) == 10
    assert abs(int(frames[5].to_ndarray(format="rgb24")[24, 24, 0]) - PAINT) < 8


def test_job_with_an_output_that_cannot_be_printed_succeeds(tmp_path: Path, command: list[str]) -> None:
    """A name that is no text: the output is in place under it, and it is printed with escapes."""
    output = os.fsencode(tmp_path) + b"/r\xff\xc3\xa9.mp4"
    arguments = [output if argument.endswith("out.mp4") else argument for argument in command if argument != "--quiet"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.imitation_triton", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert rb"r\udcff\udcc3\udca9.mp4: 10 frames" in ended.stdout
    assert os.path.getsize(output) > 0
    assert leftovers(tmp_path) == []


def gray_png(side: int) -> bytes:
    """Return a black square, a thousandth of its pixels in bytes, without making these pixels."""
    rows = 100
    packer = zlib.compressobj()
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(rows * (1 + side))) + packer.flush(zlib.Z_FULL_FLUSH)  # can be repeated
    assert side % rows == 0
    count = side * (1 + side)
    checksum = (count % 65_521 << 16 | 1).to_bytes(4, "big")  # Adler-32 of zeros
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])),
        _chunk(b"IDAT", start + part * (side // rows) + b"\x03\x00" + checksum),
        _chunk(b"IEND", b""),
    ])  # fmt: skip


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_job_fails_for_a_huge_picture_at_once(
    tmp_path: Path, triton: PaintingTriton, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 before a server is started, in less memory than the picture has pixels."""
    (tmp_path / "small.png").write_bytes(gray_png(100))
    assert VideoSource(tmp_path / "small.png").width == 100  # such files are sound
    (tmp_path / "clip.mp4").write_bytes(gray_png(16_000))
    assert (tmp_path / "clip.mp4").stat().st_size < 300_000
    with little_memory(16_000 * 16_000 // 2):
        assert main(command) == 3
    assert "pictures of at most 64 megapixels, such as 8192x8192, got 16000x16000" in capsys.readouterr().err
    assert not triton.used
    assert leftovers(tmp_path) == []


def failing(error: BaseException) -> Callable[..., NoReturn]:
    """Return a function that raises an error, whatever it is given."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def undecodable(error: BaseException) -> Callable[..., Iterator[object]]:
    """Return a replacement of `read_packets` whose packets raise an error when they are decoded."""
    packet = SimpleNamespace(is_keyframe=True, is_corrupt=False, pts=0, decode=failing(error))
    return lambda *_: iter([packet])


OF_AV = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
OF_SYSTEM = OSError(errno.ENOMEM, "Cannot allocate memory")
OF_OPENCV = cv2.error(
    "OpenCV(4.11.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 1200000000 bytes in function"
    " 'OutOfMemoryError'"
)
OF_ENCODER = av.error.ExternalError(542_398_533, "Generic error in an external library")
OF_CODECS_THREADS = av.error.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", "avcodec_open2()")


@pytest.mark.parametrize(
    ("place", "replacement", "line"),
    [
        ("av.open", failing(OF_AV), NO_MEMORY),
        ("av.open", failing(OF_SYSTEM), NO_MEMORY),
        ("client.media.reader.read_packets", undecodable(OF_AV), NO_MEMORY),
        ("client.media.reader.read_packets", undecodable(OF_CODECS_THREADS), NO_THREAD),
        ("client.media.audio_reader.read_packets", undecodable(OF_AV), NO_MEMORY),
        ("client.media.writer.VideoWriter._open", failing(OF_AV), NO_MEMORY),
        ("client.media.writer.VideoWriter._open", failing(OF_CODECS_THREADS), NO_THREAD),
        ("client.media.shaping.FrameShape.prepare", failing(OF_AV), NO_MEMORY),
        ("client.media.pixels.cv2.transform", failing(OF_OPENCV), NO_MEMORY),
        ("client.media.picture.convert", failing(RuntimeError("std::bad_alloc")), NO_MEMORY),
        ("threading.Thread.start", failing(RuntimeError("can't start new thread")), NO_THREAD),
        ("client.run.reserve_matrix_memory", failing(MemoryError()), NO_MEMORY),
    ],
)
@pytest.mark.usefixtures("triton")
def test_job_fails_in_one_line_for_want_of_memory_or_threads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    place: str,
    replacement: object,
    line: str,
) -> None:
    """Wherever a library meets it, neither a file is called damaged nor the program faulty; nothing is left."""
    monkeypatch.setattr("client.shortage.has_room", lambda _: False)
    monkeypatch.setattr(place, replacement)
    assert main(command) == 1
    assert capsys.readouterr().err == line
    assert not (tmp_path / "out.mp4").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [OF_ENCODER, OF_AV])
@pytest.mark.usefixtures("triton")
def test_job_fails_alike_where_an_encoder_gets_no_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    error: av.FFmpegError,
) -> None:
    """Encoders give no reason; there is none but memory if what they need cannot be had, however much is left."""
    monkeypatch.setattr("client.media.writer.VideoWriter._open", failing(error))
    monkeypatch.setattr("client.media.writer.ENCODER_BYTES", 100_000)
    write_clip(tmp_path / "clip.mp4", size=(640, 480), frames=2)
    with little_memory(1 << 30):
        assert main(command) == 1  # needs 30 GB
    assert capsys.readouterr().err == NO_MEMORY


def test_packets_that_no_memory_is_left_for_are_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As damaged ones are."""
    monkeypatch.setattr("client.shortage.has_room", lambda _: False)
    container = SimpleNamespace(demux=failing(OF_AV))
    with pytest.raises(ShortageError, match="memory ran out"):
        list(read_packets(container, None, lambda: None))  # type: ignore[arg-type]


def test_job_of_a_batch_tells_of_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the same words, in its line of the report."""
    monkeypatch.setattr("client.job_process.run_job", failing(OF_OPENCV))
    result = answer(JobRequest(JobOptions(tmp_path, tmp_path, tmp_path), ServerAccess(), tmp_path, log_json=False))
    assert (result.exit_code, f"lipsync: {result.error}\n") == (1, NO_MEMORY)
    assert isinstance(JobResult.from_json(result.as_json()).error, ShortageError)
