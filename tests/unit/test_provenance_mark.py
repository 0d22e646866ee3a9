"""The mark: where it is, how strong it is, and what finds it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from client.media import ColorTags, Orientation, Picture
from client.media.pixels import plane_array
from client.provenance.mark.detect import find_mark, score_of
from client.provenance.mark.embed import LEVELS, Marker
from client.provenance.mark.pattern import CELLS, FRAMES, PAIRS, code, grid_size, signs_of_frame

SIZE = 320, 240
REGION = slice(100, 180), slice(120, 200)
FIRST_SIGNS = [-1, 1, -1, 1, -1, 1, 1, 1, -1, 1, 1, 1]


def picture(luma: np.ndarray, pix_fmt: str = "yuv420p", orientation: Orientation | None = None) -> Picture:
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], pix_fmt)
    made = Picture(frame, ColorTags(), orientation)
    for plane in range(3):
        samples = plane_array(frame, plane, made.native)
        whole = plane == 0 or made.native.is_rgb
        samples[:] = luma if whole else 128 << (made.native.depth - 8)
    return made


def scene(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return a textured picture that moves a little, uint8 [h, w]."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    moved = x + 3 * math.sin(number / 6)
    return np.clip(110 + 40 * np.sin(moved / 9) + 30 * np.sin(y / 7) + 8 * np.sin(number / 3), 0, 255).astype(np.uint8)


def lip_synced(luma: np.ndarray) -> np.ndarray:
    """Change the samples of the region."""
    changed = luma.copy()
    changed[REGION] = 255 - changed[REGION]
    changed[REGION][changed[REGION] == luma[REGION]] += 1
    return changed


def write(path: Path, frames: int, *, marked: bool = True, out: tuple[int, int] = SIZE, crf: int = 28) -> Path:
    marker = Marker()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = *out, "yuv420p"
        for number in range(frames):
            before = picture(scene(number))
            after = picture(lip_synced(scene(number)))
            if marked:
                marker.mark(before, after, number)
            frame = after.frame.reformat(*out)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp"])
def test_only_changed_samples_are_marked(pix_fmt: str) -> None:
    """Every sample that lip-syncing left alone stays as it is; chroma does so everywhere."""
    depth = 2 if pix_fmt.endswith("10le") else 0
    luma, changed = (shown.astype(np.uint16) << depth for shown in (scene(0), lip_synced(scene(0))))
    before, after, plain = picture(luma, pix_fmt), picture(changed, pix_fmt), picture(changed, pix_fmt)
    Marker().mark(before, after, 0)
    old, new = (plane_array(shown.frame, 0, shown.native).astype(int) for shown in (plain, after))
    steps = np.abs(new - old) >> depth
    assert set(np.unique(steps[REGION])) == {LEVELS}
    steps[REGION] = 0
    assert not steps.any()
    if pix_fmt != "gbrp":
        assert np.array_equal(plane_array(after.frame, 1, after.native), plane_array(plain.frame, 1, plain.native))


def test_mark_is_42_db_below_the_peak() -> None:
    """In the changed region."""
    before, after = picture(scene(0)), picture(lip_synced(scene(0)))
    unmarked = lip_synced(scene(0))[REGION].astype(float)
    Marker().mark(before, after, 0)
    error = plane_array(after.frame, 0, after.native)[REGION] - unmarked
    assert 20 * math.log10(255) - 10 * math.log10((error**2).mean()) > 42


def test_unchanged_picture_stays() -> None:
    """Nothing was generated in it."""
    before, after = picture(scene(0)), picture(scene(0))
    Marker().mark(before, after, 0)
    assert np.array_equal(plane_array(after.frame, 0, after.native), scene(0))


def test_mark_turns_with_the_picture() -> None:
    """It is placed in the upright picture, however that is stored: players and encoders turn it."""
    turn = Orientation(transposed=True, mirrored_x=True)
    upright = scene(0)
    stored = np.ascontiguousarray(turn.coded(upright))
    changed = np.ascontiguousarray(turn.coded(lip_synced(upright)))
    plain, turned = picture(lip_synced(upright)), picture(changed, orientation=turn)
    Marker().mark(picture(upright), plain, 5)
    Marker().mark(picture(stored, orientation=turn), turned, 5)
    steps = plane_array(plain.frame, 0, plain.native).astype(int) - lip_synced(upright)
    seen = turn.upright(plane_array(turned.frame, 0, turned.native)).astype(int) - lip_synced(upright)
    assert np.array_equal(np.sign(steps), np.sign(seen))


def test_mark_is_zero_over_a_pair() -> None:
    """What one frame gains, the next one loses."""
    assert not (signs_of_frame(6) + signs_of_frame(7)).any()
    assert np.array_equal(signs_of_frame(3), signs_of_frame(3 + FRAMES))


def test_code_is_fixed() -> None:
    """Files that were marked once are found by later versions."""
    assert code().shape == (PAIRS, CELLS, CELLS)
    assert code()[0, 0, :12].tolist() == FIRST_SIGNS
    assert abs(float(code().mean())) < 0.01


def test_grid_does_not_depend_on_the_scale() -> None:
    """The same picture has the same cells at any size."""
    assert grid_size(1080, 1920) == grid_size(720, 1280) == grid_size(406, 720) == (45, 80)


@pytest.mark.parametrize("out", [SIZE, (640, 480), (240, 180)])
def test_mark_is_found_after_scaling_and_encoding(tmp_path: Path, out: tuple[int, int]) -> None:
    """Five seconds at crf 28."""
    found = find_mark(write(tmp_path / "marked.mp4", 125, out=out))
    assert found.is_found, found
    assert found.spans == ((0.0, 4.96),)


def test_mark_is_found_from_any_frame_on(tmp_path: Path) -> None:
    """The beginning may be missing."""
    whole = write(tmp_path / "marked.mp4", 125, crf=18)
    with av.open(str(whole)) as old, av.open(str(tmp_path / "late.mp4"), "w") as new:
        stream = new.add_stream("libx264", rate=25, options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(list(old.decode(video=0))[37:]):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            new.mux(stream.encode(frame))
        new.mux(stream.encode(None))
    assert find_mark(tmp_path / "late.mp4").is_found


def test_unmarked_video_is_not_found(tmp_path: Path) -> None:
    """The same pictures without a mark stay well below the threshold."""
    found = find_mark(write(tmp_path / "plain.mp4", 125, marked=False))
    assert not found.is_found
    assert found.score < found.threshold - 1


def test_noise_stays_within_the_bound() -> None:
    """Random changes score what chance allows."""
    rng = np.random.default_rng(1)
    score, comparisons = score_of(rng.normal(100, 3, (FRAMES, 45, 80)).astype(np.float32))
    assert comparisons > 1_000_000
    assert score < math.sqrt(2 * math.log(comparisons / 1e-3))


def test_too_short_video_is_not_found(tmp_path: Path) -> None:
    """A photograph has no pair of frames."""
    found = find_mark(write(tmp_path / "short.mp4", 1))
    assert (found.is_found, found.score, found.spans) == (False, 0.0, ())
