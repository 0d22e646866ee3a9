"""The clips of a live server: folders that `lipsync prepare` wrote, their frames decoded once for all sessions."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from client.errors import LipSyncError, MediaError
from client.live.idle import IdlePictures
from client.media import SourceFrame, TimelineFrame, VideoSource
from client.media.timeline import STILL_RATE
from client.options import END, START
from client.prepared.clip import FACES_PER_PART, PreparedClip
from client.prepared.known import Part
from client.prepared.options import kept_values
from lipsync_core.mouth import MouthProfile

NAME = re.compile(r"[a-z0-9_-]{1,64}")
CLIPS_VARIABLE = "LIPSYNC_CLIPS"
CACHE_BYTES = 1_000_000_000  # by default: 33 s of 512x512 at 25 frames per second, closed mouths included
ROOMS_PER_FRAME = 3  # as many bytes as the frames themselves, and twice as many for their closed mouths


class HeldClip:
    """A prepared clip in memory, to be shown back and forth without an end; what becomes of its folder changes nothing.

    Attributes:
        manifest: what the folder said about itself.
        video_fps: frames per second; the average where the rate varies.
        size: width and height, in pixels.
        color_tags: tags of its colours.
        nbytes: how much memory it may take.
        idle: pictures with closed mouths.
    """

    def __init__(self, prepared: PreparedClip, reserve: Callable[[HeldClip], None]) -> None:
        """Read the folder.

        Args:
            prepared: the clip.
            reserve: takes the memory before the frames are decoded; it is given this clip, of which `nbytes`, `size`
                and `manifest` are known by then.

        Raises:
            MediaError: the clip is damaged.
        """
        prepared.check_video()
        values = kept_values(prepared)
        video = VideoSource(prepared.video, values[START], values[END])
        self.manifest = prepared.manifest
        self._mouth = prepared.mouth_profile()
        self.size = (video.width, video.height)
        self.color_tags = video.tags
        self.video_fps = float(video.rate)
        self._faces = _parts(prepared.faces, self.manifest.frames, FACES_PER_PART)
        self._analyses = _parts(prepared.analysis, self.manifest.frames, self.manifest.analysed)
        self.nbytes = _nbytes([*self._faces, *self._analyses])
        self.nbytes += self.manifest.frames * ROOMS_PER_FRAME * video.frame_bytes
        reserve(self)
        self._time_base: Fraction = video.time_base
        self._frames = [_shared(frame) for frame in video.frames()]
        if len(self._frames) == 1 and video.is_still:
            self.video_fps = float(STILL_RATE)
            self._time_base = 1 / STILL_RATE
            self._frames = [SourceFrame(self._frames[0].picture, 0, 1, 0, 0.0)]
        self.idle = IdlePictures(2 * len(self._frames) * video.frame_bytes)

    def faces(self, number: int) -> Part:
        """Return all faces of FACES_PER_PART frames, see `client.prepared.known`."""
        return self._faces[number]

    def analysis(self, number: int) -> Part:
        """Return what the pipeline knows of the next `manifest.analysed` frames, see `client.prepared.known`."""
        return self._analyses[number]

    def mouth_profile(self) -> MouthProfile | None:
        """Return the speaker's mouth; None where no sample showed it."""
        return self._mouth

    def frames(self) -> Iterator[TimelineFrame]:
        """Yield the frames forward, backward from the last but one, forward from the second, and so on."""
        clock = 0
        for frame, duration in self._back_and_forth():
            yield TimelineFrame(
                frame.picture,
                clock,
                duration,
                frame.index,
                float(clock * self._time_base),
                float(duration * self._time_base),
            )
            clock += duration

    def _back_and_forth(self) -> Iterator[tuple[SourceFrame, int]]:
        frames = self._frames
        yield from ((frame, frame.duration) for frame in frames)
        while True:
            for frame in reversed(frames[:-1]):
                before = max(frame.index - 1, 0)
                yield frame, frames[before + 1].pts - frames[before].pts
            for frame in frames[1:] or frames:
                yield frame, frame.duration


