"""Learns a speaker's mouth from samples of a clip, before a job lip-syncs it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import chain

import numpy as np

from client.chunks import IN_FLIGHT, region_around
from client.flow import batched, ordered_map
from client.media import SourceFrame, relative_to
from client.servers.calls import TritonCalls
from client.tracking.faces import FaceChoice
from client.tracking.finder import FaceFinder
from client.tracking.landmarks import face_extent
from lipsync_core.mouth import MouthProfile, MouthProfileBuilder


def scan_mouth(
    triton: TritonCalls, finder: FaceFinder, sampled: Iterable[SourceFrame], choice: FaceChoice, window_frames: int
) -> MouthProfile | None:
    """Gather the profile of the chosen face; None where no sample shows it.

    Args:
        triton: the server or servers, whose requests are given up if the scan ends early.
        finder: finds the faces, with landmarks.
        sampled: frames of the clip, see `scan_frames`.
        choice: which of several faces.
        window_frames: frames per request.
    """
    builder = MouthProfileBuilder()
    windows = batched(sampled, window_frames)
    with closing(ordered_map(finder.find, windows, IN_FLIGHT, triton.cancel)) as looked_at:
        for found in chain.from_iterable(looked_at):
            position = choice.pick(found.faces)
            landmarks = None if position is None else found.faces[position].landmarks
            if landmarks is None:
                continue
            region = region_around(face_extent(landmarks[None]), found.frame.picture)
            if region is not None:
                builder.add(found.frame.picture.rgb(region), relative_to(region, landmarks))
    return builder.build()


def profile_of(frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> MouthProfile | None:
    """Gather the profile of faces uint8 RGB [H, W, 3] with landmarks float32 [468, 3]; None where there is none."""
    builder = MouthProfileBuilder()
    for frame, points in zip(frames, landmarks, strict=True):
        builder.add(frame, points)
    return builder.build()
