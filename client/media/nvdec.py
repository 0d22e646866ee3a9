"""Decoders in NVIDIA's graphics cards, and their frames in the formats of the processor. Not run on a card yet."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import av
import numpy as np
from av.codec.hwaccel import HWAccel

from client.media.pixels import NativeFormat, parse_native, plane_array

KEPT = ("pts", "dts", "time_base", "duration", "color_range", "colorspace", "color_primaries", "color_trc")
SHIFTS = {"nv12": 0, "p010le": 6}  # formats of cards: empty bits below each sample


@dataclass(frozen=True)
class CardDecoder:
    """A decoder in a graphics card.

    Attributes:
        accelerator: opens it.
        pix_fmt: pixel format that the processor would give; frames of the card are rearranged to it.
    """

    accelerator: HWAccel
    pix_fmt: str


def planar(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """Rearrange a card's frame, in any of SHIFTS, to a planar format; every sample, its time and its tags stay."""
    shift, native = SHIFTS[frame.format.name], planar_format(pix_fmt)
    rearranged = av.VideoFrame(frame.width, frame.height, pix_fmt)
    plane_array(rearranged, 0, native)[:] = plane_array(frame, 0, native) >> shift
    chroma = frame.planes[1]
    shape = (chroma.height, chroma.line_size // native.dtype.itemsize)
    pairs = np.ndarray(shape, native.dtype, buffer=memoryview(chroma)) >> shift
    for plane in (1, 2):
        target = plane_array(rearranged, plane, native)
        target[:] = pairs[:, plane - 1 : 2 * target.shape[1] : 2]
    for name in KEPT:
        setattr(rearranged, name, getattr(frame, name))
    rearranged.opaque = copy(frame.opaque)  # PyAV drops an object with the first of its frames
    return rearranged


def planar_format(pix_fmt: str) -> NativeFormat:
    """Return how samples of a planar format are stored; the old yuvj formats differ by their range alone."""
    return parse_native(pix_fmt.replace("yuvj", "yuv"))
