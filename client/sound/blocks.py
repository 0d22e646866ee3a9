"""Sound as a stream of blocks, float32 [S, channels], full scale 1: converted, cut, filled and resampled."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from client.media.mono import FULL_SCALE, UNSIGNED_ZERO, channel_columns

SAMPLE_FORMAT = "flt"
SILENT_SAMPLES = 48_000  # per block of silence
LAYOUTS = {1: "mono", 2: "stereo"}  # of mixes
UNPLACED = "channels"  # in FFmpeg's names of layouts that do not say where the channels belong

Blocks = Iterator[np.ndarray]


def blocks_of(frames: Iterable[AudioFrame]) -> Blocks:
    """Yield frames as blocks; exact for samples of up to 24 bits."""
    for frame in frames:
        kind = frame.format.name.removesuffix("p")
        exact: np.dtype[Any] = np.dtype(np.float64 if kind in ("s32", "dbl") else np.float32)
        columns = channel_columns(frame).astype(exact) - exact.type(UNSIGNED_ZERO if kind == "u8" else 0)
        yield np.ascontiguousarray((columns / exact.type(FULL_SCALE[kind])).T, np.float32)


def frame_of(block: np.ndarray, rate: int, layout: str) -> AudioFrame:
    """Return a block as a frame."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), SAMPLE_FORMAT, layout)
    frame.sample_rate = rate
    return frame


def silence(samples: int, channels: int) -> Blocks:
    """Yield blocks of silence."""
    for start in range(0, samples, SILENT_SAMPLES):
        yield np.zeros((min(SILENT_SAMPLES, samples - start), channels), np.float32)


def part_of(blocks: Blocks, start: int, stop: int | None = None) -> Blocks:
    """Yield the samples start..stop-1, and read no further."""
    position = 0
    for block in blocks:
        piece = block[max(0, start - position) : None if stop is None else stop - position]
        position += len(block)
        if len(piece):
            yield piece
        if stop is not None and position >= stop:
            return


def placed(blocks: Blocks, shift: int) -> Blocks:
    """Move a sound to later, with silence before it, or if negative to earlier, without its beginning."""
    if shift <= 0:
        yield from part_of(blocks, -shift)
        return
    for block in blocks:
        yield from silence(shift, block.shape[1])
        yield block
        yield from blocks
        return


def fitted(blocks: Blocks, length: int) -> Blocks:
    """Yield exactly so many samples: without the end, or with silence after it."""
    missing, channels = length, 1
    for block in part_of(blocks, 0, length):
        missing, channels = missing - len(block), block.shape[1]
        yield block
    yield from silence(missing, channels)


def resampled(blocks: Blocks, rate: int, to_rate: int) -> Blocks:
    """Change the rate of sounds with one or two channels; each sample stays at its time."""
    if rate == to_rate:
        yield from blocks
        return
    resampler: AudioResampler | None = None
    channels = 0
    for block in blocks:
        channels = block.shape[1]
        resampler = resampler or AudioResampler(SAMPLE_FORMAT, LAYOUTS[channels], to_rate)
        yield from _pieces(resampler.resample(frame_of(block, rate, LAYOUTS[channels])), channels)
    if resampler is not None:
        yield from _pieces(resampler.resample(None), channels)


def in_channels(frames: Iterable[AudioFrame], channels: int) -> Blocks:
    """Yield frames as blocks of one channel or two: mono is heard on both sides, and surround sound is mixed down."""
    mixer = AudioResampler(SAMPLE_FORMAT, LAYOUTS[2], None)
    for frame in frames:
        if frame.layout.nb_channels <= 2:
            for block in blocks_of([frame]):
                yield block if block.shape[1] == channels else np.repeat(block, channels, axis=1)
        elif UNPLACED in frame.layout.name:
            for block in blocks_of([frame]):
                yield np.stack([block[:, ::2].mean(axis=1), block[:, 1::2].mean(axis=1)], axis=1)
        else:
            frame.pts = None
            yield from _pieces(mixer.resample(frame), 2)


class BlockReader:
    """Reads a stream of blocks in pieces of any length, followed by silence without end."""

    def __init__(self, blocks: Generator[np.ndarray, None, None], channels: int) -> None:
        """Take the blocks, and their number of channels."""
        self._blocks = blocks
        self._left = np.zeros((0, channels), np.float32)

    def close(self) -> None:
        """Close what the stream has opened."""
        self._blocks.close()

    def read(self, count: int) -> np.ndarray:
        """Return the next samples [count, channels]."""
        pieces, have = [self._left], len(self._left)
        while have < count:
            block = next(self._blocks, None)
            if block is None:
                block = np.zeros((count - have, self._left.shape[1]), np.float32)
            pieces.append(block)
            have += len(block)
        joined = np.concatenate(pieces)
        self._left = joined[count:].copy()
        return joined[:count]


def _pieces(frames: Iterable[AudioFrame | None], channels: int) -> Blocks:
    for frame in frames:
        if frame is not None and frame.samples:
            yield frame.to_ndarray().reshape(-1, channels)
