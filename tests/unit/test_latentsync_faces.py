"""Alignment, mask and paste-back: the original's goldens, and the same steps written down plainly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from lipsync_core.latentsync.alignment import (
    TEMPLATE,
    affine_matrices,
    align_faces,
    crop_size,
    face_extent,
    has_face,
    inverse,
    running_bias,
)
from lipsync_core.latentsync.composite import composite_faces, reached_region, soft_mask
from lipsync_core.latentsync.mask import latent_mask, pixel_mask
from lipsync_core.latentsync.sampling import coverage, places_of, resize_bicubic, sample_bilinear
from tests.closeness import assert_close

TRUNCATION = 0.02  # of the values: a float on the edge of a whole number may fall to either side; measured 0.006
PLACES = 1e-5  # float32 places in the frame; measured 1e-6. A tenth of a pixel in 1000 is ten times as much
# The mask's outline in words of its maker: a bowl with a notch for the nose; docs/specs/latentsync.md, "Mask".
OUTLINE = (
    *((9, 95), (9, 135), (12, 170), (22, 188), (34, 202), (49, 215), (60, 222), (95, 238), (108, 241), (152, 242)),
    *((164, 239), (183, 231), (202, 220), (223, 201), (240, 177), (244, 169), (247, 134), (246, 95), (178, 95)),
    *((177, 128), (78, 128), (77, 95)),
)
PHOTO = np.ascontiguousarray(data.astronaut()[:300, 60:380])
POINTS = np.array([[145, 78], [183, 75], [165, 112]], np.float32)
MOVING = np.stack([POINTS + np.array([[step, 0.5 * step]] * 2 + [[step, 0.5 * step + step % 3]]) for step in range(40)])


def assert_levels(found: np.ndarray, expected: np.ndarray, share: float = TRUNCATION) -> None:
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= share


def assert_matrices(found: np.ndarray, expected: np.ndarray) -> None:
    assert_close(found[..., :2], expected[..., :2], rel=PLACES, what="turn and scale")
    assert_close(found[..., 2], expected[..., 2], rel=PLACES, what="shift")


def matrices_of(points: np.ndarray, resolution: int) -> np.ndarray:
    return affine_matrices(points, running_bias(points), resolution)


@pytest.fixture(scope="module")
def goldens(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "latentsync" / "align.npz"))


def test_golden_matrices_hold(goldens: dict[str, np.ndarray]) -> None:
    """The original's smoothed ones, for 40 frames in chunks whose state is handed on."""
    points = goldens["landmarks3"].astype(np.float32)
    biases, previous = [], None
    for start in range(0, 40, 16):
        biases.append(running_bias(points[start : start + 16], previous))
        previous = biases[-1][-1]
    joined = np.concatenate(biases)
    assert_close(joined, goldens["bias"], rel=PLACES)
    for resolution in (256, 512):
        found = affine_matrices(points, joined, resolution)
        assert_matrices(found, goldens[f"matrix_{resolution}"])
    unsmoothed = affine_matrices(points, np.zeros_like(joined), 256)
    assert_matrices(unsmoothed, goldens["matrix_256_no_smooth"])


@pytest.mark.parametrize("resolution", [256, 512])
def test_golden_faces_hold(goldens: dict[str, np.ndarray], resolution: int) -> None:
    """The original's crop before and after it is squeezed."""
    matrix = goldens[f"matrix_{resolution}"][0]
    crop = sample_bilinear(goldens["crop"], places_of(inverse(matrix), crop_size(resolution)), 127)
    assert_levels(crop.astype(np.uint8), goldens[f"warp_{resolution}"])
    assert_levels(align_faces(goldens["crop"][None], matrix[None], resolution)[0], goldens[f"face_{resolution}"])


def test_golden_faces_at_the_border_hold(goldens: dict[str, np.ndarray]) -> None:
    """Partly beside the frame, in a tiny frame, and of another frame."""
    outside = align_faces(goldens["crop"][None], goldens["oob_matrix"][None], 256)[0]
    assert_levels(outside, goldens["oob_face_256"])
    tiny = align_faces(goldens["tiny_frame"][None], goldens["tiny_matrix"][None], 64)[0]
    assert_levels(tiny, goldens["tiny_face_64"])
    other = sample_bilinear(goldens["crop"], places_of(inverse(goldens["matrix_256"][7]), crop_size(256)), 127)
    assert_levels(other.astype(np.uint8), goldens["warp_256_frame7"])


