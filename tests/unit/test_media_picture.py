"""Pictures: upright RGB out of any pixel format, and changes back into it."""

from __future__ import annotations

from itertools import product

import av
import numpy as np
import pytest

from client.media import ColorTags, Orientation, Picture, align_region, relative_to
from client.media.picture import _changed_box
from client.media.pixels import convert, nearest_native, parse_native, plane_array, to_native
from tests.media_clips import pattern

LIMITED_709, FULL_709, LIMITED_601, UNTAGGED = ColorTags(1, 1), ColorTags(2, 1), ColorTags(1, 6), ColorTags()
TAGS = [LIMITED_709, FULL_709, LIMITED_601, ColorTags(1, 9), UNTAGGED]
ORIENTATIONS = [Orientation(*flags) for flags in product((False, True), repeat=3)]
SUBSAMPLED = ["yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10le", "yuv420p16le"]
FULL_CHROMA = ["yuv444p", "yuv444p10le", "yuv444p12le", "gbrp", "gbrp10le", "gbrp16le"]


def make(
    name: str, tags: ColorTags = LIMITED_709, orientation: Orientation | None = None, *, odd: bool = False
) -> Picture:
    rgb = pattern(3, 65 if odd else 64, 47 if odd else 48)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
    return Picture(convert(frame, name, FULL_709, target=tags), tags, orientation)


def planes(picture: Picture) -> list[np.ndarray]:
    return [plane_array(picture.frame, plane, picture.native).copy() for plane in range(3)]


def half_resolution(rgb: np.ndarray) -> np.ndarray:
    return rgb.reshape(rgb.shape[0] // 2, 2, rgb.shape[1] // 2, 2, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("tags", TAGS, ids=str)
@pytest.mark.parametrize("name", SUBSAMPLED + FULL_CHROMA)
def test_rgb_follows_format_matrix_and_range(name: str, tags: ColorTags) -> None:
    """Every format, matrix and range gives the colours that went in."""
    difference = np.abs(make(name, tags).rgb().astype(int) - pattern(3))
    assert difference.max() <= (12 if name in SUBSAMPLED else 2)  # chroma of neighbours; two roundings to 8 bits


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_rgb_is_upright(orientation: Orientation) -> None:
    """Each of the eight orientations is undone exactly, for the whole picture and for a region."""
    coded = pattern(3)
    picture = Picture(convert(av.VideoFrame.from_ndarray(coded, "rgb24"), "gbrp", FULL_709), FULL_709, orientation)
    upright = picture.rgb()
    assert upright.shape == (picture.height, picture.width, 3)
    np.testing.assert_array_equal(upright, orientation.upright(coded))
    np.testing.assert_array_equal(picture.rgb((5, 7, 21, 40)), upright[7:40, 5:21])


def test_orientations_survive_their_matrix() -> None:
    """An orientation read back from its display matrix is the same."""
    for orientation in ORIENTATIONS:
        assert Orientation.from_matrix(orientation.matrix) == orientation
    assert [Orientation.from_rotation(degrees).rotation for degrees in (0, -90, 180, 90)] == [0, 90, 180, 270]


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p", "gbrp"])
def test_a_region_holds_exactly_the_whole_picture(name: str) -> None:
    """Any region of an 8-bit picture equals that part of the whole, aligned or not."""
    picture = make(name)
    whole = picture.rgb()
    for x1, y1, x2, y2 in [(0, 0, 64, 48), (7, 5, 30, 29), (8, 6, 30, 28), (31, 11, 64, 48), (63, 47, 64, 48)]:
        np.testing.assert_array_equal(picture.rgb((x1, y1, x2, y2)), whole[y1:y2, x1:x2])


@pytest.mark.parametrize("name", SUBSAMPLED)
def test_a_region_shows_the_whole_picture_at_odd_sizes(name: str) -> None:
    """With odd sizes and other formats a region shows that part of the whole, but for chroma at its edge."""
    picture = make(name, odd=True)
    whole = picture.rgb().astype(int)
    for x1, y1, x2, y2 in [(0, 0, 65, 47), (7, 5, 30, 29), (31, 11, 65, 47), (64, 46, 65, 47)]:
        difference = np.abs(picture.rgb((x1, y1, x2, y2)) - whole[y1:y2, x1:x2])
        assert difference.max() <= 8  # chroma of one neighbour instead of two


def test_long_side_shrinks_the_whole_picture() -> None:
    """The longer side comes down to the limit and the shorter one follows; smaller pictures stay as they are."""
    picture = make("yuv420p", orientation=Orientation(True, True, False))
    assert picture.rgb(long_side=32).shape == (32, 24, 3)
    assert picture.rgb(long_side=100).shape == (64, 48, 3)
    shrunk = half_resolution(picture.rgb())
    assert np.abs(picture.rgb(long_side=32).astype(int) - shrunk).max() <= 8  # the area filter shrinks chroma by itself
    assert picture.rgb((0, 0, 40, 20), long_side=20).shape == (10, 20, 3)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::3], ids=str)
