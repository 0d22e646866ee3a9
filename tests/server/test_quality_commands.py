from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.job import Job
from client.job_options import JobOptions
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from perf.scores import quality, sync
from perf.scores.syncnet import command as syncnet
from tests.server.clips import SPEECH, empty_frame, head_frame, read_frames, swaying_head, write_video

pytestmark = [pytest.mark.server, pytest.mark.long]

FRAMES = 75
SHIFT = 5  # frames
MEASURES = ("log_mel", "vocal", "intended")

Measure = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a head that sways a little and says nothing."""
    return write_video(tmp_path_factory.mktemp("quality") / "head.mp4", swaying_head(FRAMES))


@pytest.fixture(scope="module")
def result(source: Path, server: EmbeddedServer) -> Path:
    """The head saying the speech."""
    output = source.with_name("result.mp4")
    options = JobOptions.read(source, SPEECH, output, {"crf": 10, "if_audio_longer": "cut"})
    with Job(options) as job, TritonConnection(server.url) as connection:
        job.run(connection)
    return output


@pytest.fixture(scope="module")
def measure(server: EmbeddedServer) -> Measure:
    """Run `perf.scores.quality` and return its JSON."""

    def run(*arguments: Path | str) -> dict[str, Any]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert quality.main([*map(str, arguments), "--url", server.url, "--json"]) == 0
        return json.loads(printed.getvalue(), parse_constant=pytest.fail)

    return run


@pytest.fixture(scope="module")
def report(measure: Measure, source: Path, result: Path) -> dict[str, Any]:
    """The figures of the result as it is."""
    return measure(source, result, SPEECH)


def test_a_result_follows_its_speech_and_its_source(report: dict[str, Any]) -> None:
    """The mouth follows at once, unlike the source's; the picture changes inside, and outside by coding only."""
    assert report["frames"] == report["frames_with_face"] == report["frames_compared"] == FRAMES
    assert report["sync"]["result"]["intended"]["correlation"] > 0.9
    assert report["sync"]["result"]["vocal"]["correlation"] > 0.5
    assert {report["sync"]["result"][name]["best_lag"] for name in MEASURES} == {0}
    assert abs(report["sync"]["source"]["intended"]["correlation"]) < 0.5
    assert report["outside"]["psnr_db"] > 40 > report["inside"]["psnr_db"] + 5
    assert report["outside"]["ssim"] > 0.97 > report["inside"]["ssim"]
    assert 0 < report["flicker"]["source"] < report["flicker"]["result"] < 10


def test_a_result_that_lags_is_told(
    measure: Measure, report: dict[str, Any], source: Path, result: Path, tmp_path: Path
) -> None:
    """Five frames late is lag 5, and the correlation without a shift falls."""
    frames = read_frames(result)
    late = write_video(tmp_path / "late.mp4", [*frames[:1] * SHIFT, *frames[:-SHIFT]])
    scores = measure(source, late, SPEECH)["sync"]["result"]
    in_time = report["sync"]["result"]
    assert {scores[name]["best_lag"] for name in MEASURES} == {SHIFT}
    for name in MEASURES:
        assert scores[name]["correlation"] < in_time[name]["correlation"] - 0.2


def test_an_untouched_video_is_equal_and_out_of_sync(measure: Measure, source: Path) -> None:
    """Infinite PSNR in and outside, the source's own flicker, and no correlation with the speech."""
    report = measure(source, source, SPEECH)
    for area in ("outside", "inside"):
        assert report[area]["psnr_db"] == "inf"
        assert report[area]["ssim"] == pytest.approx(1, abs=1e-6)
    assert report["flicker"]["result"] == report["flicker"]["source"]
    assert report["sync"]["result"] == report["sync"]["source"]
    assert abs(report["sync"]["result"]["intended"]["correlation"]) < 0.5


def test_a_flickering_mouth_is_told(measure: Measure, source: Path, tmp_path: Path) -> None:
    """Every other frame a little darker: the flicker grows by about as much."""
    frames = read_frames(source)[:40]
    dark = [(frame * (0.9 if i % 2 else 1)).astype(np.uint8) for i, frame in enumerate(frames)]
    flicker = measure(source, write_video(tmp_path / "dark.mp4", dark), SPEECH)["flicker"]
    assert flicker["result"] > flicker["source"] + 5


