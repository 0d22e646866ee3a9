"""Learns the speakers' mouths from samples of a clip, before a job lip-syncs it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from typing import Generic, TypeVar

import numpy as np

from client.chunks import IN_FLIGHT, region_around
from client.flow import ordered_map
from client.media import Picture, SourceFrame, relative_to
from client.report import StageClock
from client.servers.calls import TritonCalls
from client.tracking.consecutive import open_finder
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import Face, FaceChoice
from client.tracking.finder import MEDIAPIPE, FoundFrame, needs_every_face
from client.tracking.landmarks import face_extent
from client.tracking.people import SpeakerLinks
from lipsync_core.mouth import MouthProfile, MouthProfileBuilder

MAX_SAMPLE_STEP = 8  # frames; on moving heads, samples as far apart as this are followed as well as frames are

FaceOfClip = FaceChoice | FaceBoxes
Key = TypeVar("Key", bound=Hashable)
Sample = FoundFrame[SourceFrame]


class MouthProfiles(Generic[Key]):
    """Learns the mouths of several faces in one look at a clip, when the first of them is asked for."""

    def __init__(
        self,
        triton: TritonCalls,
        clock: StageClock,
        sampled: Iterable[SourceFrame],
        faces: Mapping[Key, FaceOfClip],
        window_frames: int,
        wanted: Callable[[SourceFrame], Sequence[bool]] | None = None,
    ) -> None:
        """Take what is needed for the look.

        Args:
            triton: the server or servers, whose requests are given up if the scan ends early.
            clock: measures how long each step takes.
            sampled: frames of the clip, see `scan_frames`.
            faces: the faces that may be asked for, by any key.
            window_frames: frames per request.
            wanted: in which samples a face may be chosen, in the order of the faces; None for all samples.
        """
        self._triton = triton
        self._sampled = sampled
        self._faces = faces
        self._wanted = wanted
        every_face = needs_every_face(faces.values())
        self._finder = open_finder(triton, clock, MEDIAPIPE, every_face=every_face, max_step=MAX_SAMPLE_STEP)
        self._window_frames = window_frames

    def of(self, key: Key) -> MouthProfile | None:
        """Return the profile of a face; None where no sample shows it."""
        return self._profiles[key]

    @cached_property
    def _profiles(self) -> dict[Key, MouthProfile | None]:
        builders = {key: MouthProfileBuilder() for key in self._faces}
        windows = self._finder.windows(self._sampled, self._window_frames)
        with closing(ordered_map(self._finder.find, windows, IN_FLIGHT, self._triton.cancel)) as looked_at:
            for found, faces in self._faces_in(chain.from_iterable(looked_at)):
                for builder, face in zip(builders.values(), faces, strict=True):
                    if face is not None:
                        _add_sample(builder, found.frame.picture, face)
        return {key: builder.build() for key, builder in builders.items()}

    def _faces_in(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Sequence[Face | None]]]:
        """Yield each sample with the faces that are meant; of several, each is recognised by appearance."""
        faces = [face.everywhere if isinstance(face, FaceBoxes) else face for face in self._faces.values()]
        links = SpeakerLinks(faces, sparse=True)
        for found in samples:
            if len(faces) == 1 and self._wanted is None:
                yield found, [face_in(found, faces[0])]
            else:
                wanted = None if self._wanted is None else self._wanted(found.frame)
                yield found, [face for face, _ in links.next(found, wanted)]


def _add_sample(builder: MouthProfileBuilder, picture: Picture, face: Face) -> None:
    if face.landmarks is None:
        return
    region = region_around(face_extent(face.landmarks[None]), picture)
    if region is not None:
        builder.add(picture.rgb(region), relative_to(region, face.landmarks))


def face_in(found: Sample, face: FaceOfClip) -> Face | None:
    """Return the face that is meant in one frame by itself; None if the frame does not show it."""
    if isinstance(face, FaceBoxes):
        return face.pick(found.frame.index, found.faces)
    position = face.pick(found.faces)
    return None if position is None else found.faces[position]


def profile_of(frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> MouthProfile | None:
    """Gather the profile of faces uint8 RGB [H, W, 3] with landmarks float32 [468, 3]; None where there is none."""
    builder = MouthProfileBuilder()
    for frame, points in zip(frames, landmarks, strict=True):
        builder.add(frame, points)
    return builder.build()
