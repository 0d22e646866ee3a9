from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lipsync_core.mouth.geometry import LEFT_CORNER, LOWER_OUTER, RIGHT_CORNER, UPPER_OUTER
from lipsync_core.musetalk.boxes import turn_box
from lipsync_core.musetalk.faces import PlacedFace, crop_face, encoder_images, place_face, surroundings
from lipsync_core.musetalk.latents import draw_noise, face_latents
from lipsync_core.musetalk.mouth_area import mouth_mask
from lipsync_core.musetalk.parsing import (
    CheekWidths,
    area_mask,
    check_cheeks,
    check_labels,
    parser_input,
    spread_kernel,
)
from lipsync_core.musetalk.paste import (
    ORIGINAL_FEATHER,
    blur_size,
    decoded_faces,
    keep_lower_face,
    paste_face,
    resize_mask,
    soft_mask,
)
from lipsync_core.musetalk.resize import Filter, resize_square

CASES = ("jaw", "raw", "neck", "odd", "corner", "edge", "tiny")
LIVE_FEATHER = 0.1


@pytest.fixture(scope="module")
def blend(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "musetalk" / "blend.npz"))


@pytest.fixture(scope="module")
def labels(reference_dir: Path) -> np.ndarray:
    """The label map of the blending goldens."""
    return np.asarray(np.load(reference_dir / "musetalk" / "parse.npz")["labels"][0])


def placed(frame: np.ndarray, box: np.ndarray) -> PlacedFace:
    face = place_face(frame, box.astype(np.float32), 0)
    assert face is not None
    return face


@pytest.mark.parametrize("cheeks", [(90, 90), (80, 80), (30, 140)])
def test_musetalk_jaw_masks_are_the_originals(reference_dir: Path, cheeks: tuple[int, int]) -> None:
    """Three label maps, to the last pixel."""
    goldens = np.load(reference_dir / "musetalk" / "parse.npz")
    masks = [area_mask(labels, "jaw", CheekWidths(*cheeks)) for labels in goldens["labels"]]
    assert np.array_equal(masks, goldens["jaw_{}_{}".format(*cheeks)])
    assert np.array_equal(spread_kernel() > 0, goldens["kernel"] > 0)


