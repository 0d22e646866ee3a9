"""The Wav2Lip models in a real Triton: the original's goldens, and the same steps written down plainly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from client.errors import RequestRejected
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from lipsync_core.wav2lip.boxes import Pads, pad_boxes
from lipsync_core.wav2lip.faces import boxes_from_landmarks
from lipsync_core.wav2lip.mel import mel_spectrogram, mel_windows, samples_for_windows
from tests.data.wav2lip_goldens import FOLDER, astronaut, detector_images, smooth_boxes
from tests.unit.test_wav2lip_mel import speech  # noqa: F401  (a fixture)
from tests.wav2lip_original import original_windows

torch = pytest.importorskip("torch", reason="no torch; run: make test")

pytestmark = pytest.mark.server

CHUNK = 16
HARD = np.array([True])
ANY_WINDOWS = np.zeros((2, 80, 16), np.float32)
PICTURES = np.ascontiguousarray(np.repeat(astronaut()[None, :256, 96:352], 2, axis=0))
FACE = np.array([[80, 40, 180, 190]] * 2, np.float32)


@pytest.fixture
def wav2lip(wav2lip_server: EmbeddedServer) -> Iterator[TritonConnection]:
    with TritonConnection(wav2lip_server.url) as opened:
        yield opened


@pytest.fixture(params=["wav2lip_server", pytest.param("wav2lip_torch_server", marks=pytest.mark.long)])
def each_flavour(request: pytest.FixtureRequest) -> Iterator[TritonConnection]:
    with TritonConnection(request.getfixturevalue(request.param).url) as opened:
        yield opened


def sync_clip(connection: TritonConnection, frames: np.ndarray, boxes: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Sync a clip of 25 fps in chunks, each with its own part of the speech."""
    starts = original_windows(1 + len(samples) // 200, 25.0)[: len(frames)]
    synced = []
    for begin in range(0, len(frames), CHUNK):
        rows = slice(begin, begin + CHUNK)
        part, own_starts = samples_for_windows(starts[rows], len(samples))
        inputs = {"frames": frames[rows], "boxes": boxes[rows].astype(np.float32)}
        audio = {"audio": samples[part], "window_starts": own_starts}
        synced.append(connection.infer(InferRequest("wav2lip", {**inputs, **audio, "hard_box": HARD}))["synced_frames"])
    return np.concatenate(synced)


def assert_frames_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """The issue's bound: a float on the edge of a whole number may fall to either side."""
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).any(axis=-1).mean() <= 0.001


@pytest.mark.parametrize("case", ["A", "B"])
def test_golden_frames_hold(each_flavour: TritonConnection, reference_dir: Path, case: str) -> None:
    """The original's frames: with a fixed box, and with a detector's boxes padded and smoothed."""
    goldens = np.load(reference_dir / "wav2lip" / "e2e.npz")
    ends = goldens["frames_off"]
    pngs = [goldens["frames_png"][begin:end] for begin, end in itertools.pairwise(ends)]
    frames_bgr = np.stack([cv2.imdecode(png, cv2.IMREAD_COLOR) for png in pngs])
    boxes = goldens["A_coords_yyxx"][:, [2, 0, 3, 1]]
    if case == "B":
        boxes = smooth_boxes(pad_boxes(goldens["B_raw_xyxy"], Pads(*goldens["B_pads"]), *frames_bgr.shape[1:3]))
    samples = goldens["pcm16"].astype(np.float32) / 32768
    frames = np.ascontiguousarray(frames_bgr[..., ::-1])
    synced = sync_clip(each_flavour, frames, boxes, samples)
    assert_frames_equal(synced[..., ::-1], frames_bgr + goldens[f"{case}_delta"])