@pytest.mark.parametrize("name", SUBSAMPLED + FULL_CHROMA)
def test_applying_no_change_keeps_every_sample(name: str, orientation: Orientation) -> None:
    """rgb() and apply() of the same image leave the picture bit-identical."""
    picture = make(name, orientation=orientation, odd=True)
    before = planes(picture)
    rgb = picture.rgb((5, 3, 33, 40))
    picture.apply((5, 3, 33, 40), rgb, rgb.copy())
    for old, new in zip(before, planes(picture), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("tags", TAGS, ids=str)
@pytest.mark.parametrize("name", FULL_CHROMA)
def test_a_change_reads_back_as_asked_with_full_chroma(name: str, tags: ColorTags) -> None:
    """What was changed reads back as asked for, everything else stays."""
    picture = make(name, tags, Orientation(True, False, True))
    region = (5, 3, 33, 40)
    before = picture.rgb(region)
    untouched = picture.rgb()
    after = before.copy()
    after[4:20, 6:22] = np.clip(after[4:20, 6:22].astype(int) + np.array([25, -20, 30]), 0, 255)
    picture.apply(region, before, after)
    assert np.abs(picture.rgb(region).astype(int) - after).max() <= 3  # one rounding of each YUV sample and of RGB
    changed = np.zeros(untouched.shape[:2], bool)
    changed[3 + 4 : 3 + 20, 5 + 6 : 5 + 22] = True
    np.testing.assert_array_equal(picture.rgb()[~changed], untouched[~changed])


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_a_change_is_right_on_average_with_shared_chroma(name: str) -> None:
    """Where pixels share chroma, a change of one colour reads back as asked for inside its edge."""
    picture = make(name)
    before = picture.rgb((4, 4, 44, 40))
    after = np.clip(before.astype(int) + np.array([30, -20, 10]), 0, 255).astype(np.uint8)
    picture.apply((4, 4, 44, 40), before, after)
    difference = picture.rgb((4, 4, 44, 40)).astype(int) - after
    assert np.abs(difference[4:-4, 4:-4]).max() <= 4  # roundings of two YUV samples


def test_chroma_changes_only_where_a_pixel_of_its_block_did() -> None:
    """Luma stays bit-identical at every unchanged pixel, chroma in every block without a changed one."""
    picture = make("yuv420p")
    old = planes(picture)
    before = picture.rgb((0, 0, 64, 48))
    after = before.copy()
    after[11:20, 13:30] = 250 - after[11:20, 13:30]
    picture.apply((0, 0, 64, 48), before, after)
    new = planes(picture)
    mask = np.zeros((48, 64), bool)
    mask[11:20, 13:30] = True
    blocks = mask.reshape(24, 2, 32, 2).any(axis=(1, 3))
    np.testing.assert_array_equal(old[0][~mask], new[0][~mask])
    for plane in (1, 2):
        np.testing.assert_array_equal(old[plane][~blocks], new[plane][~blocks])
        assert (old[plane][blocks] != new[plane][blocks]).any()


def test_deep_samples_keep_their_fine_levels() -> None:
    """A change of 10-bit samples shifts them; what lies between two 8-bit levels stays."""
    picture = make("gbrp10le")
    plane_array(picture.frame, 0, picture.native)[:] = 401  # green, between 8-bit levels 99 and 100
    before = picture.rgb()
    after = before.copy()
    after[:, :, 1] += 10
    picture.apply((0, 0, 64, 48), before, after)
    assert set(np.unique(planes(picture)[0])) == {401 + round(10 * 1023 / 255)}


def test_limited_range_stays_legal_as_far_as_it_was() -> None:
    """A change stops at the legal limits; a sample beyond them that must not change stays."""
    picture = make("yuv420p")
    luma = plane_array(picture.frame, 0, picture.native)
    luma[:] = 230
    luma[0, :] = 250
    before = np.full((48, 64, 3), 200, np.uint8)
    after = before.copy()
    after[4:10], after[10:] = 0, 255
    luma[4:10] = 100
    picture.apply((0, 0, 64, 48), before, after)
    luma = planes(picture)[0]
    assert (luma[0] == 250).all()
    assert (luma[10:] == 235).all()
    assert (luma[4:10] == 16).all()


def test_apply_leaves_the_decoder_and_copies_alone() -> None:
    """A copy is independent, and a frame that something else still refers to is copied before the change."""
    picture = make("yuv420p")
    copy = picture.copy()
    old = planes(picture)
    before = copy.rgb()
    copy.apply((0, 0, 64, 48), before, 255 - before)
    for one, other in zip(old, planes(picture), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (planes(copy)[0] != old[0]).any()


def test_apply_fails_for_a_shared_picture() -> None:
    """A picture that is shown several times must be copied first."""
    picture = make("yuv420p")
    picture.shared = True
    rgb = picture.rgb()
    with pytest.raises(ValueError, match=r"Call copy\(\) first"):
        picture.apply((0, 0, 64, 48), rgb, rgb)
    copied = picture.copy()
    copied.apply((0, 0, 64, 48), rgb, rgb)


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 65, 5), (5, 5, 5, 9), (9, 9, 5, 5)])
def test_regions_outside_the_picture_fail(region: tuple[int, int, int, int]) -> None:
    """A region that is empty or leaves the picture is refused by both directions."""
    picture = make("yuv420p")
    with pytest.raises(ValueError, match="region: expected"):
        picture.rgb(region)
    with pytest.raises(ValueError, match="region: expected"):
        picture.apply(region, np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5, 3), np.uint8))


