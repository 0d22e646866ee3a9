from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from client.errors import NoFaceError, UsageError
from client.job_options import JobOptions
from client.lipsync import main
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from lipsync_core.wav2lip.boxes import Pads
from tests.server.clips import (
    SPEECH,
    head_frame,
    read_frames,
    read_planes,
    swaying_head,
    write_speech,
    write_video,
    write_wave,
)
from tests.server.jobs import Run, job_runner
from tests.sounds import silence
from tests.waiting import wait_until
from tests.web_service import WebProcess

pytest.importorskip("torch", reason="no torch; run: make test")

pytestmark = pytest.mark.server

BOX = (70.0, 50.0, 180.0, 190.0)  # about the head of head_frame()


@pytest.fixture
def run(wav2lip_server: EmbeddedServer) -> Run:
    """Run one job with Wav2Lip through the shared server."""
    return job_runner(wav2lip_server, model="wav2lip", in_silence="model")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a head that sways a little."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(25))


def write_rgb(path: Path, frames: np.ndarray) -> Path:
    """Write uint8 RGB [F, H, W, 3] at 25 fps without any loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_job_gives_the_originals_frames(run: Run, reference_dir: Path, tmp_path: Path) -> None:
    """From files to file, on the recipe's weights and a fixed box: 99.9 % of pixels equal, none off by more than 1."""
    goldens = np.load(reference_dir / "wav2lip" / "e2e.npz")
    pngs = [goldens["frames_png"][a:b] for a, b in itertools.pairwise(goldens["frames_off"])]
    frames = np.stack([cv2.imdecode(png, cv2.IMREAD_COLOR) for png in pngs])
    video = write_rgb(tmp_path / "in.mov", frames[..., ::-1])
    audio = write_wave(tmp_path / "in.wav", goldens["pcm16"] / 32767)  # the writer multiplies by as much
    y1, y2, x1, x2 = goldens["A_coords_yyxx"][0].tolist()
    run(video, audio, tmp_path / "out.mkv", face_box=(x1, y1, x2, y2), blend="box", lossless=True)
    expected = (frames + goldens["A_delta"])[..., ::-1]
    found = np.stack(read_frames(tmp_path / "out.mkv"))[: len(expected)]
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).any(axis=-1).mean() <= 0.001


def test_silence_closes_the_mouth_without_the_network(wav2lip_server: EmbeddedServer, tmp_path: Path) -> None:
    """In silence Wav2Lip's frames are the default pipeline's, with landmarks or a box alone, and cost no network."""
    clip = write_video(tmp_path / "head.mp4", [head_frame()] * 10)
    sound = write_wave(tmp_path / "silence.wav", silence(0.4))
    asked = []

    class Watched(TritonConnection):
        def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
            asked.append(request.model)
            return super().infer(request)

    run = job_runner(wav2lip_server, connect=Watched, lossless=True)
    run(clip, sound, tmp_path / "default.mkv")
    run(clip, sound, tmp_path / "wav2lip.mkv", model="wav2lip")
    box = (80, 30, 180, 170)
    assert run(clip, sound, tmp_path / "box.mkv", model="wav2lip", face_box=box).frames_synced == 10
    assert "wav2lip" not in asked
    default, other = (np.stack(read_planes(tmp_path / f"{name}.mkv")) for name in ("default", "wav2lip"))
    np.testing.assert_array_equal(default, other)