def test_frames_without_a_face_are_counted_and_left_out(
    measure: Measure, source: Path, result: Path, tmp_path: Path
) -> None:
    """They can't be in sync, and are no reason to stop."""
    frames = read_frames(result)
    gone = write_video(tmp_path / "gone.mp4", [*frames[:50], *[empty_frame()] * 10, *frames[60:]])
    report = measure(source, gone, SPEECH)
    assert report["frames_with_face"] == FRAMES - 10
    assert report["sync"]["result"]["intended"]["correlation"] > 0.9
    assert "10 of 75 frames of the result show no usable face" in " ".join(report["warnings"])


def test_lengths_may_differ(measure: Measure, source: Path, result: Path, tmp_path: Path) -> None:
    """A source that ends sooner is repeated as the job did it, or not at all, and either is said."""
    short = write_video(tmp_path / "short.mp4", read_frames(source)[:50])
    repeated = measure(short, result, SPEECH)
    assert (repeated["frames_compared"], repeated["frames_repeated"]) == (FRAMES, FRAMES - 50)
    assert "25 frames are compared with its repetition (bounce, see --if-audio-longer)" in " ".join(
        repeated["warnings"]
    )
    cut = measure(short, result, SPEECH, "--if-audio-longer", "cut")
    assert (cut["frames_compared"], cut["frames_repeated"]) == (50, 0)
    assert "25 frames are compared with nothing" in " ".join(cut["warnings"])
    assert cut["sync"]["result"] == repeated["sync"]["result"]
    sooner = measure(source, write_video(tmp_path / "sooner.mp4", read_frames(result)[:30]), SPEECH)
    assert sooner["sync"]["result"] is None
    warnings = " ".join(sooner["warnings"])
    assert "before the source" in warnings
    assert "sync was not measured: fewer than 36 frames with a face" in warnings


def test_a_video_of_something_else_is_told(measure: Measure, source: Path, result: Path, tmp_path: Path) -> None:
    """Of the same size, but not what the result was made of; or its wrong part."""
    other = write_video(tmp_path / "other.mp4", [np.roll(frame, 60, axis=1) for frame in read_frames(source)])
    assert "was the result made from this source?" in measure(other, result, SPEECH)["warnings"][0]
    frames = read_frames(result)
    part = write_video(tmp_path / "part.mp4", frames[30:])
    wrong, right = (measure(source, part, SPEECH, "--start", start) for start in ("0", "1.2"))
    assert right["outside"]["psnr_db"] > wrong["outside"]["psnr_db"] + 5


def test_the_table_says_the_same(
    server: EmbeddedServer, source: Path, result: Path, capsys: pytest.CaptureFixture[str], report: dict[str, Any]
) -> None:
    """All figures of the JSON, rounded; sync alone by the shorter command."""
    assert quality.main([str(source), str(result), str(SPEECH), "--url", server.url]) == 0
    table = capsys.readouterr().out
    for value in (report["outside"]["psnr_db"], report["inside"]["psnr_db"], *report["flicker"].values()):
        assert f"{value:.2f}" in table
    assert sync.main([str(result), str(SPEECH), "--url", server.url]) == 0
    assert capsys.readouterr().out.strip() in table


def assert_fails(
    capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], arguments: list[Any], code: int, message: str
) -> None:
    assert main([str(argument) for argument in arguments]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("lipsync:")]
    assert len(lines) == 1
    assert message in lines[0]


