"""Everything in the source beside its picture and the speech: carried into the output, or named as left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import OutputContainer
from av.stream import Disposition

from client.media.carried.further import FurtherStreams, TimedPacket
from client.media.carried.picture_facts import PictureFacts
from client.media.carried.tags import FileTags, read_tags
from client.media.choosing import choose_stream, replaced_sound
from client.media.containers import Container
from client.media.geometry import Orientation
from client.media.opening import open_media
from client.media.pixels import COLOR_UNSPECIFIED, ColorTags
from client.media.source import VideoSource


class Extras:
    """What an output takes over from its source beside picture and speech.

    Args:
        source: the video.
        container: the output's format.
        encoder: FFmpeg's name of the video encoder.
        speech: the file that the speech comes from; None if there is none.
        anonymous: leave out everything that tells about the file.
        turn: how pixels are turned before they are encoded.
    """

    def __init__(
        self,
        source: VideoSource,
        container: Container,
        encoder: str,
        *,
        speech: Path | None,
        anonymous: bool,
        turn: Orientation,
    ) -> None:
        """Read what the source says about itself."""
        self._source = source
        self._container = container
        self._encoder = encoder
        self._anonymous = anonymous
        self._facts = source.facts.pictures.turned(turn)
        self._tags = FileTags() if anonymous else self._read_tags(speech)
        self._streams: FurtherStreams | None = None
        self._carries_streams = True
        self._refused: list[str] = []

    @property
    def muxer_flags(self) -> tuple[str, ...]:
        """Flags that the mp4 and mov muxers need for these tags."""
        quicktime = self._container.has_edit_lists and self._tags.needs_quicktime_keys
        return ("use_metadata_tags",) if quicktime else ()

    def encoder_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """Add what the source's pictures say about themselves to an encoder's options."""
        return self._facts.add_to(options, self._encoder)

    @property
    def states_picture_facts(self) -> bool:
        """Whether the encoder or the muxer is told anything that the source's pictures say about themselves."""
        return bool(self.encoder_options({}) or self._facts.tags(self._container.muxer))

    def drop_picture_facts(self) -> None:
        """Leave out what the source's pictures say about themselves, for encoders that refuse to state it."""
        self._refused += self._facts.names()
        self._facts = PictureFacts()

    def drop_everything(self) -> None:
        """Leave out everything, for muxers that refuse some of it."""
        self.drop_picture_facts()
        self._carries_streams = False

    def declare(self, output: OutputContainer, video: Any, sound: Any | None) -> None:
        """Add tags and streams to an output, before its header is written."""
        if not self._carries_streams:
            return
        self._tags.write(output, video, self._container)
        video.metadata.update(self._facts.tags(self._container.muxer))
        if not self._source.is_still:
            self._streams = FurtherStreams(
                output, self._container, self._source.path, self._source.origin_s, anonymous=self._anonymous
            )
        if sound is not None and len(output.streams.audio) > 1:
            sound.disposition = Disposition.default

    def packets(self) -> Iterator[TimedPacket]:
        """Yield the packets of the further streams, each with its start in seconds."""
        if self._streams is not None:
            yield from self._streams.packets()

    def finish(self, output: OutputContainer, end_s: Fraction) -> None:
        """Add what depends on when the output's picture ends, before the output is closed."""
        self._tags = self._tags.until(end_s)
        self._tags.write_chapters(output, self._container)

    def give_up(self, stream: Any) -> None:
        """Leave out the rest of a stream of the output whose packets its muxer refuses."""
        if self._streams is not None:
            self._streams.give_up(stream)

    def close(self) -> None:
        """Close the source, and forget what was declared."""
        if self._streams is not None:
            self._streams.close()
        self._streams = None

    def warnings(self, written: Path, tags: ColorTags) -> list[str]:
        """Name in one line what the source has and a complete output lacks.

        Args:
            written: the output.
            tags: colour tags that it should have.
        """
        lost = [*self._source.facts.lost, *self._tags.missing_in(written, self._container), *self._refused]
        lost += self._facts.missing_in(self._container.muxer, self._encoder)
        if not _states(written, tags):
            lost.append("its colour tags")
        if not self._source.is_still:
            lost += ["further streams"] if self._streams is None else self._streams.left_out
        names = ", ".join(dict.fromkeys(lost))
        return [f"{self._source.path.name}: left out of the output: {names}"] if names else []

    def _read_tags(self, speech: Path | None) -> FileTags:
        path = self._source.path
        with open_media(path) as container:
            video, sound = choose_stream(container, "video", path), replaced_sound(container)
            tags = read_tags(container, video, sound, self._source.origin_s, path)
        if tags.sound_language and speech is not None and not speech.samefile(path):
            lost = f"the language of its sound ({tags.sound_language})"
            tags = replace(tags, left_out=(*tags.left_out, lost))
        return tags.without_timecode() if self._source.start else tags


def _states(written: Path, tags: ColorTags) -> bool:
    """Return whether a file states these colour tags, as far as they say anything."""
    with open_media(written) as container:
        context = choose_stream(container, "video", written).codec_context
        stated = (context.colorspace, context.color_primaries, context.color_trc)
    wanted = (tags.space, tags.primaries, tags.transfer)
    return all(said in (have, COLOR_UNSPECIFIED) for said, have in zip(wanted, stated, strict=True))
