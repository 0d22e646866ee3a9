"""Stereo 3D: how the views for two eyes are packed into one picture, from frames to encoders and containers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import av

from client.media.carried.hdr import frame_data
from client.media.carried.parameters import with_parameters
from client.media.geometry import Orientation

LAYOUT = struct.Struct("=2i")  # the front of AVStereo3D: type and flags
SIDE_BY_SIDE, TOP_BOTTOM, CHECKERBOARD, LINES, COLUMNS = 1, 2, 4, 6, 7  # AVStereo3DType
INVERTED = 1  # AV_STEREO3D_FLAG_INVERT
MATROSKA_KEY = "stereo_mode"

TRANSPOSED = {SIDE_BY_SIDE: TOP_BOTTOM, TOP_BOTTOM: SIDE_BY_SIDE, LINES: COLUMNS, COLUMNS: LINES}
ALONG_X = (SIDE_BY_SIDE, COLUMNS, CHECKERBOARD)  # mirrored along x, the other eye's view comes first
ALONG_Y = (TOP_BOTTOM, LINES, CHECKERBOARD)

# AVStereo3DType -> Matroska's names, the left eye first and the right eye first
MATROSKA_MODES = {
    SIDE_BY_SIDE: ("left_right", "right_left"),
    TOP_BOTTOM: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    CHECKERBOARD: ("checkerboard_lr", "checkerboard_rl"),
    LINES: ("row_interleaved_lr", "row_interleaved_rl"),
    COLUMNS: ("col_interleaved_lr", "col_interleaved_rl"),
}
X264_PACKINGS = {
    SIDE_BY_SIDE: 3,
    TOP_BOTTOM: 4,
    3: 5,
    CHECKERBOARD: 0,
    LINES: 2,
    COLUMNS: 1,
}  # AVStereo3DType -> frame packing arrangement of H.264


@dataclass(frozen=True)
class Stereo:
    """A packing of two views.

    Attributes:
        kind: FFmpeg's number (AVStereo3DType).
        right_first: whether the right eye's view comes first.
    """

    kind: int
    right_first: bool

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> Stereo | None:
        """Read a frame's packing; None if it shows one view."""
        data = frame_data(frame).get("STEREO3D", b"")
        if len(data) < LAYOUT.size:
            return None
        kind, flags = LAYOUT.unpack_from(data)
        return cls(kind, bool(flags & INVERTED)) if kind else None

    def turned(self, orientation: Orientation) -> Stereo:
        """Return the packing after the pixels were made upright; sizes are taken to be even."""
        kind = TRANSPOSED.get(self.kind, self.kind) if orientation.transposed else self.kind
        swaps = (orientation.mirrored_x and kind in ALONG_X) != (orientation.mirrored_y and kind in ALONG_Y)
        return Stereo(kind, self.right_first != swaps)

    def tags(self, muxer: str) -> dict[str, str]:
        """Return the tags with which a container states it; none if it cannot."""
        modes = MATROSKA_MODES.get(self.kind)
        return {MATROSKA_KEY: modes[self.right_first]} if modes and muxer in ("matroska", "webm") else {}

    def add_to(self, options: Mapping[str, str], encoder: str) -> dict[str, str]:
        """Return an encoder's options with the packing among its parameters, if it states any."""
        if not self._is_stated_by(encoder):
            return dict(options)
        return with_parameters(options, encoder, f"frame-packing={X264_PACKINGS[self.kind]}")

    def kept_by(self, muxer: str, encoder: str) -> bool:
        """Return whether the container or the stream states it."""
        return bool(self.tags(muxer)) or self._is_stated_by(encoder)

    def _is_stated_by(self, encoder: str) -> bool:
        return encoder == "libx264" and self.kind in X264_PACKINGS and not self.right_first