def test_quality_fails_on_bad_media(
    server: EmbeddedServer, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another size, no face, no sound, no file: one line each, with the exit code of the main command."""
    other = write_video(tmp_path / "other.mp4", [head_frame()[:200]] * 3)
    empty = write_video(tmp_path / "empty.mp4", [empty_frame()] * 40)
    url = ["--url", server.url]
    assert_fails(capsys, sync.main, [empty, SPEECH, *url], 4, "empty.mp4: openings: expected at least 36 frames")
    for result, speech, code, message in (
        (other, SPEECH, 3, "other.mp4: expected 256x256 pixels as the source has, got 256x200"),
        (empty, SPEECH, 4, "empty.mp4: no usable face in any of 40 frames"),
        (source, source, 3, "head.mp4: expected"),
        (tmp_path / "none.mp4", SPEECH, 3, "none.mp4: expected a media file"),
    ):
        assert_fails(capsys, quality.main, [source, result, speech, *url], code, message)
    assert_fails(capsys, quality.main, [source, source, SPEECH, "--url", "127.0.0.1:1"], 5, "127.0.0.1:1")


def test_syncnet_judges_a_video(server: EmbeddedServer, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A track of the whole clip, on made-up weights; the video's face is found through the server."""
    pytest.importorskip("torch", reason="no torch; run: make test")
    large = write_video(source.with_name("large.mp4"), [np.repeat(np.repeat(head_frame(), 2, 0), 2, 1)] * 40)
    arguments = [str(large), "--synthetic-weights", "--audio", str(SPEECH), "--min-track", "30", "--url", server.url]
    assert syncnet.main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    (track,) = json.loads(captured.out)["tracks"]
    assert (track["start_s"], track["end_s"], track["windows"]) == (0, 1.6, 35)
    assert -15 <= track["offset"] <= 15
    assert track["lse_c"] >= 0
    assert math.isfinite(track["lse_d"])
    assert track["distance_at_zero"] >= track["lse_d"]
    assert track["valid_pairs_only"]["windows"] == 35
    assert "the weights are synthetic" in captured.err
    assert "fewer than 75 windows" in captured.err
    assert syncnet.main(arguments) == 0
    assert f"{track['lse_d']:.3f}" in capsys.readouterr().out


def test_syncnet_takes_a_face_crop_with_its_own_sound(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No server and no detector; a sound of zeros is told."""
    pytest.importorskip("torch", reason="no torch; run: make test")
    from tests.server.clips import write_film

    film = write_film(source.with_name("film.mp4"), [head_frame()] * 20, np.zeros(16_000))
    assert syncnet.main([str(film), "--synthetic-weights", "--cropped", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["tracks"][0]["windows"] == 15
    assert "the audio is silent" in captured.err


def write_published_files(folder: Path) -> tuple[Path, Path]:
    """Write both files as they are published, with the recipe's weights; such a detector is sure of no face."""
    import torch

    from export.shared.checkpoint import module_shapes
    from export.syncnet.network import SyncNet
    from export.syncnet.synthetic_weights import syncnet_weights
    from tests.syncnet_detector import sfd_weights

    files = {
        "syncnet_v2.model": syncnet_weights(module_shapes(SyncNet())),
        "sfd_face.pth": sfd_weights(),
    }
    for name, weights in files.items():
        torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, folder / name)
    return folder / "syncnet_v2.model", folder / "sfd_face.pth"


def test_syncnet_fails_on_bad_input(
    server: EmbeddedServer, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No sound, no weights, no face track, too short, both kinds of input: one line each."""
    pytest.importorskip("torch", reason="no torch; run: make test")
    page = tmp_path / "page.model"
    page.write_text("<!DOCTYPE html>")
    brief = write_video(tmp_path / "brief.mp4", [head_frame()] * 5)
    weights, blind = write_published_files(tmp_path)
    made_up, speech = ["--synthetic-weights"], ["--audio", str(SPEECH)]
    for arguments, code, message in (
        ([source, *made_up], 3, "head.mp4: expected"),
        ([source, *speech, "--weights", page], 2, "page.model: expected a checkpoint, got an HTML page"),
        ([source, *speech, *made_up, "--s3fd", page], 2, "expected a checkpoint, got an HTML page"),
        ([source, *speech, *made_up, "--s3fd", page, "--cropped"], 2, "--s3fd: expected no --cropped beside it"),
        ([brief, *speech, "--weights", weights, "--s3fd", blind], 4, "got 0 of 5 frames with a face and no such track"),
        ([source, *speech, *made_up, "--min-track", "3"], 2, "--min-track: expected at least 13"),
        ([source, *speech, *made_up, "--url", server.url], 4, "75 of 75 frames with a face and no such track"),
        ([brief, *speech, *made_up, "--cropped"], 3, "brief.mp4: expected more than 5 frames with sound from 0 s on"),
    ):
        assert_fails(capsys, syncnet.main, list(arguments), code, message)
