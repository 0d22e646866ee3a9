"""Generates the short clips and sounds that media tests read, and reads back what they wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Stream

from client.media import AudioSource, VideoSource, VideoWriter, timeline
from client.system import kept_scheduling

RATE = 25  # frames per second
NEARLY_LOSSLESS = {
    "libx264": {"qp": "4", "preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:qp=4:pools=1"},
    "libvpx-vp9": {"crf": "4", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qmin": "1", "qmax": "1"},
}


def pattern(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Return a smooth RGB picture that differs for every index; its corners differ from each other."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    red = 40 + 150 * x / width
    green = 40 + 150 * y / height
    blue = np.full_like(x, 60 + 8 * (index % 24))
    return np.stack([red, green, blue], axis=2).round().astype(np.uint8)


def write_clip(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12_800),
    color_range: int = 1,
    color_space: int = 1,
    transfer: int | None = None,
    rotation: float | None = None,
    flip: bool = False,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 48_000,
    sound_start_s: float = 0.0,
) -> Path:
    """Encode a clip whose frame i shows `pattern(i)`, perhaps with a sound [S]; lossy codecs lose little."""
    default = NEARLY_LOSSLESS.get(codec, {})
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=RATE, options={**default, **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.metadata.update(tags or {})
        context = stream.codec_context
        context.time_base = time_base
        context.color_range, context.colorspace = color_range, color_space
        context.color_primaries, context.color_trc = color_space, transfer or color_space
        context.thread_count = 1
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=flip)
        if sound is not None:
            add_sound(container, sound, sound_rate, sound_start_s)
        with kept_scheduling():
            container.start_encoding()
        step = round(1 / (RATE * time_base))
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(pattern(index, *size), "rgb24")
            frame = frame.reformat(
                format=pix_fmt, dst_colorspace=color_space, dst_color_range=color_range, src_color_range=2
            )
            frame.time_base = time_base
            frame.pts = index * step if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_beside(path: Path, declare: Callable[[OutputContainer], Sequence[av.Packet]], frames: int = 10) -> Path:
    """Write a clip with streams beside its video.

    Args:
        path: the clip.
        declare: sets the file's tags, adds the further streams, and returns their packets.
        frames: number of frames.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=NEARLY_LOSSLESS["libx264"])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(declare(container))
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def further_packet(stream: Stream, data: bytes, start_s: float, duration_s: float = 0.0) -> av.Packet:
    """Return a packet for a stream beside the video."""
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(stream.time_base)
    packet.pts = packet.dts = round(start_s / packet.time_base)
    packet.duration = round(duration_s / packet.time_base)
    packet.is_keyframe = True
    return packet


def add_sound(container: OutputContainer, samples: np.ndarray, rate: int, start_s: float) -> None:
    """Add an AAC (in webm, Opus) track of float samples [S], the first one at start_s, and write all of it."""
    codec = {"webm": "libopus", "avi": "pcm_s16le"}.get(container.format.name, "aac")
    stream = container.add_stream(codec, rate=rate, layout="mono")
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "flt", "mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
    container.mux([*stream.encode(frame), *stream.encode(None)])


def write_sound(
    path: Path,
    samples: np.ndarray,
    *,
    rate: int = 16_000,
    codec: str = "pcm_s16le",
    sample_format: str | None = None,
    layout: str = "mono",
    start_s: float = 0.0,
) -> Path:
    """Encode float samples [channels, S] or [S], the first one at start_s."""
    planes = np.atleast_2d(samples).astype(np.float32)
    with av.open(str(path), "w") as container:
        options = {} if sample_format is None else {"format": sample_format}
        stream = container.add_stream(codec, rate=rate, layout=layout, **options)
        container.start_encoding()
        if planes.size:
            frame = av.AudioFrame.from_ndarray(planes.T.reshape(1, -1).copy(), "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """Return a tone, float32 [S]."""
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def burst(seconds: float, at: float, rate: int = 16_000) -> np.ndarray:
    """Return silence with 20 ms of a loud tone in it, float32 [S]."""
    samples = np.zeros(round(seconds * rate), np.float32)
    begin, count = round(at * rate), round(0.02 * rate)
    samples[begin : begin + count] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(count) / rate)
    return samples


def is_open(path: Path) -> bool:
    """Say whether this process has a file open."""
    links = [number.readlink() for number in Path("/proc/self/fd").iterdir() if number.is_symlink()]
    return path.resolve() in links


def read_frames(path: Path) -> list[av.VideoFrame]:
    """Decode every frame of a file."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def frame_times(path: Path) -> list[float]:
    """Return when each frame is shown, in seconds."""
    return [float(frame.pts * frame.time_base) for frame in read_frames(path)]


def read_sound(path: Path) -> tuple[np.ndarray, float, int]:
    """Return a file's samples [channels, S], the time of the first one in seconds, and the rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", stream.layout.name, stream.rate)
        frames = list(container.decode(stream))
        first = float(frames[0].pts * frames[0].time_base)
        planes = [piece.to_ndarray() for frame in frames for piece in resampler.resample(frame)]
        return np.concatenate(planes, axis=1), first, stream.rate


def video_codec(path: Path) -> str:
    """Return the name of a file's video codec."""
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def audio_codec(path: Path) -> str:
    """Return the name of a file's audio codec."""
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


def copy_video(source: VideoSource, output: Path, audio: AudioSource | None = None, **options: object) -> list[str]:
    """Write a source's frames unchanged; return the warnings."""
    with VideoWriter(output, source, audio, **options) as writer:  # type: ignore[arg-type]
        for frame in timeline(source, 0.0 if audio is None else audio.duration, "cut"):
            writer.write(frame.picture, frame.pts, frame.duration)
    return writer.warnings


def leftovers(folder: Path) -> list[str]:
    """Names of the hidden files in a folder: parts of outputs that are not complete."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def shown_index(rgb: np.ndarray) -> int:
    """Tell from its blue which pattern a picture shows."""
    return round((float(np.median(rgb[..., 2])) - 60) / 8)
