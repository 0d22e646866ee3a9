"""How many frames travel in a request, which part of them, and how many requests at once."""

from __future__ import annotations

import numpy as np

from client.media import Picture, Region

IN_FLIGHT = 2  # requests of each kind in flight per server: one is computed while the next one is transferred
MAX_CHUNK_FRAMES = 16
REGION_STEP = 32  # pixels: few different request sizes keep the server's shared memory from fragmenting
HELD_BYTES = 90_000_000  # of decoded frames between decoder and encoder
HELD_CHUNKS = 2 * IN_FLIGHT + 2  # decoded ahead, searched for faces, being lip-synced, being written
FAN_OUT_SERVERS = 8  # one job keeps at most so many of them busy
FAN_OUT_BYTES = 1_000_000_000  # of decoded frames in requests of one kind: 8 servers at 1920x1080, 16 frames a request


def chunk_frames(frame_bytes: int) -> int:
    """Choose the number of frames per request, so that the frames held at once for one server fit into HELD_BYTES.

    It does not depend on the number of servers, so that neither do the result and the parts kept in a work folder.
    """
    return max(1, min(MAX_CHUNK_FRAMES, HELD_BYTES // (HELD_CHUNKS * max(frame_bytes, 1))))


def requests_in_flight(server_count: int, chunk_bytes: int) -> int:
    """Choose the number of requests of one kind in flight, so that their frames fit into FAN_OUT_BYTES.

    A frame is held until the answer for its chunk has come, so that frames count whole, not the regions that travel.
    """
    busy = min(server_count, FAN_OUT_SERVERS)
    return max(IN_FLIGHT, min(IN_FLIGHT * busy, FAN_OUT_BYTES // max(chunk_bytes, 1)))


def region_around(extent: tuple[float, float, float, float], picture: Picture) -> Region | None:
    """Return the part of a picture that an extent (x1, y1, x2, y2 in pixels) covers; None if it lies outside.

    Its edges are grown to multiples of REGION_STEP, within the picture.
    """
    size = np.array([picture.width, picture.height])
    x1, y1 = np.clip(np.floor(extent[:2]), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(extent[2:]), 0, size).astype(int).tolist()
    return picture.align_region((x1, y1, x2, y2), REGION_STEP) if x1 < x2 and y1 < y2 else None