def test_a_clip_is_what_the_spec_says(wav2lip: TritonConnection, speech: np.ndarray) -> None:  # noqa: F811
    """The photograph drifting, synced in chunks, against the spec's steps on the whole clip, written down plainly."""
    picture = astronaut()
    frames = np.stack([picture[step : step + 240, 60 + 2 * step : 380 + 2 * step] for step in range(20)])
    boxes = np.array([[120 - 2 * step, 55 - step, 215 - 2 * step, 180 - step] for step in range(20)])
    synced = sync_clip(wav2lip, frames, boxes, speech)
    assert_frames_equal(synced, plain_wav2lip(frames, boxes, np.load(FOLDER / "speech_mel.npy")))


def plain_wav2lip(frames: np.ndarray, boxes: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Do what the original does at 25 fps, with no code of the steps that are tested."""
    from export.shared.network import load_synthetic
    from export.wav2lip.networks import GENERATOR

    generator, synced = load_synthetic(GENERATOR), frames.copy()
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        face = cv2.resize(np.ascontiguousarray(frames[i, y1:y2, x1:x2, ::-1]), (96, 96))
        masked = face.copy()
        masked[48:] = 0
        six = np.concatenate([masked, face], axis=2).transpose(2, 0, 1)[None] / 255.0
        start = int(i * (80.0 / 25))
        window = mel[None, None, :, start : start + 16]
        with torch.inference_mode():
            drawn = generator(torch.from_numpy(window.copy()), torch.from_numpy(six.astype(np.float32)))[0].numpy()
        pasted = cv2.resize((drawn.transpose(1, 2, 0) * 255.0).astype(np.uint8), (x2 - x1, y2 - y1))
        synced[i, y1:y2, x1:x2] = pasted[..., ::-1]
    return synced


def test_without_boxes_the_largest_face_speaks(wav2lip: TritonConnection) -> None:
    """Blended into the lower half of its box, everything else bit-identical; a frame without a face stays."""
    frames = np.stack([PICTURES[0], np.full_like(PICTURES[0], 90)])
    landmarks = wav2lip.infer(InferRequest("largest_face", {"frames": frames}))["face_landmarks"]
    x1, y1, x2, y2 = boxes_from_landmarks(landmarks)[0].astype(int)
    synced = wav2lip.infer(InferRequest("wav2lip", {"frames": frames, "mel_windows": ANY_WINDOWS}))["synced_frames"]
    changed = (synced != frames).any(axis=-1)
    assert changed[0, y1:y2, x1:x2].sum() == changed.sum() > 1000
    assert not changed[0, : (y1 + y2) // 2 - 5].any()


@pytest.mark.parametrize("first_mel_frames", [[3, 90], [3, -1]])
def test_audio_and_finished_windows_give_the_same(
    wav2lip: TritonConnection,
    speech: np.ndarray,  # noqa: F811
    first_mel_frames: list[int],
) -> None:
    """A caller may cut the windows itself; -1 is silence."""
    starts = np.array(first_mel_frames, np.int32)
    common = {"frames": PICTURES, "boxes": FACE}
    heard = wav2lip.infer(InferRequest("wav2lip", {**common, "audio": speech, "window_starts": starts}))
    given = wav2lip.infer(
        InferRequest("wav2lip", {**common, "mel_windows": mel_windows(mel_spectrogram(speech), starts)})
    )
    assert np.array_equal(heard["synced_frames"], given["synced_frames"])
    assert (heard["synced_frames"] != PICTURES).any()


def test_boxes_beside_the_frame_do_no_harm(wav2lip: TritonConnection) -> None:
    """Outside, missing: the frame stays. Partly outside: the part inside speaks."""
    rows = [[300, 300, 400, 400], [np.nan] * 4, [-60, -60, 90, 110], [200, 180, 1000, 1000]]
    frames = np.repeat(PICTURES[:1], len(rows), axis=0)
    inputs = {"frames": frames, "boxes": np.array(rows, np.float32), "mel_windows": np.zeros((4, 80, 16), np.float32)}
    synced = wav2lip.infer(InferRequest("wav2lip", {**inputs, "hard_box": HARD}))["synced_frames"]
    assert np.array_equal(synced[:2], frames[:2])
    for synced_frame, frame, (x1, y1, x2, y2) in (
        (synced[2], frames[2], (0, 0, 90, 110)),
        (synced[3], frames[3], (200, 180, 256, 256)),
    ):
        changed = (synced_frame != frame).any(axis=-1)
        assert changed[y1:y2, x1:x2].sum() == changed.sum() > 0


def test_audio_shorter_than_a_window_speaks_too(wav2lip: TritonConnection) -> None:
    """A tenth of a second, and none at all."""
    for count in (1600, 0):
        audio = {"audio": np.zeros(count, np.float32), "window_starts": np.zeros(2, np.int32)}
        synced = wav2lip.infer(InferRequest("wav2lip", {"frames": PICTURES, "boxes": FACE, **audio}))["synced_frames"]
        assert (synced != PICTURES).any()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"boxes": FACE}, "expected mel_windows, or audio with window_starts, got neither"),
        ({"boxes": FACE, "mel_windows": ANY_WINDOWS * np.nan}, "mel_windows: expected finite values, got NaN"),
        ({"boxes": FACE[:1], "mel_windows": ANY_WINDOWS}, "boxes: expected one row for each of 2 frames, got 1"),
        ({"boxes": FACE, "mel_windows": ANY_WINDOWS[:1]}, "mel_windows: expected one row for each of 2 frames, got 1"),
        (
            {"audio": np.full(9000, np.nan, np.float32), "window_starts": np.zeros(2, np.int32)},
            "audio: expected finite samples, got NaN or infinity",
        ),
        (
            {"audio": np.zeros(9000, np.float32), "window_starts": np.array([0, 99], np.int32)},
            "window_starts: expected mel frames 0 to 30 of this audio, got 0 to 99",
        ),
    ],
)
def test_inputs_that_do_not_fit_fail_with_their_name(
    wav2lip: TritonConnection, inputs: dict[str, np.ndarray], message: str
) -> None:
    """The request is refused; the next one is answered."""
    with pytest.raises(RequestRejected, match=message):
        wav2lip.infer(InferRequest("wav2lip", {"frames": PICTURES, **inputs}))
    good = {"frames": PICTURES, "boxes": FACE, "mel_windows": ANY_WINDOWS}
    assert wav2lip.infer(InferRequest("wav2lip", good))["synced_frames"].shape == PICTURES.shape


def test_golden_rectangles_hold(wav2lip: TritonConnection, reference_dir: Path) -> None:
    """The original's face of each of three frames is the first slot, cut off at 0 and to whole pixels."""
    goldens = np.load(reference_dir / "wav2lip" / "s3fd.npz")
    found = wav2lip.infer(InferRequest("s3fd_faces", {"frames": np.ascontiguousarray(goldens["batch_bgr"][..., ::-1])}))
    assert np.array_equal(np.maximum(0, found["boxes"][:, 0]).astype(int), goldens["rect_batch"])
    filled = found["scores"] > 0
    assert (np.diff(np.where(filled, found["scores"], 0), axis=1) <= 0).all()
    assert np.array_equal(np.isnan(found["boxes"]).all(axis=2), ~filled)


@pytest.mark.parametrize("size", [(1, 1), (31, 40), (128, 112)])
def test_s3fd_takes_frames_of_any_size(wav2lip: TritonConnection, size: tuple[int, int]) -> None:
    """Smaller ones than its network takes, too."""
    frames = np.ascontiguousarray(detector_images()[:, : size[0], : size[1]])
    found = wav2lip.infer(InferRequest("s3fd_faces", {"frames": frames}))
    assert found["boxes"].shape == (2, found["scores"].shape[1], 4)


def test_s3fd_fails_without_frames(wav2lip: TritonConnection) -> None:
    """The request is refused, not answered with nothing."""
    with pytest.raises(RequestRejected, match=r"frames: expected at least one frame with pixels, got \[0, 8, 8, 3\]"):
        wav2lip.infer(InferRequest("s3fd_faces", {"frames": np.zeros((0, 8, 8, 3), np.uint8)}))
