"""The output's audio track: packets copied from the input where the container allows, else encoded samples."""

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
from client.media.carried.headers import remove_text
from client.media.choosing import choose_stream
from client.media.containers import Container
from client.media.opening import open_media

BIT_RATE_PER_CHANNEL = {"aac": 128_000, "libopus": 96_000}  # bits per second, from 44.1 kHz up
REFERENCE_RATE = 44_100  # Hz
MIN_BIT_RATE = 32_000  # bits per second and channel
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
PCM_CODECS = ("pcm_", "adpcm_")
LOSSLESS_CODECS = (*PCM_CODECS, "flac", "alac", "wavpack", "tta", "truehd", "ape")
SHALLOW_PCM = "pcm_s16le"  # holds sound of 16 bits exactly
MAX_CHANNELS = 8  # what every audio encoder here takes


class AudioTrack(ABC):
    """The encoded audio packets of an output, in order, each with its time.

    Attributes:
        stream: the output's audio stream.
        warnings: what the user should know about the track.
    """

    warnings: list[str]
    stream: AudioStream

    @abstractmethod
    def packets(self) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        """Yield each packet with its start in seconds."""

    def limit(self, end: Fraction) -> None:  # noqa: B027  # copied packets cannot be shortened
        """End the track at this time in seconds, as far as its packets are not yet made."""

    def close(self) -> None:  # noqa: B027  # not every track opens a file
        """Close what the track has opened."""


def open_audio_track(
    output: OutputContainer,
    container: Container,
    source: AudioSource,
    *,
    copy: bool,
    lossless: bool,
    anonymous: bool = False,
) -> AudioTrack:
    """Add the audio to an output.

    Args:
        output: the output, before its header is written.
        container: its format.
        source: the audio.
        copy: copy the packets if the container holds them and nothing is lost; else, or if False, encode the samples.
        lossless: encode without loss where the container holds a lossless codec.
        anonymous: leave out the texts that copied sound holds about itself.
    """
    if copy and source.is_clean and source.codec in container.audio_codecs:
        return _CopiedAudio(output, container, source, anonymous=anonymous)
    return _EncodedAudio(output, container, source, lossless=lossless)


class _CopiedAudio(AudioTrack):
    def __init__(self, output: OutputContainer, container: Container, source: AudioSource, *, anonymous: bool) -> None:
        self.warnings = []
        self._stack = ExitStack()
        self._input = self._stack.enter_context(open_media(source.path))
        self._source = choose_stream(self._input, "audio", source.path)
        # Without edit lists, whole packets of encoder delay are left out. The delay of other codecs is less than a
        # packet, and the muxer shifts audio and video alike.
        self._drops_delay = not container.has_edit_lists and source.codec == "aac"
        self._start_s = Fraction(source.start_s).limit_denominator(1_000_000)
        self._delay_s = Fraction(source.delay_s).limit_denominator(1_000_000)
        try:
            self.stream = output.add_stream_from_template(self._source)
            if anonymous:
                remove_text(self.stream)
        except BaseException:
            self.close()
            raise

    def packets(self) -> Iterator[tuple[Fraction, av.Packet[AudioStream]]]:
        time_base = Fraction(self._source.time_base)
        shift, delay = round(self._start_s / time_base), round(self._delay_s / time_base)
        position = 0
        for packet in self._input.demux(self._source):
            if packet.size == 0:
                continue
            start = (packet.pts if packet.pts is not None else position) - shift
            position = start + shift + (packet.duration or 0)
            if position - shift <= 0 and self._drops_delay:
                continue
            packet.pts = packet.dts = start + delay
            packet.stream = self.stream
            yield (start + delay) * time_base, packet

    def close(self) -> None:
        self._stack.close()


class _EncodedAudio(AudioTrack):
    def __init__(self, output: OutputContainer, container: Container, source: AudioSource, *, lossless: bool) -> None:
        self.warnings = []
        self._frames = source.frames()
        self._rate = source.rate
        self._end: Fraction | None = None
        lossless = lossless or _stays_exact(source, container)
        encoder = (container.lossless_audio_encoder if lossless else None) or container.audio_encoder
        layout = _layout(source.channels, source.layout, MAX_CHANNELS)
        self._source_layout = _layout(source.channels, source.layout, source.channels)
        rate = _supported_rate(encoder, source.rate)
        self.stream = output.add_stream(encoder, rate=rate, layout=layout)  # type: ignore[assignment]
        per_channel = BIT_RATE_PER_CHANNEL.get(encoder)
        if per_channel:
            scaled = max(MIN_BIT_RATE, per_channel * min(rate, REFERENCE_RATE) // REFERENCE_RATE)
            self.stream.codec_context.bit_rate = scaled * self.stream.codec_context.layout.nb_channels
        if lossless:
            self._keep_depth(source)
        if rate != source.rate:
            self.warnings.append(
                f"{source.path.name}: its rate of {source.rate} Hz became {rate} Hz, as "
                f"{encoder.removeprefix('lib')} does not support it"
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
            yield Fraction(packet.pts or 0) * Fraction(packet.time_base), packet

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
        wanted = [name for name in formats if name.startswith("s32" if _is_deep(source) else "s16")]
        if wanted:
            self.stream.codec_context.format = wanted[0]


def _stays_exact(source: AudioSource, container: Container) -> bool:
    """Return whether samples that were stored without loss are encoded without loss, though that was not chosen."""
    if container.audio_encoder == SHALLOW_PCM:
        return source.codec.startswith(LOSSLESS_CODECS) and _is_deep(source)
    return source.codec.startswith(PCM_CODECS) and container.encodes_pcm_exactly


def _is_deep(source: AudioSource) -> bool:
    return source.sample_format.removesuffix("p") not in ("u8", "s16")


def _layout(channels: int, name: str, most: int) -> str:
    if channels > most:
        return DEFAULT_LAYOUTS[2]
    return DEFAULT_LAYOUTS.get(channels, name) if "channels" in name else name


def _supported_rate(encoder: str, rate: int) -> int:
    rates = av.Codec(encoder, "w").audio_rates
    if not rates or rate in rates:
        return rate
    return min((known for known in rates if known >= rate), default=max(rates))