def _parts(read: Callable[[int], Part], frames: int, frames_per_part: int) -> list[Part]:
    """Read all parts of a kind; there are none where `frames_per_part` is 0.

    Raises:
        MediaError: one is damaged.
    """
    return [read(number) for number in range(-(-frames // frames_per_part) if frames_per_part else 0)]


def _nbytes(parts: Sequence[Part]) -> int:
    return sum(array.nbytes for part in parts for array in part.values())


def _shared(frame: SourceFrame) -> SourceFrame:
    frame.picture.shared = True
    return frame


@dataclass
class _Entry:
    """A clip in memory, or one that is being decoded.

    Attributes:
        guard: held while it is decoded.
        clip: the clip; None before.
        nbytes: memory that is taken or reserved.
        users: sessions that show it.
    """

    guard: threading.Lock = field(default_factory=threading.Lock)
    clip: HeldClip | None = None
    nbytes: int = 0
    users: int = 0


class ClipStore:
    """Clips by name, shared by sessions. Those that nobody shows are kept while there is room, the last ones longest.

    Attributes:
        folder: where the clips are; None where the server has none.
    """

    def __init__(self, folder: Path | None, limit_bytes: int = CACHE_BYTES) -> None:
        """Take the folder, and how much memory all clips may take."""
        self.folder = folder
        self._limit = limit_bytes
        self._guard = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    @contextmanager
    def use(self, prepared: PreparedClip) -> Iterator[HeldClip]:
        """Give a clip that was found to a session.

        Raises:
            MediaError: it is damaged, or needs more memory than all clips together may take.
            LipSyncError: the clips that are shown leave no room for it at present.
        """
        key = (prepared.folder.name, prepared.manifest.digest)
        with self._guard:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            entry.users += 1
        try:
            yield self._decoded(entry, prepared)
        finally:
            with self._guard:
                entry.users -= 1
                if not entry.users and entry.clip is None:
                    self._entries.pop(key, None)
                self._make_room(0)

    def find(self, name: str) -> PreparedClip:
        """Return a clip as it is on disk.

        Raises:
            MediaError: there is none of this name, or it is damaged or of another version.
        """
        if not NAME.fullmatch(name):
            raise MediaError(
                about="clip", expected="a name of 1 to 64 lower-case letters, digits, - and _", got=repr(name[:80])
            )
        if self.folder is None:
            raise MediaError(
                about=name,
                expected="a server with clips",
                got="one without",
                advice=f"Start it with their folder in {CLIPS_VARIABLE}",
            )
        folder = self.folder / name
        if folder.is_symlink() or not folder.is_dir():
            raise MediaError(
                about=name,
                expected="a clip of the server",
                got="no such clip",
                advice="Prepare it into the server's folder of clips",
            )
        prepared = PreparedClip(folder)
        if Path(prepared.manifest.video).name != prepared.manifest.video or any(map(Path.is_symlink, folder.iterdir())):
            raise MediaError(about=name, expected="a clip whose files are its own", got="one with files elsewhere")
        return prepared

    def held_bytes(self) -> int:
        """Return how much memory the clips may take that are held."""
        with self._guard:
            return self._held_bytes()

    def _decoded(self, entry: _Entry, prepared: PreparedClip) -> HeldClip:
        with entry.guard:
            if entry.clip is None:
                try:
                    entry.clip = HeldClip(prepared, lambda clip: self._reserve(entry, prepared.folder.name, clip))
                except BaseException:
                    with self._guard:
                        entry.nbytes = 0
                    raise
            return entry.clip

    def _reserve(self, entry: _Entry, name: str, clip: HeldClip) -> None:
        """Take the memory that a clip needs, before anything is decoded.

        Raises:
            MediaError: all clips together may not take so much.
            LipSyncError: other clips take it at present.
        """
        needed = f"{clip.nbytes / 1e6:.0f} MB"
        if clip.nbytes > self._limit:
            width, height = clip.size
            raise MediaError(
                about=name,
                expected=f"a clip whose frames fit into {self._limit / 1e6:.0f} MB, closed mouths included",
                got=f"{clip.manifest.frames} frames of {width}x{height}, which need {needed}",
                advice="Prepare a shorter or smaller one, or raise the server's limit",
            )
        with self._guard:
            self._make_room(clip.nbytes)
            if self._held_bytes() + clip.nbytes > self._limit:
                raise LipSyncError(
                    about=name,
                    expected=f"room for its frames, {needed}",
                    got="a server whose other clips are all in use",
                    advice="Try again later, or raise the server's limit",
                )
            entry.nbytes = clip.nbytes

    def _make_room(self, wanted: int) -> None:
        """Drop clips that nobody shows, the oldest first, until there is room."""
        for key, entry in list(self._entries.items()):
            if self._held_bytes() + wanted <= self._limit:
                return
            if not entry.users:
                del self._entries[key]

    def _held_bytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())
