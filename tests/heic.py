"""Writes HEIC photographs that are stored as a grid of tiles, as phones do."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GRID_ITEM = 100


def write_tiled_heic(
    path: Path, picture: np.ndarray, tile: int, quarter_turns: int = 0, *, thumbnail: bool = False
) -> Path:
    """Store an RGB picture [h, w, 3] as square HEVC tiles; quarter turns are counter-clockwise."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(picture, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
    coded = [
        _encode(path.with_suffix(".mp4"), padded[y : y + tile, x : x + tile])
        for y in range(0, rows * tile, tile)
        for x in range(0, columns * tile, tile)
    ]
    if thumbnail:
        coded.append(_encode(path.with_suffix(".mp4"), np.ascontiguousarray(padded[:tile, :tile])))
    path.write_bytes(_file(coded, rows, columns, (width, height), tile, quarter_turns, thumbnail))
    return path


def _encode(scratch: Path, rgb: np.ndarray) -> tuple[bytes, bytes]:
    """Return a picture's decoder configuration (hvcC) and its coded data."""
    with av.open(str(scratch), "w") as container:
        options = {"preset": "ultrafast", "x265-params": "log-level=none:qp=4:pools=1:bframes=0"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 2, 1, 1, 1
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=2, src_color_range=2)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(scratch)) as container:
        stream = container.streams.video[0]
        data = bytes(next(packet for packet in container.demux(stream) if packet.size))
        return bytes(stream.codec_context.extradata), data


def _box(kind: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", len(content) + 8, kind.encode()) + content


def _full(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _file(
    coded: list[tuple[bytes, bytes]],
    rows: int,
    columns: int,
    size: tuple[int, int],
    tile: int,
    quarter_turns: int,
    thumbnail: bool,
) -> bytes:
    tiles = list(range(1, rows * columns + 1))
    items = list(range(1, len(coded) + 1))
    start = _box("ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")
    grid = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, *size)
    properties = _box("ipco", _box("hvcC", coded[0][0]), _full("ispe", 0, 0, struct.pack(">2I", tile, tile)),
                      _full("ispe", 0, 0, struct.pack(">2I", *size)), _box("irot", bytes([quarter_turns])))  # fmt: skip
    associations = [struct.pack(">HB2B", item, 2, 0x80 | 1, 2) for item in items]
    associations.append(struct.pack(">HB2B", GRID_ITEM, 2, 3, 0x80 | 4))
    names = [_full("infe", 2, int(item in tiles), struct.pack(">2H", item, 0), b"hvc1\0") for item in items]
    names.append(_full("infe", 2, 0, struct.pack(">2H", GRID_ITEM, 0), b"grid\0"))
    references = [_box("dimg", struct.pack(f">2H{len(tiles)}H", GRID_ITEM, len(tiles), *tiles))]
    if thumbnail:
        references.append(_box("thmb", struct.pack(">3H", items[-1], 1, GRID_ITEM)))

    def meta(data_start: int) -> bytes:
        places, at = [], data_start
        for item, (_, data) in zip(items, coded, strict=True):
            places.append(struct.pack(">4H2I", item, 0, 0, 1, at, len(data)))
            at += len(data)
        places.append(struct.pack(">4H2I", GRID_ITEM, 1, 0, 1, 0, len(grid)))
        return _full(
            "meta", 0, 0,
            _full("hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            _full("pitm", 0, 0, struct.pack(">H", GRID_ITEM)),
            _full("iloc", 1, 0, b"\x44\0", struct.pack(">H", len(places)), *places),
            _full("iinf", 0, 0, struct.pack(">H", len(names)), *names),
            _full("iref", 0, 0, *references),
            _box("iprp", properties, _full("ipma", 0, 0, struct.pack(">I", len(associations)), *associations)),
            _box("idat", grid),
        )  # fmt: skip

    header = len(start) + len(meta(0)) + 8
    return start + meta(header) + _box("mdat", *(data for _, data in coded))
