"""Writes a stream as it comes: fragmented mp4 to a file or a pipe, FLV to RTMP, MPEG-TS to SRT, UDP or a TCP peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from client.errors import OutputError
from client.live.stream import LivePicture, StreamFacts

FORMATS = {"rtmp": "flv", "rtmps": "flv", "srt": "mpegts", "udp": "mpegts", "tcp": "mpegts"}  # by the URL's protocol
FRAGMENT_S = 0.16  # 4 pictures at 25 per second
VIDEO_TIME_BASE = Fraction(1, 90_000)
SOUND_RATE = 48_000  # Hz, which every player and every service takes
SOUND_BITS = 128_000  # per second
KEYFRAME_S = 1.0
ENCODER_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}


class LiveOutput:
    """Encodes pictures and sound as they come; a context manager that completes the output.

    Attributes:
        target: where it goes: a path, a URL, or an open binary file.
    """

    def __init__(self, target: str | Path | BinaryIO, facts: StreamFacts) -> None:
        """Open the output.

        Args:
            target: a path, a URL of rtmp, rtmps, srt, udp or tcp, or a binary file that is written in order.
            facts: what the server says of the stream.

        Raises:
            OutputError: it cannot be opened, or FFmpeg here does not know the URL's protocol.
        """
        self.target = target
        self._facts = facts
        self._sound_end = 0  # samples at the stream's rate
        self._resampler = AudioResampler("fltp", "mono", SOUND_RATE)
        self._is_open = False
        with self._told():
            self._container = _open(target)
            self._video = self._add_video()
            self._audio = self._add_audio()
            self._container.start_encoding()
            self._is_open = True

    def __enter__(self) -> LiveOutput:
        """Return the output itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the output, also after an error: what was written can be played."""
        try:
            self.close()
        except OutputError:
            if error is None:
                raise

    def write(self, picture: LivePicture) -> None:
        """Write a picture and its sound.

        Raises:
            OutputError: the output does not take it.
        """
        with self._told():
            self._write_sound(picture)
            height, width = (edge - edge % 2 for edge in picture.rgb.shape[:2])  # of 4:2:0
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.rgb[:height, :width]), "rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=self._facts.color_tags.swscale[0])
            frame.pts, frame.time_base = round(picture.time_s / VIDEO_TIME_BASE), VIDEO_TIME_BASE
            self._container.mux(self._video.encode(frame))

    def close(self) -> None:
        """Complete the output; safe to call again.

        Raises:
            OutputError: its end cannot be written.
        """
        if not self._is_open:
            return
        self._is_open = False
        with self._told():
            try:
                for frame in self._resampler.resample(None):
                    if frame is not None:
                        self._container.mux(self._audio.encode(frame))
                self._container.mux(self._video.encode(None))
                self._container.mux(self._audio.encode(None))
            finally:
                self._container.close()

    def _write_sound(self, picture: LivePicture) -> None:
        rate = self._facts.rate
        missing = max(0, round(picture.time_s * rate) - self._sound_end)  # of pictures that were left out
        samples = np.concatenate([np.zeros(missing, np.float32), picture.sound])
        if not len(samples):
            return
        frame = AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, self._sound_end, Fraction(1, rate)
        self._sound_end += len(samples)
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._audio.encode(resampled))

    def _add_video(self) -> VideoStream:
        rate = Fraction(self._facts.video_fps).limit_denominator(1001)
        stream: VideoStream = self._container.add_stream("libx264", rate=rate, options=dict(ENCODER_OPTIONS))
        stream.width, stream.height = (edge - edge % 2 for edge in (self._facts.width, self._facts.height))
        stream.pix_fmt = "yuv420p"
        context, tags = stream.codec_context, self._facts.color_tags
        context.color_range, context.colorspace = tags.range, tags.space
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.time_base = VIDEO_TIME_BASE
        context.gop_size = max(1, round(KEYFRAME_S * self._facts.video_fps))
        return stream

    def _add_audio(self) -> AudioStream:
        stream: AudioStream = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        stream.bit_rate = SOUND_BITS
        return stream

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what FFmpeg and the system say into one line."""
        name = self.target if isinstance(self.target, str | Path) else "stdout"
        try:
            yield
        except av.error.ProtocolNotFoundError as error:
            raise OutputError(
                about=name,
                expected="a protocol that FFmpeg has here",
                got=str(name).partition(":")[0],
                advice="Write to stdout, and let another program send it",
            ) from error
        except (av.FFmpegError, OSError) as error:
            raise OutputError(about=name, expected="an output that takes the stream", got=error.strerror) from error


def _open(target: str | Path | BinaryIO) -> OutputContainer:
    protocol = target.partition("://")[0] if isinstance(target, str) and "://" in target else ""
    muxer = FORMATS.get(protocol, "mp4")
    if muxer != "mp4":
        return av.open(str(target), "w", format=muxer)
    options = {
        "movflags": "empty_moov+default_base_moof",
        "frag_duration": str(round(FRAGMENT_S * 1e6)),
        "flush_packets": "1",
    }
    file = str(target) if isinstance(target, str | Path) else target
    return av.open(file, "w", format="mp4", options=options)
