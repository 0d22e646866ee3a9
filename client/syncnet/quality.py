"""SyncNet's figures of the faces of a result, measured while it is written, for the report on its quality."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from client.media import AudioSource, TimelineFrame
from client.syncnet.cropper import HasRgb, box_to_crop
from client.syncnet.distances import FaceDistances, ticks_between
from client.syncnet.embedded_sound import EmbeddedSound
from client.syncnet.sound import VideoSound
from client.syncnet.towers import Towers
from client.tracking.faces import Face
from lipsync_core.syncnet.distances import score

LEAST_WINDOWS = 25  # a second; fewer tell little


@dataclass(frozen=True)
class SyncFigures:
    """How well a face and its sound agree by SyncNet.

    As papers give it, but that the ends of a clip are compared with the sound that is there, not with zeros: figures of
    clips of a few seconds are lower here.

    Attributes:
        lse_c: LSE-C, the confidence; higher is better.
        lse_d: LSE-D, the smallest mean distance; lower is better.
        offset_frames: frames of 40 ms by which the sound is early; negative if it is late.
        windows: windows of 0.2 s that were compared.
    """

    lse_c: float
    lse_d: float
    offset_frames: int
    windows: int


class SyncMeter:
    """Measures each speaker's face against the speaker's voice."""

    def __init__(self, towers: Towers, voices: Sequence[AudioSource]) -> None:
        """Take SyncNet, see `client.syncnet.towers.towers_of`, and the voice of each speaker."""
        self._faces = [FaceDistances(towers, EmbeddedSound(towers, VideoSound(voice))) for voice in voices]

    def see(self, speaker: int, frame: TimelineFrame, picture: HasRgb, face: Face, track: Hashable) -> None:
        """Take a speaker's face in a frame of the result; called in the order of frames.

        Args:
            speaker: the position of the speaker.
            frame: when the picture is shown.
            picture: the picture as it is written.
            face: the speaker's face in it.
            track: what is followed; changes with a cut, and with another person.

        Raises:
            LipSyncError: the server fails.
        """
        for tick in ticks_between(frame.time_s, frame.time_s + frame.duration_s):
            self._faces[speaker].add(tick, picture, box_to_crop(face), track)

    def figures(self, speaker: int) -> SyncFigures | None:
        """Return a speaker's figures; None for a face that was hardly in view.

        Raises:
            ValueError: the networks gave numbers that are not finite.
            LipSyncError: the server fails.
        """
        self._faces[speaker].end()
        _, distances = self._faces[speaker].table()
        if len(distances) < LEAST_WINDOWS:
            return None
        found = score(distances)
        return SyncFigures(round(found.lse_c, 3), round(found.lse_d, 3), found.offset, found.windows)