@pytest.mark.parametrize("area", ["raw", "neck"])
def test_musetalk_plain_masks_are_the_originals(reference_dir: Path, area: str) -> None:
    """Skin and lips, with the neck or without."""
    goldens = np.load(reference_dir / "musetalk" / "parse.npz")
    masks = [area_mask(labels, area) for labels in goldens["labels"]]  # type: ignore[arg-type]
    assert np.array_equal(masks, goldens[f"{area}_90_90"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("live", [False, True])
def test_musetalk_soft_masks_are_the_originals(blend: dict[str, np.ndarray], case: str, live: bool) -> None:
    """Kept below the centre of the box, and blurred as its batch script or as its live script does."""
    face = placed(blend["frame"], blend[f"{case}_box"])
    assert surroundings(face.box) == tuple(blend[f"{case}_crop_box"])
    parsed = blend[f"{case}_parsed"]
    feather, name = (LIVE_FEATHER, f"{case}_rt") if live else (ORIGINAL_FEATHER, case)
    assert blur_size(len(parsed), feather) == blend[f"{name}_kernel"]
    assert np.array_equal(keep_lower_face(parsed, face.box), blend[f"{case}_before_blur"])
    assert np.array_equal(soft_mask(parsed, face.box, feather), blend[f"{name}_mask"])


@pytest.mark.parametrize("case", CASES)
def test_musetalk_pasted_frames_are_the_originals(blend: dict[str, np.ndarray], case: str) -> None:
    """From the mask on, in every corner of the frame."""
    for name in {case, f"{case}_rt" if f"{case}_rt_out" in blend else case}:
        face = placed(blend["frame"].copy(), blend[f"{case}_box"])
        inverted = crop_face(PlacedFace(255 - face.upright, face.box))
        paste_face(face, inverted, blend[f"{name}_mask"])
        difference = np.abs(face.upright.astype(int) - blend[f"{name}_out"])
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.002


def test_musetalk_parsed_masks_are_resized_as_in_the_original(blend: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Bicubic with antialiasing, in whole numbers, to the last bit."""
    for case in ("jaw", "odd", "tiny"):
        face = placed(blend["frame"], blend[f"{case}_box"])
        assert np.array_equal(resize_mask(area_mask(labels, "jaw"), face.box), blend[f"{case}_parsed"])


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [512, 150, 149, 31, 1])
def test_musetalk_resizing_is_pillows(filter_name: Filter, side: int) -> None:
    """Smaller, equal and larger, to the last bit."""
    image = pytest.importorskip("PIL.Image", reason="no Pillow")
    picture = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    expected = image.fromarray(picture).resize((side, side), getattr(image.Resampling, filter_name.upper()))
    assert np.array_equal(resize_square(picture, side, filter_name), expected)


def test_musetalk_parser_input_is_the_originals(reference_dir: Path) -> None:
    """Resized and normalised; the golden has every sixteenth pixel."""
    goldens = np.load(reference_dir / "musetalk" / "bisenet.npz")
    found = parser_input([np.ascontiguousarray(goldens["face_bgr"][..., ::-1])])[0]
    np.testing.assert_allclose(found[:, ::16, ::16], goldens["input_sub"], atol=1e-6)


def test_musetalk_faces_are_cropped_as_in_the_original(reference_dir: Path) -> None:
    """The lower half of the first picture is black, not grey."""
    goldens = np.load(reference_dir / "musetalk" / "vae_small.npz")
    face = goldens["face"][..., ::-1]
    images = encoder_images([PlacedFace(np.ascontiguousarray(face), (0, 0, 256, 256))])
    assert np.array_equal(images[1], (face / np.float32(127.5) - 1).transpose(2, 0, 1))
    np.testing.assert_allclose(images[0][:, 127:129], goldens["masked_row127_128"], atol=1e-6)
    frames = np.load(reference_dir / "musetalk" / "e2e_small.npz")["frames"]
    found = crop_face(placed(np.ascontiguousarray(frames[0, ..., ::-1]), goldens["box"]))
    assert np.array_equal(found, face)


def test_musetalk_latents_are_the_originals(reference_dir: Path) -> None:
    """Means and deviations of the encoder, with the given noise."""
    goldens = np.load(reference_dir / "musetalk" / "vae_small.npz")
    moments = np.concatenate([goldens["mean"], 2 * np.log(goldens["std"])], axis=1)
    np.testing.assert_allclose(face_latents(moments, goldens["noise"][:, 0]), goldens["latents"], rtol=1e-5, atol=1e-6)
    with pytest.raises(FloatingPointError, match="moments: expected finite values.* set precision to bf16 or fp32"):
        face_latents(moments * np.inf, goldens["noise"][:, 0])


def test_musetalk_noise_depends_on_seed_and_frame_alone() -> None:
    """The original's differs from run to run; here the order and the company of frames do not matter."""
    together = draw_noise(5, np.array([0, 7, 3]))
    assert np.array_equal(together[2:4], draw_noise(5, np.array([7])))
    assert not np.array_equal(together[:2], draw_noise(6, np.array([0])))
    assert not np.array_equal(together[:2], together[2:4])
    assert abs(float(together.std()) - 1) < 0.02
    with pytest.raises(ValueError, match="seed, frame_numbers: expected 0 or more"):
        draw_noise(0, np.array([-1]))


def test_musetalk_decoded_faces_are_the_originals(reference_dir: Path) -> None:
    """Rounded half to even, not truncated."""
    values = np.array([-1.2, -1, 0, 1, 3, 2 * (10.5 / 255) - 1], np.float32)
    decoded = np.broadcast_to(values[:, None, None, None], (6, 3, 2, 2))
    assert decoded_faces(decoded)[:, 0, 0, 0].tolist()[:5] == [0, 0, 128, 255, 255]
    with pytest.raises(FloatingPointError, match="decoded: expected finite values.* set precision to bf16 or fp32"):
        decoded_faces(decoded * np.nan)


@pytest.mark.parametrize("turn", range(4))
def test_musetalk_rolled_faces_are_pasted_as_upright_ones(blend: dict[str, np.ndarray], turn: int) -> None:
    """A lying head gets what the upright one gets, turned, to the last bit."""
    frame = np.rot90(blend["frame"], -turn).copy()
    box = turn_box(blend["jaw_box"].astype(np.float64), -turn, *blend["frame"].shape[:2])
    face = place_face(frame, box, turn)
    assert face is not None
    paste_face(face, blend["face256"], blend["jaw_mask"])
    upright = placed(blend["frame"].copy(), blend["jaw_box"])
    paste_face(upright, blend["face256"], blend["jaw_mask"])
    assert np.array_equal(np.rot90(frame, turn), upright.upright)


@pytest.mark.parametrize("box", [[np.nan] * 4, [300, 10, 400, 50], [-50, 10, 0, 50], [9, 9, 9, 20], [np.inf] * 4])
def test_musetalk_boxes_beside_the_frame_are_no_face(blend: dict[str, np.ndarray], box: list[float]) -> None:
    """Outside, empty or missing."""
    assert place_face(blend["frame"], np.array(box), 0) is None


def test_musetalk_the_mouth_alone_keeps_the_cheeks(blend: dict[str, np.ndarray]) -> None:
    """Its mask has room below the lips, and little elsewhere; no label map is needed."""
    face = placed(blend["frame"], blend["jaw_box"])
    left, top, _, _ = surroundings(face.box)
    landmarks = np.tile(np.float32([left + 97, top + 130]), (468, 1))
    angles = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    for index, angle in zip([*UPPER_OUTER, *LOWER_OUTER], angles, strict=True):
        landmarks[index] += (20 * np.cos(angle), 7 * np.sin(angle))
    landmarks[LEFT_CORNER], landmarks[RIGHT_CORNER] = (left + 77, top + 130), (left + 117, top + 130)
    mask = mouth_mask(landmarks, face.box)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max()) == (73, 121)
    assert (rows.min(), rows.max()) == (120, 148)
    soft = soft_mask(mask, face.box, ORIGINAL_FEATHER)
    assert cv2.countNonZero(soft) < 0.1 * mask.size
    lips = np.round(landmarks[[*UPPER_OUTER, *LOWER_OUTER]] - (left, top)).astype(int)
    assert soft[lips[:, 1], lips[:, 0]].min() > 200


def test_musetalk_labels_and_cheeks_out_of_range_fail() -> None:
    """Each with its name and range."""
    with pytest.raises(ValueError, match="labels: expected classes 0 to 18, got 19"):
        check_labels(np.full((1, 512, 512), 19, np.uint8))
    with pytest.raises(ValueError, match="cheek_widths: expected 0 to 256 each, got 90, 300"):
        check_cheeks(CheekWidths(90, 300))
