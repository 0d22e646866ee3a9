"""Photographs that are stored as tiles are read whole."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError
from client.media import VideoSource
from tests.heic import write_tiled_heic
from tests.media_clips import copy_video, pattern, read_frames

WIDTH, HEIGHT, TILE = 150, 101, 64  # three columns and two rows, the last ones cropped


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
@pytest.mark.parametrize("thumbnail", [False, True])
def test_a_tiled_photograph_is_read_whole(tmp_path: Path, quarter_turns: int, thumbnail: bool) -> None:
    """All tiles are joined, cropped to the picture's size, and turned upright; a thumbnail beside them is not used."""
    picture = pattern(3, WIDTH, HEIGHT)
    source = VideoSource(write_tiled_heic(tmp_path / "p.heic", picture, TILE, quarter_turns, thumbnail=thumbnail))
    assert source.is_still
    (frame,) = source.frames()
    upright = np.rot90(picture, quarter_turns)
    assert (source.height, source.width) == upright.shape[:2]
    assert np.abs(frame.picture.rgb().astype(int) - upright).mean() < 3
    assert source.warnings == []


def test_a_tiled_photograph_can_be_shown(tmp_path: Path) -> None:
    """It is written like any other still."""
    source = VideoSource(write_tiled_heic(tmp_path / "p.heic", pattern(3, 128, 96), TILE))
    copy_video(source, tmp_path / "out.mp4")
    shown = read_frames(tmp_path / "out.mp4")[0]
    assert (shown.width, shown.height) == (128, 96)


def test_a_photograph_fails_when_a_tile_is_damaged(tmp_path: Path) -> None:
    """A picture with a hole is refused in one line."""
    path = write_tiled_heic(tmp_path / "p.heic", pattern(3, WIDTH, HEIGHT), TILE)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(MediaError, match="expected a picture of 6 tiles, got 1 damaged, missing or unfit"):
        VideoSource(path)


def test_a_photograph_fails_that_its_tiles_do_not_cover(tmp_path: Path) -> None:
    """Nothing else may show through the gap."""
    path = write_tiled_heic(tmp_path / "p.heic", pattern(3, WIDTH, HEIGHT), TILE)
    size, larger = (n.to_bytes(2, "big") + HEIGHT.to_bytes(2, "big") for n in (WIDTH, 4 * TILE))
    path.write_bytes(path.read_bytes().replace(size, larger))
    with pytest.raises(MediaError, match="expected a picture of 6 tiles, got 6 damaged, missing or unfit"):
        VideoSource(path)


def test_a_huge_tiled_photograph_fails(tmp_path: Path) -> None:
    """The size of the whole counts, before anything is decoded."""
    path = write_tiled_heic(tmp_path / "p.heic", pattern(3, WIDTH, HEIGHT), TILE)
    size = WIDTH.to_bytes(2, "big") + HEIGHT.to_bytes(2, "big")
    path.write_bytes(path.read_bytes().replace(size, b"\xff\xff\xff\xff"))
    with pytest.raises(MediaError, match=r"at most 64 megapixels.*got 65535x65535"):
        VideoSource(path)


def test_a_photograph_of_other_parts_fails(tmp_path: Path) -> None:
    """One part of a picture whose arrangement is not understood is not taken for the whole."""
    path = write_tiled_heic(tmp_path / "p.heic", pattern(3, WIDTH, HEIGHT), TILE)
    path.write_bytes(path.read_bytes().replace(b"grid\0", b"iovl\0"))
    with pytest.raises(MediaError, match="expected a picture in one piece or in a grid of tiles"):
        VideoSource(path)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_descriptions_end_in_one_line(tmp_path: Path, seed: int) -> None:
    """Whatever bytes describe the tiles, the picture is read or refused."""
    path = write_tiled_heic(tmp_path / "p.heic", pattern(3, WIDTH, HEIGHT), TILE)
    data, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(4):
        data[chance.randrange(24, data.index(b"mdat"))] = chance.randrange(256)
    path.write_bytes(data)
    with contextlib.suppress(MediaError):
        VideoSource(path)
