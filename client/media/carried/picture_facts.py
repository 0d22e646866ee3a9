"""What a video's pictures say about themselves beside size and colours, from frames to encoders and containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from client.media.carried.chroma import LEFT, add_chroma_location, keeps_chroma_location, turned_location
from client.media.carried.hdr import StaticHdr
from client.media.carried.stereo import Stereo
from client.media.geometry import Orientation

HDR_NAME = "its HDR10 mastering display and light levels"
CHROMA_NAME = "where its chroma samples lie"
STEREO_NAME = "stereo 3D"


@dataclass(frozen=True)
class PictureFacts:
    """What a video's pictures say about themselves.

    Attributes:
        hdr: mastering display and light levels.
        chroma_location: where chroma samples lie, as H.273 counts; None if that is not stated or they are not shared.
        stereo: how the views for two eyes are packed; None for one view.
    """

    hdr: StaticHdr = field(default_factory=StaticHdr)
    chroma_location: int | None = None
    stereo: Stereo | None = None

    def turned(self, orientation: Orientation) -> PictureFacts:
        """Return what holds after the pixels were made upright."""
        return replace(
            self,
            chroma_location=turned_location(self.chroma_location, orientation),
            stereo=None if self.stereo is None else self.stereo.turned(orientation),
        )

    def add_to(self, options: Mapping[str, str], encoder: str) -> dict[str, str]:
        """Return an encoder's options with these facts among its parameters, as far as it states any."""
        added = add_chroma_location(self.hdr.add_to(options, encoder), self.chroma_location, encoder)
        return added if self.stereo is None else self.stereo.add_to(added, encoder)

    def tags(self, muxer: str) -> dict[str, str]:
        """Return the tags of the video with which a container states them."""
        return {} if self.stereo is None else self.stereo.tags(muxer)

    def missing_in(self, muxer: str, encoder: str) -> Iterator[str]:
        """Yield the names of what neither the container nor the encoder states."""
        if not self.hdr.kept_by(encoder):
            yield HDR_NAME
        if not keeps_chroma_location(self.chroma_location, encoder):
            yield CHROMA_NAME
        if self.stereo is not None and not self.stereo.kept_by(muxer, encoder):
            yield STEREO_NAME

    def names(self) -> Iterator[str]:
        """Yield the names of what is stated."""
        if self.hdr.is_stated:
            yield HDR_NAME
        if self.chroma_location not in (None, LEFT):
            yield CHROMA_NAME
        if self.stereo is not None:
            yield STEREO_NAME
