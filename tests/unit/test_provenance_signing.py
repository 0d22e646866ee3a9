"""Whole jobs that sign their output, with an imitated server: what manifests say, and how tampering is told apart."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import av
import pytest

from client.lipsync import main
from client.provenance.certificates import CredentialFiles, make_credentials
from client.provenance.findings import Findings, examine
from client.provenance.signing import sign_into
from tests.imitation_triton import PaintingTriton, imitated_server
from tests.media_clips import leftovers, read_frames, tone, write_clip, write_sound
from tests.timestamp_authority import timestamp_authority

pytest.importorskip("c2pa")

JOB = ("--model", "wav2lip", "--face-box", "80,60,240,200", "--in-silence", "model", "--quiet")
FRAMES = 50


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CredentialFiles:
    return make_credentials(tmp_path_factory.mktemp("credentials"), "Test Studio")


@pytest.fixture
def triton() -> Iterator[PaintingTriton]:
    with imitated_server() as triton:
        yield triton


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("secret place")
    video = write_clip(folder / "clip.mp4", size=(320, 240), frames=FRAMES)
    return video, write_sound(folder / "speech.wav", tone(FRAMES / 25))


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(files: CredentialFiles, inputs: tuple[Path, Path]) -> Make:
    """Run a job and return its output; signed unless told otherwise."""

    def run(output: Path, *options: str, signed: bool = True, mark: bool = True, code: int = 0) -> Path:
        video, audio = inputs
        credentials = ("--sign-cert", str(files.certificate), "--sign-key", str(files.key)) if signed else ()
        paths = ("--video", str(video), "--audio", str(audio), "--output", str(output))
        with imitated_server():
            assert main([*paths, *JOB, *credentials, *options, *(["--mark"] if mark else [])]) == code
        return output

    return run


@pytest.fixture(scope="module")
def signed(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("signed") / "out.mp4")


def remux(source: Path, target: Path, end_s: float | None = None) -> Path:
    """Copy the streams into a new container, perhaps only their beginning."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size and (end_s is None or packet.pts * packet.time_base < end_s):
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target


def flipped(source: Path, target: Path, place: int) -> Path:
    """Copy a file with one bit changed."""
    content = bytearray(source.read_bytes())
    content[place] ^= 1
    target.write_bytes(content)
    return target


def found(path: Path, code: int) -> Findings:
    findings = examine(path)
    assert findings.exit_code == code, findings.text()
    return findings