def test_golden_paste_back_holds(goldens: dict[str, np.ndarray]) -> None:
    """The original's result and every step on the way."""
    matrix, frame = goldens["matrix_256"][0], goldens["crop"]
    face = goldens["restore_face"].transpose(1, 2, 0)
    resized = resize_bicubic(face, 280, 210).transpose(2, 0, 1)
    assert_close(resized, goldens["restore_face_resized"], rel=1e-4)  # float32 weights; measured 5e-6
    mask = soft_mask(coverage(places_of(matrix, frame.shape[:2]), 280, 210))
    names = {"covered": "inv_mask", "eroded": "eroded", "centre": "center", "soft": "soft"}
    for name, golden in names.items():
        # Places in float32; measured 7e-5 of the mask's 0..1. A grey level is 4e-3.
        assert_close(getattr(mask, name), goldens[f"restore_{golden}"], rel=5e-4, what=name)
    assert_levels(composite_faces(frame[None], face[None], matrix[None])[0], goldens["restore_out"], 1e-3)
    tiny_face = -(goldens["tiny_face_64"].astype(np.float32) / 127.5 - 1)  # its colours inverted
    tiny = composite_faces(goldens["tiny_frame"][None], tiny_face[None], goldens["tiny_matrix"][None])[0]
    assert_levels(tiny, goldens["tiny_out"], 1e-3)


def test_golden_clip_holds(reference_dir: Path) -> None:
    """The small pipeline's faces, from its frames; and its frames, from its drawn faces."""
    clip = np.load(reference_dir / "latentsync" / "pipeline_small.npz")
    frames, matrices = clip["frames"][clip["frame_index"]], clip["matrices"]
    assert_levels(align_faces(frames, matrices, 64).transpose(0, 3, 1, 2), clip["faces"])
    synced = composite_faces(frames, clip["pasted"].transpose(0, 2, 3, 1), matrices)
    assert_levels(synced, clip["out_frames"], 1e-3)


def test_golden_masks_hold(reference_dir: Path) -> None:
    """The default mask at three sizes, in pixels and in latent cells."""
    goldens = np.load(reference_dir / "latentsync" / "mask.npz")
    for resolution in (256, 512, 64):
        assert np.array_equal(np.rint(pixel_mask(resolution) * 255), goldens[f"mask_{resolution}"])
        assert np.array_equal(np.rint(latent_mask(resolution) * 255), goldens[f"mask_{resolution}_latent"])


def test_the_mask_is_its_outline() -> None:
    """All but 124 pixels on its edges."""
    drawn = cv2.fillPoly(np.ones((256, 256), np.uint8), [np.array(OUTLINE)], 0)
    assert (pixel_mask(256) != drawn).sum() == 124
    assert latent_mask(512).shape == (64, 64)


def test_points_on_the_template_need_no_warp() -> None:
    """Their matrix is the identity; a template that is turned, scaled and moved comes back."""
    template = TEMPLATE * 2.8
    moved = template @ (2 * np.array([[0.6, 0.8], [-0.8, 0.6]])) + [30, -7]
    matrices = affine_matrices(np.stack([template, moved]), np.zeros((2, 2), np.float32), 256)
    assert_close(matrices[0], np.eye(2, 3), rel=1e-4)  # shifts are small differences of large places
    assert_close(moved @ matrices[1, :, :2].T + matrices[1, :, 2], template, rel=PLACES)


def test_mirrored_points_are_turned_not_mirrored() -> None:
    """A matrix never swaps left and right."""
    points = TEMPLATE * 2.8 * [-1, 1] + [300, 0]
    matrix = affine_matrices(points[None], np.zeros((1, 2), np.float32), 256)[0]
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_the_bias_streams(chunk: int) -> None:
    """Chunks that hand it on give the whole clip's values; frames without a face hand it on too."""
    points = MOVING.copy()
    points[[5, 6, 20]] = np.nan
    previous, biases = None, []
    for start in range(0, len(points), chunk):
        biases.append(running_bias(points[start : start + chunk], previous))
        previous = biases[-1][-1]
    whole = running_bias(points)
    assert np.array_equal(np.concatenate(biases), whole)
    assert np.array_equal(whole[6], whole[4])
    single = [running_bias(row[None])[0] for row in points[:2].astype(np.float64)]
    assert_close(whole[1], 0.2 * single[0] + 0.8 * single[1], rel=PLACES)
    assert np.isnan(running_bias(points[5:7])).all()


def test_frames_without_a_face_have_no_matrix() -> None:
    """Their row is NaN."""
    points = np.stack([POINTS, np.full_like(POINTS, np.nan)])
    assert has_face(matrices_of(points, 256)).tolist() == [True, False]


def test_points_in_one_place_fail() -> None:
    """They have no direction."""
    with pytest.raises(ValueError, match="alignment_points: expected three distinct points"):
        running_bias(np.full((1, 3, 2), 7, np.float32))


def test_sampling_is_plain_bilinear() -> None:
    """Pixel by pixel, beside the picture the border's level."""
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (9, 12, 3)).astype(np.float32)
    matrix = np.array([[0.7, 0.3, -2.4], [-0.2, 0.9, -0.7]])
    padded = np.pad(picture, ((40, 40), (40, 40), (0, 0)), constant_values=50)
    found = sample_bilinear(picture, places_of(matrix, (14, 16)), 50)
    for y in range(14):
        for x in range(16):
            place_x, place_y = matrix @ [x, y, 1] + 40
            left, top = int(place_x), int(place_y)
            weights = np.outer([top + 1 - place_y, place_y - top], [left + 1 - place_x, place_x - left])
            expected = np.tensordot(weights, padded[top : top + 2, left : left + 2])
            assert_close(found[y, x], expected, rel=1e-4, scale=255)  # float32 places
    far = sample_bilinear(picture, places_of(np.array([[1e9, 0, -1e12], [0, 1, 0]]), (3, 3)), 50)
    assert (far == 50).all()


