"""Changes the speed of a voice at its pitch, with FFmpeg's filter `atempo`."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from client.media.audio_track import DEFAULT_LAYOUTS
from client.sound.blocks import SAMPLE_FORMAT, Blocks, fitted, frame_of

MIN_SPEED, MAX_SPEED = 0.8, 1.25  # beyond these, speech sounds hurried or drawled
WINDOWS_PER_SECOND = 24  # source: FFmpeg's af_atempo.c, which rounds the window up to a power of two
LEAD = 0.35  # of a window, that the filter plays everything early; measured on bursts of noise, 16 to 48 kHz


def at_speed(blocks: Blocks, rate: int, speed: float, length: int) -> Blocks:
    """Play a sound faster or more slowly, at its pitch; what is said is moved by a few milliseconds at most.

    Args:
        blocks: the sound, at most 8 channels.
        rate: samples per second.
        speed: 1 for its own speed.
        length: number of samples of the sound, as `blocks` holds them.

    Returns:
        exactly round(length / speed) samples.
    """
    return fitted(_filtered(blocks, rate, speed), round(length / speed))


def _filtered(blocks: Blocks, rate: int, speed: float) -> Blocks:
    first = next(blocks, None)
    if first is None:
        return
    channels = first.shape[1]
    layout = DEFAULT_LAYOUTS.get(channels, f"{channels} channels")
    graph = _graph(rate, layout, speed)
    position = 0
    lead = np.zeros((round(LEAD * _window(rate)), channels), np.float32)
    for block in _joined(lead, first, blocks):
        frame = frame_of(block, rate, layout)
        frame.pts, frame.time_base = position, Fraction(1, rate)
        position += len(block)
        graph.push(frame)
        yield from _pulled(graph, channels)
    graph.push(None)
    yield from _pulled(graph, channels)


def _joined(lead: np.ndarray, first: np.ndarray, blocks: Blocks) -> Blocks:
    yield lead
    yield first
    yield from blocks


def _graph(rate: int, layout: str, speed: float) -> Graph:
    graph = Graph()
    source = graph.add(
        "abuffer", f"sample_rate={rate}:sample_fmt={SAMPLE_FORMAT}:channel_layout={layout}:time_base=1/{rate}"
    )
    tempo, sink = graph.add("atempo", f"{speed:.9f}"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph, channels: int) -> Blocks:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(frame, av.AudioFrame)
        yield frame.to_ndarray().reshape(-1, channels)


def _window(rate: int) -> int:
    """Return the length of the filter's windows, in samples."""
    return 1 << (rate // WINDOWS_PER_SECOND - 1).bit_length()