def test_apply_fails_for_images_of_another_size() -> None:
    """Images must have the region's size."""
    with pytest.raises(ValueError, match=r"after: expected uint8 \[10, 20, 3\], got uint8 \[20, 10, 3\]"):
        make("yuv420p").apply((0, 0, 20, 10), np.zeros((10, 20, 3), np.uint8), np.zeros((20, 10, 3), np.uint8))


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_aligned_regions_grow_to_chroma_samples(orientation: Orientation) -> None:
    """An aligned region contains the asked one, stays inside, and its coded edges fall on the chroma grid."""
    picture = make("yuv420p", orientation=orientation, odd=True)
    region = picture.align_region((7, 5, 30, 29))
    assert (np.array(region[:2]) <= (7, 5)).all()
    assert (np.array(region[2:]) >= (30, 29)).all()
    coded = orientation.coded_region(region, picture.width, picture.height)
    assert coded[0] % 2 == coded[1] % 2 == 0
    assert coded[2] % 2 == 0 or coded[2] == 65
    assert picture.align_region((0, 0, picture.width, picture.height)) == (0, 0, picture.width, picture.height)


def test_aligned_regions_grow_to_a_multiple() -> None:
    """A further multiple is honoured together with the chroma grid."""
    assert align_region((7, 5, 30, 29), (64, 48), parse_native("yuv410p"), Orientation(), 6) == (0, 0, 36, 36)


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("yuv420p", "yuv420p"), ("yuvj422p", "yuv422p"), ("yuva444p10le", "yuv444p10le"), ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"), ("p010be", "yuv420p10le"), ("yuv420p10be", "yuv420p10le"), ("yuyv422", "yuv422p"),
        ("gray", "yuv420p"), ("gray10le", "yuv420p10le"), ("ya8", "yuv420p"), ("rgb24", "gbrp"), ("bgra", "gbrp"),
        ("pal8", "gbrp"), ("rgb48be", "gbrp16le"), ("rgba64le", "gbrp16le"), ("gbrap12le", "gbrp12le"),
        ("x2rgb10le", "gbrp10le"), ("gbrpf32le", "gbrp16le"), ("monob", "gbrp"),
    ],
)  # fmt: skip
def test_native_formats_keep_depth_and_chroma(name: str, native: str) -> None:
    """Every pixel format has a planar one that holds its samples."""
    assert nearest_native(name).name == native
    if name != "pal8":  # swscale reads palettes only
        frame = to_native(convert(av.VideoFrame.from_ndarray(pattern(3), "rgb24"), name, FULL_709), FULL_709)
        assert frame.format.name == native


