"""The output's audio track: the given audio's packets as they are where the container allows, else encoded once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer

from client.media.audio import AudioSource
from client.media.opening import first_stream, open_media

# What players accept in each container, narrower than what its writer would store (and some writers abort the program
# on what they do not know).
COPYABLE = {
    "mp4": "aac mp3 ac3 eac3 alac opus flac",
    "mov": "aac mp3 ac3 eac3 alac pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_f32le",
    "matroska": "aac mp3 mp2 ac3 eac3 alac opus flac vorbis dts truehd wavpack tta pcm_u8 pcm_s16le pcm_s24le pcm_s32le"
    " pcm_f32le",
    "webm": "opus vorbis",
    "mpegts": "aac mp3 mp2 ac3 eac3",
    "flv": "aac mp3",
}
EDIT_LISTS = {"mp4", "mov"}  # can start in the middle of a packet, as encoder delay asks for
ENCODERS = {"webm": "libopus", "avi": "pcm_s16le"}  # avi keeps no timestamps, so nothing with encoder delay
DEFAULT_ENCODER = "aac"
LOSSLESS_ENCODERS = {"mp4": "alac", "mov": "alac", "matroska": "flac", "avi": "pcm_s24le"}
BIT_RATE_PER_CHANNEL = {"aac": 128_000, "libopus": 96_000}  # bits per second, from 44.1 kHz up
REFERENCE_RATE = 44_100  # Hz
SMALLEST_BIT_RATE = 32_000  # bits per second and channel
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MOST_CHANNELS = 8  # that all these encoders take


class AudioTrack(ABC):
    """A source of encoded audio packets, in order, each with its time on the output."""

    warnings: list[str]
    stream: AudioStream

    @abstractmethod
    def packets(self) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        """Yield start in seconds and packet."""

    def limit(self, end: Fraction) -> None:  # noqa: B027  # copied packets cannot be shortened
        """Say that the output ends here, so that packets not yet made end there too."""

    def close(self) -> None:  # noqa: B027  # not every track holds something open
        """Release what the track holds."""


def open_audio_track(container: OutputContainer, source: AudioSource, *, copy: bool, lossless: bool) -> AudioTrack:
    """Add the audio to an output, by copying its packets if that is wanted and loses nothing, else by encoding it."""
    if copy and source.is_clean and source.codec in COPYABLE.get(container.format.name, "").split():
        return _CopiedAudio(container, source)
    return _EncodedAudio(container, source, lossless=lossless)


class _CopiedAudio(AudioTrack):
    def __init__(self, container: OutputContainer, source: AudioSource) -> None:
        self.warnings = []
        self._stack = ExitStack()
        self._input = self._stack.enter_context(open_media(source.path))
        self._source = first_stream(self._input, "audio", source.path)
        # Elsewhere whole packets of encoder delay are left out; the delay of other codecs is no whole packet, and the
        # container's writer shifts sound and pictures alike.
        self._drops_delay = container.format.name not in EDIT_LISTS and source.codec == "aac"
        self._start_s = Fraction(source.start_s).limit_denominator(1_000_000)
        try:
            self.stream = container.add_stream_from_template(self._source)
        except BaseException:
            self.close()
            raise

    def packets(self) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        time_base: Fraction = self._source.time_base
        shift = round(self._start_s / time_base)
        position = 0
        for packet in self._input.demux(self._source):
            if packet.size == 0:
                continue
            start = (packet.pts if packet.pts is not None else position) - shift
            position = start + shift + (packet.duration or 0)
            if position - shift <= 0 and self._drops_delay:
                continue
            packet.pts = packet.dts = start
            packet.stream = self.stream
            yield start * time_base, packet

    def close(self) -> None:
        self._stack.close()


class _EncodedAudio(AudioTrack):
    def __init__(self, container: OutputContainer, source: AudioSource, *, lossless: bool) -> None:
        self.warnings = []
        self._frames = source.frames()
        self._rate = source.rate
        self._end: Fraction | None = None
        encoder = _encoder(container.format.name, lossless=lossless)
        layout = _layout(source.channels, source.layout, MOST_CHANNELS)
        self._source_layout = _layout(source.channels, source.layout, source.channels)
        rate = _supported_rate(encoder, source.rate)
        self.stream = container.add_stream(encoder, rate=rate, layout=layout)  # type: ignore[assignment]
        per_channel = BIT_RATE_PER_CHANNEL.get(encoder)
        if per_channel:
            scaled = max(SMALLEST_BIT_RATE, per_channel * min(rate, REFERENCE_RATE) // REFERENCE_RATE)
            self.stream.codec_context.bit_rate = scaled * self.stream.codec_context.layout.nb_channels
        if lossless:
            self._keep_depth(source)
        if rate != source.rate:
            self.warnings.append(
                f"{source.path.name}: its rate of {source.rate} Hz became {rate} Hz, as "
                f"{encoder.removeprefix('lib')} knows no such rate"
            )
        if layout != self._source_layout:
            self.warnings.append(f"{source.path.name}: its {source.channels} channels were mixed to {layout}")

    def packets(self) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        position = 0
        for frame in self._frames:
            samples = self._samples_left(position, frame)
            if samples <= 0:
                break
            yield from self._encode(self._prepare(frame, samples, position))
            position += samples
        yield from self._encode(None)

    def limit(self, end: Fraction) -> None:
        self._end = end

    def close(self) -> None:
        self._frames.close()

    def _encode(self, frame: AudioFrame | None) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        for packet in self.stream.encode(frame):
            yield Fraction(packet.pts or 0) * packet.time_base, packet

    def _samples_left(self, position: int, frame: AudioFrame) -> int:
        if self._end is None:
            return frame.samples
        return min(frame.samples, round(self._end * self._rate) - position)

    def _prepare(self, frame: AudioFrame, samples: int, position: int) -> AudioFrame:
        prepared = frame
        if samples < frame.samples or frame.layout.name != self._source_layout:
            array = frame.to_ndarray()
            count = samples if frame.format.is_planar else samples * frame.layout.nb_channels
            prepared = AudioFrame.from_ndarray(array[:, :count].copy(), frame.format.name, self._source_layout)
            prepared.sample_rate = frame.sample_rate
        prepared.time_base = Fraction(1, self._rate)
        prepared.pts = position
        return prepared

    def _keep_depth(self, source: AudioSource) -> None:
        formats = [known.name for known in self.stream.codec_context.codec.audio_formats or []]
        deep = source.sample_format.removesuffix("p") not in ("u8", "s16")
        wanted = [name for name in formats if name.startswith("s32" if deep else "s16")]
        if wanted:
            self.stream.codec_context.format = wanted[0]


def _encoder(muxer: str, *, lossless: bool) -> str:
    if lossless and muxer in LOSSLESS_ENCODERS:
        return LOSSLESS_ENCODERS[muxer]
    return ENCODERS.get(muxer, DEFAULT_ENCODER)


def _layout(channels: int, name: str, most: int) -> str:
    if channels > most:
        return DEFAULT_LAYOUTS[2]
    return DEFAULT_LAYOUTS.get(channels, name) if "channels" in name else name


def _supported_rate(encoder: str, rate: int) -> int:
    rates = av.Codec(encoder, "w").audio_rates
    if not rates or rate in rates:
        return rate
    return min((known for known in rates if known >= rate), default=max(rates))