def test_signed_output_holds(signed: Path, files: CredentialFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """Signature and file hold, the authority vouches for the name, and the mark is found."""
    assert main(["verify", str(signed), "--trust", str(files.authority), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["credentials"]["state"] == "valid"
    assert told["credentials"]["is_trusted"]
    assert told["credentials"]["signed_by"] == "Test Studio"
    assert told["mark"]["is_found"]
    assert leftovers(signed.parent) == []
    assert len(read_frames(signed)) == FRAMES


def test_manifest_says_what_was_done(signed: Path, inputs: tuple[Path, Path]) -> None:
    """Actions, inputs by hash and base name, pipeline, models, version and changed spans."""
    credentials = found(signed, 0).credentials
    assert credentials is not None
    assert credentials.actions == ("c2pa.opened", "c2pa.edited")
    job = credentials.job
    assert (job["pipeline"], job["frames"], job["marked"], job["seed"]) == ("wav2lip", FRAMES, True, None)
    assert job["changed_spans"] == [[0.0, 2.0]]
    assert job["models"]["wav2lip"] == "wav2lip"
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    assert [item["sha256"] for item in job["inputs"]] == hashes
    assert [item["name"] for item in credentials.ingredients] == ["clip.mp4", "speech.wav"]


def test_no_path_user_or_picture_enters_the_manifest(
    make: Make, tmp_path: Path, inputs: tuple[Path, Path], files: CredentialFiles
) -> None:
    """Base names alone, and no thumbnail; the sidecar is all manifest."""
    content = (make(tmp_path / "out.mkv").parent / "out.mkv.c2pa").read_bytes()
    for secret in (str(inputs[0].parent), "secret place", str(tmp_path), str(files.key), os.path.expanduser("~")):
        assert secret.encode() not in content
    assert b"thumbnail" not in content
    assert b"PRIVATE" not in content


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".webm", ".avi"])
def test_other_containers_are_signed(make: Make, tmp_path: Path, suffix: str) -> None:
    """In themselves, or by a sidecar beside them."""
    output = make(tmp_path / f"out{suffix}")
    found(output, 0)
    assert (tmp_path / f"out{suffix}.c2pa").exists() == (suffix != ".mov")


def test_sources_credentials_are_kept(make: Make, signed: Path, tmp_path: Path, files: CredentialFiles) -> None:
    """A clip that was signed before takes its manifest along."""
    speech = write_sound(tmp_path / "speech.wav", tone(1))
    output = tmp_path / "again.mp4"
    paths = ["--video", str(signed), "--audio", str(speech), "--output", str(output)]
    with imitated_server():
        assert main([*paths, *JOB, "--sign-cert", str(files.certificate), "--sign-key", str(files.key)]) == 0
    credentials = found(output, 0).credentials
    assert credentials is not None
    assert [item["has_credentials"] for item in credentials.ingredients] == [True, False]


def test_job_without_credentials_is_marked(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not signed, the report says so, and the same job gives the same bytes."""
    first = make(tmp_path / "a.mp4", "--json", signed=False)
    assert json.loads(capsys.readouterr().out)["provenance"] == {
        "is_marked": True, "signed_by": None, "signed_at": None, "timestamped_by": None, "sidecar": None, "label": None,
    }  # fmt: skip
    found(first, 11)
    assert make(tmp_path / "b.mp4", signed=False).read_bytes() == first.read_bytes()


def test_job_without_mark_is_not_found(make: Make, tmp_path: Path) -> None:
    """Nothing is known of a file that was neither marked nor signed."""
    found(make(tmp_path / "out.mp4", signed=False, mark=False), 12)


def test_one_bit_is_noticed(signed: Path, tmp_path: Path) -> None:
    """In the pictures: nearly all of them are as signed."""
    place = signed.read_bytes().index(b"mdat") + 5000
    credentials = found(flipped(signed, tmp_path / "bit.mp4", place), 10).credentials
    assert credentials is not None
    assert credentials.state == "altered"
    assert 0.9 < (credentials.intact or 0) <= 1


def test_altered_manifest_is_noticed(signed: Path, tmp_path: Path) -> None:
    """The pictures are as signed, what is said of them is not."""
    place = signed.read_bytes().index(b"changed_spans") + 2
    credentials = found(flipped(signed, tmp_path / "bit.mp4", place), 10).credentials
    assert credentials is not None
    assert (credentials.state, credentials.intact) == ("broken", 1.0)


def test_trimmed_file_is_told(make: Make, tmp_path: Path) -> None:
    """A shortened file beside its old sidecar: the part that is left is as signed."""
    whole = make(tmp_path / "out.mkv", "--codec", "h264")
    part = remux(whole, tmp_path / "part.mkv", 1.0)
    shutil.copy(tmp_path / "out.mkv.c2pa", tmp_path / "part.mkv.c2pa")
    credentials = found(part, 10).credentials
    assert credentials is not None
    assert credentials.state == "altered"
    assert 0.3 < (credentials.intact or 0) < 0.7


def test_remuxed_file_has_the_mark_alone(signed: Path, tmp_path: Path) -> None:
    """Other programs drop the credentials; the pictures carry the mark."""
    found(remux(signed, tmp_path / "copy.mp4"), 11)


def test_swapped_manifest_is_told(make: Make, tmp_path: Path) -> None:
    """Credentials of another file fit none of the pictures."""
    own, other = make(tmp_path / "own.mkv"), make(tmp_path / "other.mkv", "--crf", "40")
    shutil.copy(f"{own}.c2pa", f"{other}.c2pa")
    credentials = found(other, 10).credentials
    assert credentials is not None
    assert (credentials.state, credentials.intact) == ("foreign", 0.0)


def test_reencoded_file_has_the_mark_alone(signed: Path, tmp_path: Path) -> None:
    """At another size and a low quality."""
    target = tmp_path / "small.mp4"
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 240, 180, "yuv420p"
        for frame in read_frames(signed):
            container.mux(stream.encode(frame.reformat(width=240, height=180)))
        container.mux(stream.encode(None))
    found(target, 11)


def test_stale_sidecar_is_removed(make: Make, tmp_path: Path) -> None:
    """A file that is written again without credentials does not keep those of the one before."""
    output = make(tmp_path / "out.mkv")
    make(output, signed=False)
    assert not (tmp_path / "out.mkv.c2pa").exists()


def test_signing_that_fails_leaves_nothing(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A timestamp authority that does not answer: no file, not even an unsigned one."""
    make(tmp_path / "out.mp4", "--timestamp-url", "http://127.0.0.1:9/", code=7)
    assert "the timestamp authority http://127.0.0.1:9/ gave no timestamp" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_crash_while_signing_resumes(make: Make, tmp_path: Path, triton: PaintingTriton) -> None:
    """What was generated is kept, and the next run signs without asking the server again."""

    def die(part: Path, target: Path, *rest: object) -> None:
        target.write_bytes(part.read_bytes()[:1000])
        raise KeyboardInterrupt

    output = tmp_path / "out.mp4"
    with mock.patch("client.provenance.seal.sign_into", die):
        make(output, "--resume", code=130)
    assert not output.exists()
    with mock.patch.object(PaintingTriton, "infer", side_effect=AssertionError("asked again")):
        make(output, "--resume")
    found(output, 0)
    assert sign_into is not die


def test_bad_credentials_fail_before_the_job(
    make: Make, tmp_path: Path, triton: PaintingTriton, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and no server was asked for."""
    make(tmp_path / "out.mp4", "--sign-key", str(tmp_path / "none.key"), code=2)
    assert capsys.readouterr().err.count("\n") == 1
    assert not triton.used


def test_file_that_is_no_video_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be said of it."""
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    assert main(["verify", str(path)]) == 3
    assert main(["verify", str(tmp_path / "missing.mp4")]) == 3
    assert capsys.readouterr().err.count("\n") == 2


def test_verify_runs_without_the_package(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that credentials cannot be read, and looks for the mark."""
    with mock.patch("client.provenance.findings.is_installed", return_value=False):
        assert main(["verify", str(signed)]) == 11
    assert "c2pa-python is not installed" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which answers as the authority")
def test_timestamp_tells_when_it_was_signed(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A timestamp authority confirms the time, and verify shows it; the certificate may then expire."""
    (tmp_path / "authority").mkdir()
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with timestamp_authority(tmp_path / "authority") as url:
        out = make(tmp_path / "out.mp4", "--timestamp-url", url)
    after = datetime.datetime.now(datetime.UTC)
    credentials = found(out, 0).credentials
    assert credentials is not None
    assert credentials.signed_at is not None
    assert before <= datetime.datetime.fromisoformat(credentials.signed_at) <= after
    assert main(["verify", str(out)]) == 0
    assert "as a timestamp authority says" in capsys.readouterr().out