def test_palettes_are_looked_up() -> None:
    """A picture with a palette shows its palette's colours."""
    palette = np.zeros((256, 4), np.uint8)
    palette[7] = (255, 10, 20, 30)  # alpha, red, green, blue
    frame = av.VideoFrame.from_ndarray((np.full((16, 16), 7, np.uint8), palette), "pal8")
    shown = Picture(to_native(frame, FULL_709), FULL_709).rgb()
    assert np.unique(shown.reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]


@pytest.mark.parametrize("name", ["yuvj420p", "nv12", "p010le", "bgr24", "rgb48le", "yuyv422"])
def test_native_formats_show_the_same_picture(name: str) -> None:
    """Bringing a frame into its native format does not change what it shows."""
    frame = convert(av.VideoFrame.from_ndarray(pattern(3), "rgb24"), name, FULL_709)
    shown = Picture(to_native(frame, FULL_709), FULL_709).rgb()
    assert np.abs(shown.astype(int) - pattern(3)).max() <= 6  # shared chroma


def test_gray_pictures_show_gray() -> None:
    """A gray frame becomes colourless YUV with its levels in its own range."""
    gray = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    picture = Picture(to_native(av.VideoFrame.from_ndarray(gray, "gray"), FULL_709), FULL_709)
    np.testing.assert_allclose(picture.rgb(), np.repeat(gray[..., None], 3, axis=2), atol=1)  # one rounding


def test_transparent_pictures_stand_on_black() -> None:
    """Transparent pixels become black, whatever colour hides in them, and half transparent ones half as bright."""
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[:8, :, 3] = 0
    rgba[8:, :8, 3] = 128
    rgba[8:, 8:, 3] = 255
    shown = Picture(to_native(av.VideoFrame.from_ndarray(rgba, "rgba"), FULL_709), FULL_709).rgb()
    assert (shown[:8] == 0).all()
    assert (shown[8:, :8] == 100).all()
    assert (shown[8:, 8:] == 200).all()


def test_coordinates_are_converted_to_a_region() -> None:
    """Points, points with depth and boxes are shifted by the region's corner; depth stays."""
    region = (10, 20, 300, 400)
    for coordinates, expected in [
        ([[12, 25]], [[2, 5]]), ([[12, 25, 7]], [[2, 5, 7]]), ([[12, 25, 40, 50]], [[2, 5, 30, 30]]),
    ]:  # fmt: skip
        result = relative_to(region, np.array(coordinates, np.float32))
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("name", "native"), [("gbrap", "gbrp"), ("gbrap10le", "gbrp10le"), ("gbrap12le", "gbrp12le")])
def test_opaque_pictures_stay_exact(name: str, native: str) -> None:
    """Every level of an opaque picture stays as it is, and half transparent ones are half as bright."""
    stored = parse_native(native)
    top = (1 << stored.depth) - 1
    frame = av.VideoFrame(top + 1, 2, name)
    for plane in range(4):
        plane_array(frame, plane, stored)[:] = np.arange(top + 1) if plane < 3 else top
    plane_array(frame, 3, stored)[1] = top // 2
    opaque = to_native(frame, ColorTags(range=2))
    assert opaque.format.name == native
    for plane in range(3):
        samples = plane_array(opaque, plane, stored).astype(int)
        np.testing.assert_array_equal(samples[0], np.arange(top + 1))
        np.testing.assert_allclose(samples[1], np.arange(top + 1) / 2, atol=1)


def test_changed_pixels_are_found_wherever_they_are() -> None:
    """The smallest box around them, whatever colour changed, and none where nothing did."""
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width, count = random.integers(1, 30), random.integers(1, 30), random.integers(0, 4)
        before = random.integers(0, 256, (height, width, 3), np.uint8)
        after = before.copy()
        for _ in range(count):
            after[random.integers(height), random.integers(width), random.integers(3)] ^= 1
        rows, columns = np.nonzero((before != after).any(axis=2))
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
        assert _changed_box(before, after) == box