@pytest.mark.parametrize("size", [(280, 210), (70, 52), (64, 64), (31, 200)])
def test_resizing_is_torchs(size: tuple[int, int]) -> None:
    """Bicubic with antialiasing, enlarging and reducing."""
    torch = pytest.importorskip("torch", reason="no torch; run: make test")
    face = np.random.default_rng(0).uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    planes = torch.from_numpy(face).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)[0].permute(1, 2, 0)
    assert_close(resize_bicubic(face, *size), expected, rel=1e-4)  # float32 weights; measured 1e-5


def pasted_over_the_whole_frame(frame: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
    """Paste as the original does, every step over the whole frame; return the frame and the soft mask."""
    size = crop_size(len(face))
    places = places_of(matrix, frame.shape[:2])
    drawn = sample_bilinear(resize_bicubic(face, *size), places, 127)
    mask = soft_mask(sample_bilinear(np.ones((*size, 3), np.float32), places, 0)[..., 0].copy())
    soft = mask.soft[..., None]
    whole = soft * mask.eroded[..., None] * np.clip(drawn / 2 + 0.5, 0, 1) * 255 + (1 - soft) * frame
    return np.where(soft > 0, whole, frame).astype(np.uint8), mask.soft


@pytest.mark.parametrize("offset", [(0, 0), (-120, -60), (150, 190)])
def test_pasting_into_a_region_is_pasting_into_the_frame(offset: tuple[int, int]) -> None:
    """Bit-identical to the same steps over the whole frame, also where the face leaves it; and nothing else changes."""
    points = (POINTS + offset)[None]
    matrix = matrices_of(points, 256)
    face = -(align_faces(PHOTO[None], matrix, 256).astype(np.float32) / 127.5 - 1)
    synced = composite_faces(PHOTO[None], face, matrix)[0]
    whole, soft = pasted_over_the_whole_frame(PHOTO, face[0], matrix[0])
    assert_levels(synced, whole, 1e-4)
    assert np.array_equal(synced[soft == 0], PHOTO[soft == 0])
    rows, columns = reached_region(matrix[0], 256, *PHOTO.shape[:2])
    assert not soft[:, : columns.start].any()
    assert not soft[: rows.start].any()
    assert (synced != PHOTO).any()


@pytest.mark.parametrize("degrees", [0, 30, -100])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 6])
def test_large_faces_fade_on_every_side(scale: int, degrees: int) -> None:
    """However many pixels of the frame a pixel of the crop covers, the region holds the whole soft edge."""
    resolution = 64
    height, width = crop_size(resolution)
    side = int(1.5 * scale * height)
    frame = np.full((side, side, 3), 200, np.uint8)
    to_crop = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1 / scale)
    to_crop[:, 2] += (width / 2 - side / 2, height / 2 - side / 2)
    matrix = to_crop.astype(np.float32)
    face = np.full((resolution, resolution, 3), -1, np.float32)  # black: every step of the edge is seen
    whole, soft = pasted_over_the_whole_frame(frame, face, matrix)
    rows, columns = reached_region(matrix, resolution, side, side)
    assert soft[rows, columns].astype(bool).sum() == soft.astype(bool).sum()
    assert_levels(composite_faces(frame[None], face[None], matrix[None])[0], whole)
    x1, y1, x2, y2 = np.array(face_extent(matrix[None], resolution)).astype(int).tolist()  # what the client sends
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (x1, y1)
    part = composite_faces(frame[None, y1:y2, x1:x2], face[None], moved[None])[0]
    assert_levels(part, whole[y1:y2, x1:x2])


def test_a_part_of_the_frame_is_enough() -> None:
    """Cut to the face's extent, it gives the same face and the same pixels."""
    matrix = matrices_of(POINTS[None], 256)
    x1, y1, x2, y2 = np.array(face_extent(matrix, 256)).astype(int).tolist()
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, PHOTO.shape[1]), min(y2, PHOTO.shape[0])
    part = np.ascontiguousarray(PHOTO[y1:y2, x1:x2])
    part_matrix = matrices_of(POINTS[None] - np.float32([x1, y1]), 256)
    face = align_faces(PHOTO[None], matrix, 256)
    assert_levels(align_faces(part[None], part_matrix, 256), face, 0.01)
    drawn = -(face.astype(np.float32) / 127.5 - 1)
    whole = composite_faces(PHOTO[None], drawn, matrix)[0]
    assert_levels(composite_faces(part[None], drawn, part_matrix)[0], whole[y1:y2, x1:x2], 0.01)


def test_a_face_beside_the_frame_changes_nothing() -> None:
    """Far away, or too small to be seen."""
    far = matrices_of(POINTS[None] + np.float32([5000, 0]), 64)
    face = np.ones((1, 64, 64, 3), np.float32)
    assert np.array_equal(composite_faces(PHOTO[None], face, far)[0], PHOTO)