def test_contract_of_the_predecessor_is_served(wav2lip_server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """/submit, /status and /result do a whole job."""
    with WebProcess(tmp_path, "--url", wav2lip_server.url) as web, web.client() as client:
        sent = {"video": clip.read_bytes(), "audio": write_speech(tmp_path / "speech.wav", 0.4).read_bytes()}
        job_id = client.post("/submit", files=sent, data={"mode": "wav2lip"}).json()["jobId"]
        wait_until(lambda: client.get(f"/status/{job_id}").json()["status"] in ("completed", "failed"))
        assert client.get(f"/status/{job_id}").json() == {"jobId": job_id, "status": "completed"}
        assert client.get(f"/result/{job_id}").content[4:8] == b"ftyp"


@pytest.mark.long
def test_soft_blend_changes_the_lower_face_alone(run: Run, clip: Path, tmp_path: Path) -> None:
    """Outside of the lower part of the face's box every sample is the source's."""
    report = run(clip, SPEECH, tmp_path / "out.mkv", lossless=True, if_audio_longer="cut")
    assert report.frames_synced == 25
    changed = np.any(
        [a != b for a, b in zip(read_planes(clip), read_planes(tmp_path / "out.mkv"), strict=True)], axis=0
    )
    rows, columns = np.nonzero(changed[:256])
    assert len(rows) > 300
    assert rows.min() > 256 * 0.33  # the eyes are at 0.3 of the picture's height
    assert columns.min() > 256 * 0.2
    assert columns.max() < 256 * 0.78


@pytest.mark.long
def test_pads_move_the_boxes(run: Run, clip: Path, tmp_path: Path) -> None:
    """Larger pads change more of the picture."""
    sizes = []
    for number, pads in enumerate([Pads(0, 0, 0, 0), Pads(20, 20, 20, 20)]):
        output = tmp_path / f"{number}.mkv"
        run(clip, SPEECH, output, pads=pads, blend="box", lossless=True, if_audio_longer="cut")
        first = read_planes(clip)[0][:256] != read_planes(output)[0][:256]
        sizes.append(np.ptp(np.nonzero(first)[0]))
    assert sizes[1] > sizes[0] + 20


@pytest.mark.long
@pytest.mark.parametrize("box", [(-60, -60, 90, 100), (200, 180, 400, 400), (-100, 20, 400, 200)])
def test_boxes_partly_outside_are_cut(run: Run, clip: Path, tmp_path: Path, box: tuple[float, ...]) -> None:
    """A face that leaves the frame is synced as far as it is inside."""
    report = run(clip, SPEECH, tmp_path / "out.mp4", face_box=box, if_audio_longer="cut")
    assert report.frames_synced == 25


@pytest.mark.long
def test_box_outside_the_frame_fails_as_no_face(run: Run, clip: Path, tmp_path: Path) -> None:
    """A box that no pixel lies in leaves nothing to do."""
    with pytest.raises(NoFaceError):
        run(clip, SPEECH, tmp_path / "out.mp4", face_box=(500, 500, 600, 600), if_audio_longer="cut")


@pytest.mark.long
@pytest.mark.parametrize("samples", [1, 100, 2999])
def test_speech_shorter_than_a_window_works(run: Run, clip: Path, tmp_path: Path, samples: int) -> None:
    """Under 0.19 s of audio, which breaks the original, gives a whole video."""
    audio = write_wave(tmp_path / "short.wav", np.full(samples, 0.1))
    assert run(clip, audio, tmp_path / "out.mp4", face_box=BOX).frames == 25


@pytest.mark.long
def test_the_originals_detector_can_be_chosen(run: Run, clip: Path, tmp_path: Path) -> None:
    """With S3FD the faces come from its boxes alone; the recipe's weights see some in every frame."""
    report = run(clip, SPEECH, tmp_path / "out.mp4", detector="s3fd", end=0.2, if_audio_longer="cut")
    assert report.frames == 5


@pytest.mark.long
def test_a_command_with_its_own_server_tells_made_up_weights(
    wav2lip_repository: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who exported them once for a trial learns why the pictures are noise."""
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(tmp_path / "out.mp4")]
    box = ",".join(map(str, BOX))
    options = ["--model=wav2lip", f"--face-box={box}", "--end=0.2", "--if-audio-longer=cut", "--quiet", "--json"]
    assert main([*files, *options, f"--model-repository={wav2lip_repository}"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith(
        "synthetic weights in wav2lip_generator: the pictures are noise. Export real weights with: "
    )


@pytest.mark.long
def test_boxes_fail_with_the_generator_that_needs_lips(clip: Path, tmp_path: Path) -> None:
    """Mouth motion refuses a box or S3FD, with what to choose instead."""
    for options in ({"face_box": BOX}, {"detector": "s3fd"}):
        with pytest.raises(UsageError, match="model wav2lip"):
            JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", options)
