"""Photographs that are stored as a grid of tiles, as phones write HEIC and AVIF: finds the grid, and joins the tiles.

Source: ISO/IEC 14496-12 (boxes) and ISO/IEC 23008-12 (image grid, rotation, mirroring).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from client.errors import MediaError
from client.media.geometry import Orientation
from client.media.opening import read_packets
from client.media.picture import PLANES
from client.media.pixels import ColorTags, nearest_native, plane_array, to_native
from client.shortage import raise_if_short

MAX_META_BYTES = 1 << 24  # of the box that describes a file's pictures

Box = tuple[str, bytes]
TileKind = tuple[str, int, int]  # pixel format, width, height


@dataclass(frozen=True)
class TileGrid:
    """How a picture is made of tiles.

    Attributes:
        tiles: ids of the tiles' streams, row by row.
        columns: tiles per row.
        width: width of the picture, in pixels; the last column may reach beyond it.
        height: height of the picture, in pixels; the last row may reach beyond it.
        orientation: how the picture is made upright.
    """

    tiles: tuple[int, ...]
    columns: int
    width: int
    height: int
    orientation: Orientation


def find_grid(container: InputContainer, chosen: VideoStream, path: Path) -> TileGrid | None:
    """Return the grid of a file's main picture; None if it is stored in one piece or is no photograph.

    Raises:
        MediaError: the picture is made of parts in a way that is not understood.
    """
    if not any(stream.disposition & Disposition.dependent for stream in container.streams.video):
        return None
    try:
        grid = _read_grid(path)
    except (struct.error, LookupError, ValueError, OverflowError, OSError):
        grid = None
    if grid is None and chosen.disposition & Disposition.dependent:
        raise MediaError(
            about=path,
            expected="a picture in one piece or in a grid of tiles",
            got="another kind of parts",
            advice="Convert it to jpg or png first",
        )
    return grid


def decode_grid(container: InputContainer, grid: TileGrid, path: Path) -> Iterator[av.VideoFrame]:
    """Yield the one picture that a grid's tiles make, in a native format.

    Raises:
        MediaError: a tile is missing, damaged or unlike the first, or the tiles do not cover the picture.
    """
    streams = {stream.id: stream for stream in container.streams.video if stream.id in grid.tiles}
    for stream in streams.values():
        stream.codec_context.thread_count = 1
    canvas: av.VideoFrame | None = None
    first: TileKind | None = None
    missing = set(grid.tiles)
    for packet in read_packets(container, list(streams.values()), lambda: None):
        for frame in _decoded(packet):
            kind = (frame.format.name, frame.width, frame.height)
            if first is None and _covers(grid, frame):
                canvas, first = _canvas(frame, grid), kind
            if kind != first or canvas is None:
                continue
            for place in [place for place, tile in enumerate(grid.tiles) if tile == packet.stream.id]:
                _paste(to_native(frame, ColorTags.of_frame(frame)), canvas, *divmod(place, grid.columns))
            missing.discard(packet.stream.id)
    if missing or canvas is None:
        raise MediaError(
            about=path,
            expected=f"a picture of {len(grid.tiles)} tiles",
            got=f"{len(missing)} damaged, missing or unfit ones",
            advice="Copy or export it again",
        )
    yield canvas


def _decoded(packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError as error:
        raise_if_short(error)
        return []


def _covers(grid: TileGrid, tile: av.VideoFrame) -> bool:
    """Return whether tiles of this size leave no part of the picture open."""
    rows = len(grid.tiles) // grid.columns
    return tile.width * grid.columns >= grid.width and tile.height * rows >= grid.height


def _canvas(tile: av.VideoFrame, grid: TileGrid) -> av.VideoFrame:
    canvas = av.VideoFrame(grid.width, grid.height, nearest_native(tile.format.name).name)
    tags = ColorTags.of_frame(tile)
    canvas.color_range, canvas.colorspace = tags.range, tags.space
    canvas.color_primaries, canvas.color_trc = tags.primaries, tags.transfer
    canvas.pts, canvas.time_base = 0, tile.time_base
    return canvas


def _paste(tile: av.VideoFrame, canvas: av.VideoFrame, row: int, column: int) -> None:
    native = nearest_native(tile.format.name)
    for plane in range(PLANES):
        samples, target = plane_array(tile, plane, native), plane_array(canvas, plane, native)
        height, width = samples.shape
        part = target[row * height : (row + 1) * height, column * width : (column + 1) * width]
        part[:] = samples[: part.shape[0], : part.shape[1]]


def _read_grid(path: Path) -> TileGrid | None:
    meta = dict(_boxes(_meta(path)[4:]))
    main = _number(meta["pitm"], 4, wide=meta["pitm"][0] > 0)
    if _kinds(meta["iinf"]).get(main) != "grid":
        return None
    data = _content(meta, main, path)
    deep = data[1] & 1
    rows, columns = data[2] + 1, data[3] + 1
    width, height = struct.unpack_from(">2I" if deep else ">2H", data, 4)
    tiles = _tiles(meta["iref"], main)
    if len(tiles) != rows * columns or not width or not height:
        return None
    return TileGrid(tiles, columns, width, height, _orientation(dict(_boxes(meta["iprp"])), main))


def _meta(path: Path) -> bytes:
    """Read the box that describes the pictures."""
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, kind = struct.unpack_from(">I4s", header)
            start = 8
            if size == 1:
                (size,), start = struct.unpack_from(">Q", header, 8), 16
            if kind == b"meta" and size <= MAX_META_BYTES:
                file.seek(start - len(header), 1)
                return file.read(size - start)
            if size < start:
                break
            file.seek(size - len(header), 1)
    raise KeyError("meta")


def _boxes(data: bytes) -> Iterator[Box]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind.decode("latin-1"), data[at + 8 : at + size]
        at += size


def _number(data: bytes, at: int, *, wide: bool) -> int:
    return int(struct.unpack_from(">I" if wide else ">H", data, at)[0])


def _kinds(iinf: bytes) -> dict[int, str]:
    """Return the kind of each item."""
    kinds = {}
    for name, entry in _boxes(iinf[8 if iinf[0] else 6 :]):
        if name == "infe" and entry[0] >= 2:
            wide = entry[0] > 2
            at = 10 if wide else 8
            kinds[_number(entry, 4, wide=wide)] = entry[at : at + 4].decode("latin-1")
    return kinds


def _content(meta: Mapping[str, bytes], item: int, path: Path) -> bytes:
    """Read an item that is stored in one piece."""
    iloc = meta["iloc"]
    version = iloc[0]
    sizes = (iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version else 0)  # offset, length, base, index
    wide = version == 2
    at = 10 if wide else 8
    while at < len(iloc):
        found, at = _number(iloc, at, wide=wide), at + (4 if wide else 2)
        method, at = (iloc[at + 1] & 15, at + 2) if version else (0, at)
        at += 2  # data reference
        base, at = int.from_bytes(iloc[at : at + sizes[2]], "big"), at + sizes[2]
        count, at = _number(iloc, at, wide=False), at + 2
        extent = sizes[3] + sizes[0] + sizes[1]
        if found == item:
            at += sizes[3]
            offset = base + int.from_bytes(iloc[at : at + sizes[0]], "big")
            length = int.from_bytes(iloc[at + sizes[0] : at + sizes[0] + sizes[1]], "big")
            if method == 1:
                return meta["idat"][offset : offset + length]
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(min(length, MAX_META_BYTES))
        at += count * extent
    raise KeyError(item)


def _tiles(iref: bytes, item: int) -> tuple[int, ...]:
    """Return the items that an item is derived from."""
    wide = iref[0] > 0
    step = 4 if wide else 2
    for kind, entry in _boxes(iref[4:]):
        if kind == "dimg" and _number(entry, 0, wide=wide) == item:
            count = _number(entry, step, wide=False)
            return tuple(_number(entry, step + 2 + step * i, wide=wide) for i in range(count))
    return ()


def _orientation(iprp: Mapping[str, bytes], item: int) -> Orientation:
    """Return an item's rotation and mirroring, which apply in the order in which they are listed."""
    properties = list(_boxes(iprp["ipco"]))
    corners = shown = np.arange(6).reshape(2, 3)
    for index in _associated(iprp["ipma"], item):
        kind, data = properties[index - 1]
        if kind == "irot":
            shown = np.rot90(shown, data[0] & 3)
        elif kind == "imir":
            shown = shown[:, ::-1] if data[0] & 1 else shown[::-1]
    every = (Orientation(*choice) for choice in product((False, True), repeat=3))
    return next(each for each in every if np.array_equal(each.upright(corners), shown))


def _associated(ipma: bytes, item: int) -> Iterator[int]:
    """Yield the numbers of an item's properties, from 1."""
    wide_id, wide_index = ipma[0] > 0, bool(ipma[3] & 1)
    at = 8
    for _ in range(struct.unpack_from(">I", ipma, 4)[0]):
        found, at = _number(ipma, at, wide=wide_id), at + (4 if wide_id else 2)
        count, at = ipma[at], at + 1
        for _ in range(count):
            index, at = (_number(ipma, at, wide=False) & 0x7FFF, at + 2) if wide_index else (ipma[at] & 0x7F, at + 1)
            if found == item and index:
                yield index
