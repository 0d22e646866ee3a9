from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from client.errors import NoFaceError, ServerUnavailable
from client.job import Job
from client.job_options import JobOptions
from client.servers.calls import Transport
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.conftest import DEFAULT_MODELS
from tests.server.clips import (
    SPEECH,
    empty_frame,
    head_frame,
    masked_frame,
    read_frames,
    read_planes,
    swaying_head,
    write_speech,
    write_video,
    write_wave,
)
from tests.server.jobs import Run, job_runner
from tests.waiting import wait_until

pytestmark = pytest.mark.server


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a head that sways a little."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(50))


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of speech, longer than the clip."""
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", 3.0)


@pytest.fixture
def run(server: EmbeddedServer) -> Run:
    """Run one job through the shared server."""
    return job_runner(server)


def stamps(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def test_mouth_moves_and_everything_else_stays(run: Run, clip: Path, tmp_path: Path) -> None:
    """Without loss in the encoding, the lower face changes and no sample outside of it does."""
    output = tmp_path / "out.mkv"
    report = run(clip, SPEECH, output, lossless=True, if_audio_longer="cut")
    assert (report.frames, report.frames_without_face) == (50, 0)
    changed = np.any([a != b for a, b in zip(read_planes(clip), read_planes(output), strict=True)], axis=0)[:256]
    rows, columns = np.nonzero(changed)
    assert len(rows) > 300
    assert rows.min() > 256 * 0.35  # the eyes are at 0.3 of the picture's height, the nose's base at 0.4
    assert columns.min() > 256 * 0.2
    assert columns.max() < 256 * 0.75


def test_both_transports_give_the_same_pixels(run: Run, clip: Path, tmp_path: Path) -> None:
    """Shared memory and message bodies lead to identical files' frames."""
    reports = [
        run(clip, SPEECH, tmp_path / f"{way}.mkv", way, lossless=True, end=0.8, if_audio_longer="cut")
        for way in ("shm", "grpc")
    ]
    assert [report.transport for report in reports] == ["shm", "grpc"]
    for a, b in zip(read_planes(tmp_path / "shm.mkv"), read_planes(tmp_path / "grpc.mkv"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_short_shared_memory_hardly_changes_a_pixel(
    run: Run, server: EmbeddedServer, clip: Path, tmp_path: Path, transport: Transport
) -> None:
    """Where little is free, requests hold fewer frames, and a warning says so; faces are searched in other frames."""
    options = {"lossless": True, "end": 0.4, "if_audio_longer": "cut"}
    usual = run(clip, SPEECH, tmp_path / "usual.mkv", **options)
    job_options = JobOptions.read(clip, SPEECH, tmp_path / "short.mkv", options)
    with Job(job_options) as job, TritonConnection(server.url, transport) as connection:
        job.fit_into(40_000_000)
        report = job.run(connection)
    assert report.requests > usual.requests
    assert "requests hold 3 frames instead of 16" in report.warnings[0]
    for a, b in zip(read_planes(tmp_path / "usual.mkv"), read_planes(tmp_path / "short.mkv"), strict=True):
        assert cv2.PSNR(a, b) > 45


def test_video_follows_longer_speech_and_keeps_its_rate(run: Run, clip: Path, speech: Path, tmp_path: Path) -> None:
    """A clip shorter than its audio is played back and forth until the speech ends, at its own frame rate."""
    report = run(clip, speech, tmp_path / "out.mp4")
    assert report.duration_s == pytest.approx(3.0, abs=0.05)
    times = stamps(tmp_path / "out.mp4")
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)


def test_span_limits_the_video(run: Run, clip: Path, tmp_path: Path) -> None:
    """--start and --end take that part of the video only."""
    report = run(clip, SPEECH, tmp_path / "out.mp4", start=0.4, end=1.0, if_audio_longer="cut")
    assert report.frames == 15


def test_still_image_speaks_for_the_length_of_the_speech(run: Run, speech: Path, tmp_path: Path) -> None:
    """A photograph becomes a video as long as the audio, and its mouth moves."""
    import cv2

    photograph = tmp_path / "head.png"
    cv2.imwrite(str(photograph), head_frame()[..., ::-1])
    report = run(photograph, speech, tmp_path / "out.mp4")
    frames = read_frames(tmp_path / "out.mp4")
    assert report.frames == len(frames) == 75
    mouths = np.stack([frame[100:170, 70:190] for frame in frames]).astype(float)
    assert mouths.std(axis=0).max() > 20  # between the lips it is bright and dark in turns; the encoder moves it by 2


def test_frames_without_a_face_pass_through_and_are_listed(run: Run, tmp_path: Path) -> None:
    """Frames before the face appears stay as they are, and the report names their span."""
    clip = write_video(tmp_path / "late.mp4", [empty_frame()] * 20 + [head_frame()] * 20)
    output = tmp_path / "out.mkv"
    report = run(clip, SPEECH, output, lossless=True, if_audio_longer="cut")
    assert report.frames_without_face == 20
    assert report.spans_without_face == [[0.0, 0.8]]
    for before, after in zip(read_planes(clip)[:20], read_planes(output)[:20], strict=True):
        np.testing.assert_array_equal(before, after)


def test_silence_closes_the_mouth(run: Run, tmp_path: Path) -> None:
    """With all-silent audio the job works, and the open mouth of the source is closed in every frame alike."""
    clip = write_video(tmp_path / "head.mp4", [head_frame()] * 10)
    silence = write_wave(tmp_path / "silence.wav", np.zeros(8000, np.float32))
    run(clip, silence, tmp_path / "out.mkv", lossless=True)
    frames = np.stack(read_frames(tmp_path / "out.mkv")).astype(int)
    assert np.abs(frames[2] - read_frames(clip)[2]).max() > 40
    assert np.abs(frames - frames[0])[:, 100:180].mean() < 2


def test_no_face_anywhere_fails_and_leaves_no_file(run: Run, tmp_path: Path) -> None:
    """The message says how many frames were looked at and what to do."""
    clip = write_video(tmp_path / "empty.mp4", [empty_frame()] * 4)
    with pytest.raises(NoFaceError, match="no usable face in any of 4 frames.*another one with face"):
        run(clip, SPEECH, tmp_path / "out.mp4", if_audio_longer="cut")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.mp4"]


def test_a_mouth_outside_the_picture_is_not_counted_as_synced(run: Run, tmp_path: Path) -> None:
    """A job in which every frame is cut off above the mouth changes nothing, fails and says why."""
    narrow = write_video(tmp_path / "cut.mp4", [frame[:124] for frame in swaying_head(8)])
    with pytest.raises(NoFaceError, match="nothing could be changed in 8 frames: 8 mouth outside the picture"):
        run(narrow, SPEECH, tmp_path / "out.mkv", if_audio_longer="cut")


def test_a_mouth_masked_in_all_frames_gets_no_mouth(run: Run, tmp_path: Path) -> None:
    """A clip whose face wears a mask throughout looks usual to itself; the job changes nothing, fails and says why."""
    masked = write_video(tmp_path / "masked.mp4", [masked_frame(3 * np.sin(index / 6)) for index in range(8)])
    with pytest.raises(NoFaceError, match="nothing could be changed in 8 frames: 8 mouth covered") as failed:
        run(masked, SPEECH, tmp_path / "out.mkv", if_audio_longer="cut")
    assert failed.value.exit_code == 4
    assert not (tmp_path / "out.mkv").exists()


def test_masked_frames_pass_through_and_are_listed(run: Run, tmp_path: Path) -> None:
    """Masked frames stay as they are, the others change, and the report names the span and the reason."""
    clip = write_video(tmp_path / "mask.mp4", [masked_frame()] * 4 + [head_frame()] * 12)
    output = tmp_path / "out.mkv"
    report = run(clip, SPEECH, output, lossless=True, if_audio_longer="cut")
    assert (report.unchanged["covered"].frames, report.frames_synced) == (4, 12)
    assert report.unchanged["covered"].spans == [[0.0, 0.16]]
    assert "4 frames unchanged, mouth covered: 0.00-0.16 s" in report.summary()
    for before, after in zip(read_planes(clip)[:4], read_planes(output)[:4], strict=True):
        np.testing.assert_array_equal(before, after)


def test_hardly_any_clean_frame_counts_as_covered(run: Run, media_dir: Path, tmp_path: Path) -> None:
    """At most 1 % of a speaker's frames with an uncovered mouth stay as they are for that reason."""
    report = run(media_dir / "yongen.mp4", SPEECH, tmp_path / "out.mp4", end=1.0, if_audio_longer="cut")
    covered = report.unchanged.get("covered")
    assert report.frames == 25
    assert (0 if covered is None else covered.frames) <= 0.01 * report.frames


def test_failed_job_leaves_the_file_that_was_there(run: Run, tmp_path: Path) -> None:
    """An earlier result under the output's name survives a job that fails."""
    clip = write_video(tmp_path / "empty.mp4", [empty_frame()] * 4)
    output = tmp_path / "out.mp4"
    output.write_bytes(b"earlier")
    with pytest.raises(NoFaceError):
        run(clip, SPEECH, output, if_audio_longer="cut")
    assert output.read_bytes() == b"earlier"


def test_server_killed_mid_job_fails_cleanly(clip: Path, model_repository: Path, tmp_path: Path) -> None:
    """A kill -9 of the server during a job ends it with an error and without a file."""

    class Killer:
        def __init__(self, pid: int) -> None:
            self.pid = pid

        def stage(self, name: str, total_frames: int | None = None) -> None: ...

        def advance(self, frames: int) -> None:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
                self.pid = 0

    options = JobOptions(clip, SPEECH, tmp_path / "out.mp4")
    with (
        EmbeddedServer(ServerOptions(model_repository, DEFAULT_MODELS)) as server,
        Job(options) as job,
        TritonConnection(server.url) as connection,
        pytest.raises(ServerUnavailable),
    ):
        job.run(connection, Killer(server.pids[0]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_command_ended_mid_job_leaves_nothing(
    clip: Path, lipsync_command: list[str], model_repository: Path, tmp_path: Path, number: int
) -> None:
    """However the command is ended, no output, process or shared memory stays; kill -9 may leave its hidden file."""
    temporary = tmp_path / "temporary"
    results = tmp_path / "results"
    temporary.mkdir()
    results.mkdir()
    command = [*lipsync_command, "--video", str(clip), "--audio", str(SPEECH), "--output", str(results / "out.mp4")]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "lip-syncing" in line:
                break
        (server,) = temporary.glob("lipsync-server-*")
        process.send_signal(number)
        said = process.stderr.read()
        code = process.wait(60)
    prefix = "-".join(server.name.split("-")[:3])
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert [path.name for path in results.iterdir() if not path.name.startswith(".")] == []
    if number != signal.SIGKILL:
        assert list(results.iterdir()) == []
        assert re.search("lipsync: (interrupted|ended by SIG(TERM|HUP))", said)
    wait_until(lambda: not server.exists() and not list(Path("/dev/shm").glob(f"{prefix}-*")))


def test_command_prints_a_report(
    clip: Path, lipsync_command: list[str], server: EmbeddedServer, tmp_path: Path
) -> None:
    """--json prints the report alone on stdout; --url uses a running server."""
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(tmp_path / "out.mp4")]
    command = [*lipsync_command, *files, "--url", server.url, "--json", "--if-audio-longer", "cut"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["frames"] == 50
    assert report["server_start_s"] is None
    assert set(report["seconds_per_stage"]) >= {"decode", "faces", "generate", "encode"}
    assert report["peak_rss_mb"] > 0


@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_job_completes_whatever_becomes_of_its_terminal(
    lipsync_command: list[str], server: EmbeddedServer, clip: Path, tmp_path: Path, streams: str
) -> None:
    """A full disk or a closed terminal behind stdout and stderr costs the report, and not the output."""
    output = tmp_path / "out.mp4"
    media = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(output), "--end", "0.2"]
    command = [*lipsync_command, "--url", server.url, "--json", *media, "--if-audio-longer", "cut"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {streams}', "sh", *command], check=False)
    assert done.returncode == 0
    assert len(read_frames(output)) == 5


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        ("missing", 3, "missing.mp4"),
        ("empty", 3, "empty.mp4"),
        ("text", 3, "text.mp4"),
        ("sound_only", 3, "sound_only.wav"),
        ("tiny", 4, "no usable face"),
    ],
)
def test_bad_video_fails_with_one_line(
    lipsync_command: list[str], server: EmbeddedServer, tmp_path: Path, make: str, code: int, message: str
) -> None:
    """Each kind of bad video ends with its exit code, one line on stderr, and no output."""
    video = tmp_path / f"{make}.mp4"
    if make == "empty":
        video.touch()
    elif make == "text":
        video.write_text("not a video\n" * 100)
    elif make == "sound_only":
        video = write_wave(tmp_path / "sound_only.wav", np.zeros(16_000))
    elif make == "tiny":
        write_video(video, [np.full((4, 4, 3), 99, np.uint8)] * 3)
    output = tmp_path / "out.mp4"
    files = ["--video", str(video), "--audio", str(SPEECH), "--output", str(output)]
    command = [*lipsync_command, *files, "--url", server.url, "--if-audio-longer", "cut"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith(("lipsync: lip-syncing", "lipsync: connecting", "lipsync: scanning"))
    ]
    assert done.returncode == code
    assert len(lines) == 1
    assert message in lines[0]
    assert not output.exists()


def test_one_frame_video_speaks(run: Run, speech: Path, tmp_path: Path) -> None:
    """A video of one frame is held for the length of the speech."""
    clip = write_video(tmp_path / "one.mp4", [head_frame()])
    assert run(clip, speech, tmp_path / "out.mp4").frames == 75


def test_samples_that_are_no_numbers_are_silence(run: Run, clip: Path, tmp_path: Path) -> None:
    """NaN in the audio is replaced, with a warning, and the job works."""
    samples = np.sin(np.arange(16_000) / 20).astype(np.float32)
    samples[4000:5000] = np.nan
    speech = write_wave(tmp_path / "nan.wav", samples, codec="pcm_f32le")
    report = run(clip, speech, tmp_path / "out.mp4")
    assert any("NaN" in warning for warning in report.warnings)
    assert report.frames == 50
