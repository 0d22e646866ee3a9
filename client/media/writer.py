"""Encodes pictures and muxes them with the audio into a file that appears only when complete."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from client.errors import OutputError, UsageError
from client.media.audio import AudioSource
from client.media.audio_track import AudioTrack, open_audio_track
from client.media.carried.extras import Extras
from client.media.codecs import AUTOMATIC, DEFAULT_CRF, DEFAULT_PRESET
from client.media.containers import choose_container
from client.media.encoders import EncoderChoice, choose_encoder
from client.media.nvenc import EncoderKind, with_card
from client.media.output import PendingFile, check_output, output_error
from client.media.picture import Picture
from client.media.progressive import PacketTimes, Progressive, ProgressiveFile, check_held, remove_abandoned
from client.media.shaping import FrameShape, stored_native
from client.media.source import VideoSource
from client.media.timeline import STILL_RATE, output_time_base
from client.shortage import raise_if_no_room, raise_if_short
from client.system import kept_scheduling

FINEST_RATE = Fraction(1, 1001)  # frames per second that are stated to encoders; timestamps are exact at any rate
UNORDERED_FRAMES = 2  # x265 gives the packets of videos as short as this any decoding time
MAX_THREADS = 4  # more gain little at this lookahead, and hold more frames
THREAD_PIXELS = MAX_THREADS * 4096 * 2304  # in the frames of all threads; larger ones get fewer threads
ENCODER_BYTES = 120  # per pixel, of H.264 with two threads at 3840x2160


class VideoWriter:
    """Writes one video with its audio; a context manager that publishes the file on success and removes it otherwise.

    Args:
        path: the output; its extension chooses the container.
        source: the video that the pictures come from; gives pixel format, rotation, colours and rate.
        audio: the speech; None for a video without audio.
        codec: see `choose_encoder`, also for crf, preset and lossless.
        cut_audio: end the audio with the video.
        rate: frames per second that the pictures were retimed to (`at_rate`); None if they have the source's times.
        threads: encoder threads; one per core, at most four, if absent.
        encoder: whether a graphics card encodes; see `client.media.nvenc`.
        metadata: carry over what the source says about itself; further sounds and subtitles are carried in any case.
        progressive: write the same packets into a file that can be played meanwhile, see `client.media.progressive`.

    Attributes:
        warnings: what the user should know about the output.

    Raises:
        OutputError: the output cannot be written.
        UsageError: the options do not go together.
    """

    def __init__(
        self,
        path: str | Path,
        source: VideoSource,
        audio: AudioSource | None = None,
        *,
        codec: str = AUTOMATIC,
        crf: int = DEFAULT_CRF,
        preset: str = DEFAULT_PRESET,
        lossless: bool = False,
        cut_audio: bool = False,
        rate: Fraction | None = None,
        threads: int | None = None,
        encoder: EncoderKind = "software",
        metadata: bool = True,
        progressive: Progressive = "off",
    ) -> None:
        """Choose the encoder, create the hidden file and write its header."""
        self.path = Path(path)
        self._cut_audio = cut_audio
        self._anonymous = not metadata
        inputs = [source.path, *([audio.path] if audio else [])]
        check_output(self.path, inputs)
        pixels = source.width * source.height
        threads = threads or encoder_threads(pixels)
        native = stored_native(source, choose_container(self.path))
        self._choice = choose_encoder(
            self.path,
            native,
            codec=codec,
            crf=crf,
            preset=preset,
            lossless=lossless,
            threads=threads,
            pixels=pixels,
            rate=_rate(source, rate),
        )
        self._shape = FrameShape(source, self._choice)
        size = self._shape.width, self._shape.height
        self._choice, notes = with_card(self._choice, encoder, crf, preset, size)
        self._clock = _Clock(source, self._choice, rate)
        self.warnings = [*self._shape.warnings, *notes]
        speech = audio.path if audio else None
        self._extras = Extras(
            source,
            self._choice.container,
            self._choice.encoder,
            speech=speech,
            anonymous=self._anonymous,
            turn=self._shape.turn,
        )
        self._container: OutputContainer | None = None
        self._track: AudioTrack | None = None
        self._progressive: ProgressiveFile | None = None
        self._pending = PendingFile(self.path)  # last, as what raises an error from here on has to remove it
        with self._guarded():
            self._start(audio, threads, lossless=lossless)
            remove_abandoned(self.path, inputs)
            if progressive != "off":
                self._start_progressive(is_required=progressive == "on")

    def __enter__(self) -> VideoWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish the file, or remove it after an error."""
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, picture: Picture, pts: int, duration: int) -> None:
        """Encode one picture.

        Args:
            picture: the picture; may be the same object as before.
            pts: when it is shown, in ticks of `output_time_base(source, rate)`; later than the last one.
            duration: for how long, in ticks.

        Raises:
            OutputError: the file cannot be written; it is removed.
        """
        with self._guarded():
            frame = self._shape.prepare(picture)
            self._clock.stamp(frame, pts, duration)
            self._mux(self._stream.encode(frame))

    def close(self, seal: Callable[[PendingFile], PendingFile] | None = None) -> None:
        """Finish the file and rename it to the output's name.

        Args:
            seal: gives the file that is renamed for the complete one, both still hidden.

        Raises:
            OutputError: that failed; the file is removed.
        """
        if self._container is None:
            return
        with self._guarded():
            if self._track and self._cut_audio:
                self._track.limit(self._clock.end_s)
            self._mux(self._stream.encode(None))
            self._mux_audio(self._clock.end_s if self._cut_audio else None)
            self._mux_further(self._clock.end_s)
            self._extras.finish(self._container, self._clock.end_s)
            if self._progressive is not None:
                self._progressive.finish()
                self.warnings += self._progressive.warnings
            self._container.close()
            self.warnings += self._extras.warnings(self._pending.part, self._shape.tags)
            self._close_files()
            if seal is not None:
                self._pending = seal(self._pending)
        try:
            self._pending.publish()
        finally:
            self._drop_progressive()

    def abort(self) -> None:
        """Remove what was written so far."""
        self._pending.discard()
        self._drop_progressive()
        self._close_files()

    def _start(self, audio: AudioSource | None, threads: int, *, lossless: bool) -> None:
        """Write the header; what is refused is encoded instead of copied, or left out."""
        refusal = self._try_header(audio, threads, lossless=lossless)
        if refusal is not None and self._extras.states_picture_facts:
            self._extras.drop_picture_facts()
            refusal = self._try_header(audio, threads, lossless=lossless)
        if refusal is not None:
            self._extras.drop_everything()
            refusal = self._try_header(audio, threads, lossless=lossless)
        if refusal is not None:
            raise refusal
        if self._track is not None:
            self.warnings += self._track.warnings
        self._next_audio = next(self._audio, None)
        self._further = self._extras.packets()
        self._next_further = next(self._further, None)

    def _start_progressive(self, *, is_required: bool) -> None:
        """Begin the progressive file; where it need not be, what hinders it is a warning."""
        streams = [self._stream, *([self._track.stream] if self._track else [])]
        sound = self._track.stream.codec.canonical_name if self._track else None
        mode = stat.S_IMODE(self._pending.part.stat().st_mode)
        try:
            check_held(self._choice.codec.name, sound)
            tag = self._choice.codec.tags.get("mp4")
            self._progressive = ProgressiveFile(self.path, streams, tag=tag, mode=mode)
        except UsageError:
            if is_required:
                raise
        except OutputError as error:
            if is_required:
                raise
            self.warnings.append(str(error))

    def _drop_progressive(self) -> None:
        if self._progressive is not None:
            self._progressive.discard()
            self._progressive = None

    def _try_header(self, audio: AudioSource | None, threads: int, *, lossless: bool) -> Exception | None:
        """Write the header with copied audio, or else with encoded audio; return what was refused, None if nothing."""
        refusal: Exception | None = None
        for copy in (True, False):
            try:
                self._open(threads)
                self._open_audio(audio, copy=copy, lossless=lossless)
                assert self._container is not None
                self._extras.declare(self._container, self._stream, self._track and self._track.stream)
                with kept_scheduling():
                    self._container.start_encoding()  # opens the encoders, which may refuse their settings
            except (av.FFmpegError, ValueError) as error:
                self._close_files()
                raise_if_short(error)
                refusal = error
            else:
                return None
        return refusal

    def _open(self, threads: int) -> None:
        choice = self._choice
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder's own log: errors only
        # "bitexact" keeps Matroska from writing a random id: the same job gives the same file. The plus sign keeps the
        # muxer's other flags, such as the one that converts raw AAC to what the container holds.
        flags = "+".join(("faststart", *self._extras.muxer_flags))
        options = {"movflags": flags} if choice.container.has_index_in_front else {"fflags": "+bitexact"}
        muxer = choice.container.muxer
        self._container = av.open(str(self._pending.part), "w", format=muxer, container_options=options)
        rate = max(self._clock.rate.limit_denominator(FINEST_RATE.denominator), FINEST_RATE)
        encoder_options = self._extras.encoder_options(choice.options)
        self._stream: VideoStream = self._container.add_stream(choice.encoder, rate=rate, options=encoder_options)  # type: ignore[assignment]
        context, shape = self._stream.codec_context, self._shape
        context.width, context.height, context.pix_fmt = shape.width, shape.height, choice.pix_fmt
        context.time_base = self._clock.time_base
        context.sample_aspect_ratio = shape.sample_aspect_ratio
        context.color_range, context.colorspace = shape.tags.range, shape.tags.space
        context.color_primaries, context.color_trc = shape.tags.primaries, shape.tags.transfer
        context.thread_count = threads
        context.flags |= Flags.frame_duration
        if choice.tag:
            context.codec_tag = choice.tag
        if shape.orientation.is_turned:
            self._stream.set_display_matrix(shape.orientation.matrix)

    def _open_audio(self, audio: AudioSource | None, *, copy: bool, lossless: bool) -> None:
        assert self._container is not None
        self._audio: Iterator[tuple[Fraction, av.Packet[av.AudioStream]]] = iter(())
        if audio is not None:
            self._track = open_audio_track(
                self._container,
                self._choice.container,
                audio,
                copy=copy,
                lossless=lossless,
                anonymous=self._anonymous,
            )
            self._audio = self._track.packets()

    def _mux(self, packets: Iterable[av.Packet[VideoStream]]) -> None:
        assert self._container is not None
        for packet in packets:
            if self._clock.frames <= UNORDERED_FRAMES:
                packet.dts = packet.pts
            if packet.dts is not None:
                self._mux_audio(packet.dts * packet.time_base)
                self._mux_further(packet.dts * packet.time_base)
            self._mux_packet(packet)

    def _mux_packet(self, packet: av.Packet[Any]) -> None:
        """Mux a packet of the video or the speech into the output, then into the progressive file."""
        assert self._container is not None
        times = PacketTimes.of(packet)
        self._container.mux(packet)
        if self._progressive is not None:
            self._progressive.mux(packet, times)

    def _mux_audio(self, until: Fraction | None) -> None:
        while self._next_audio is not None and (until is None or self._next_audio[0] < until):
            self._mux_packet(self._next_audio[1])
            self._next_audio = next(self._audio, None)

    def _mux_further(self, until: Fraction) -> None:
        assert self._container is not None
        while self._next_further is not None and self._next_further[0] < until:
            packet = self._next_further[1]
            try:
                self._container.mux(packet)
            except (av.InvalidDataError, av.ArgumentError):
                self._extras.give_up(packet.stream)
            self._next_further = next(self._further, None)

    def _close_files(self) -> None:
        if self._container is not None:
            with suppress(av.FFmpegError, OSError, ValueError):
                self._container.close()
            self._container = None
        if self._track is not None:
            self._track.close()
        self._extras.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Remove the unfinished file on any error, and raise errors of FFmpeg and the system as OutputError."""
        try:
            yield
        except BaseException as error:
            self.abort()
            if isinstance(error, (av.FFmpegError, OSError, ValueError)):
                raise_if_short(error)
                if isinstance(error, (av.ExternalError, av.MemoryError)):
                    raise_if_no_room(error, ENCODER_BYTES * self._shape.width * self._shape.height)
                raise output_error(self.path, error) from error
            raise


def encoder_threads(pixels: int) -> int:
    """Choose how many threads encode pictures of some pixels: one per core, fewer for large ones."""
    return max(1, min(MAX_THREADS, _cores(), THREAD_PIXELS // pixels))


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _rate(source: VideoSource, chosen: Fraction | None) -> Fraction:
    """Return an output's frames per second."""
    return chosen or (STILL_RATE if source.is_still else source.rate)


class _Clock:
    """Timestamps of the output: the timeline's own, or whole frames where the container stores only a frame rate."""

    def __init__(self, source: VideoSource, choice: EncoderChoice, rate: Fraction | None) -> None:
        self.rate = _rate(source, rate)
        self._timeline = output_time_base(source, rate)
        self.time_base = self._timeline if choice.container.keeps_timestamps else 1 / self.rate
        self.end_s = Fraction(0)
        self.frames = 0
        self._last: int | None = None

    def stamp(self, frame: av.VideoFrame, pts: int, duration: int) -> None:
        """Set a frame's timestamp and duration."""
        ticks = self._timeline / self.time_base
        place = round(pts * ticks)
        if self._last is not None and place <= self._last:
            place = self._last + 1
        self._last = place
        self.frames += 1
        frame.time_base, frame.pts, frame.duration = self.time_base, place, max(1, round(duration * ticks))
        self.end_s = (pts + duration) * self._timeline
