"""Mixes sounds sample by sample, each with a gain over time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import reduce

import numpy as np
from av.audio.frame import AudioFrame

from client.media import AudioSource
from client.media.audio_reader import AudioDamage
from client.sound.blocks import LAYOUTS, BlockReader, frame_of, in_channels, resampled
from client.sound.limiter import Limiter
from client.sound.video_sound import FileSound
from client.sound.voices import COMPUTED_CODEC

Gain = Callable[[int, int], float | np.ndarray]


@dataclass(frozen=True)
class Track:
    """A sound in a mix.

    Attributes:
        sound: the sound, in its place on the output's timeline.
        gain: first sample, sample after the last one -> their gain: one for all, or float32 [S].
        is_kept: whether its samples are to stay as they are, even beyond full scale.
    """

    sound: AudioSource | FileSound
    gain: Gain
    is_kept: bool = False

    def blocks(self, rate: int, channels: int) -> Generator[np.ndarray, None, None]:
        """Yield its samples [S, channels] at a rate."""
        if isinstance(self.sound, FileSound):
            with closing(self.sound.blocks(channels)) as own:
                yield from resampled(own, self.sound.rate, rate)
        else:
            with closing(self.sound.frames()) as frames:
                yield from resampled(in_channels(frames, channels), self.sound.rate, rate)


class MixReader:
    """Computes a mix; the attributes are those of `AudioReader`.

    Args:
        tracks: the sounds.
        rate: samples per second of the mix.
        channels: 1 or 2.
        length_s: length of the mix, in seconds.
    """

    def __init__(self, tracks: tuple[Track, ...], rate: int, channels: int, length_s: float) -> None:
        """Remember what is mixed; files are opened by `frames`."""
        self._tracks, self._rate, self._channels = tracks, rate, channels
        self._length = max(1, round(length_s * rate))
        self._limiter = Limiter(rate)
        self.codec = COMPUTED_CODEC
        self.sample_count = 0
        self.start_s = 0.0
        self.damage = AudioDamage()

    @property
    def limited_s(self) -> float:
        """Seconds that were made softer so far, as they would have clipped."""
        return self._limiter.limited / self._rate

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield the mix.

        Raises:
            MediaError: a sound cannot be read.
        """
        with ExitStack() as stack:
            readers = [
                stack.enter_context(closing(BlockReader(track.blocks(self._rate, self._channels), self._channels)))
                for track in self._tracks
            ]
            for block in self._limiter.limit(self._sums(readers)):
                self.sample_count += len(block)
                yield frame_of(block, self._rate, LAYOUTS[self._channels])

    def _sums(self, readers: list[BlockReader]) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """Yield blocks of the mix, each with the largest value that is allowed at each of its samples."""
        step = max(self._rate, self._limiter.shortest_block)
        for start in range(0, self._length, step):
            stop = min(start + step, self._length)
            parts = [
                (track, _amplified(reader.read(stop - start), track.gain(start, stop)))
                for track, reader in zip(self._tracks, readers, strict=True)
            ]
            heard = [part for _, part in parts if part is not None]
            kept = [part for track, part in parts if track.is_kept and part is not None]
            silence = np.zeros((stop - start, self._channels), np.float32)
            allowed = np.maximum(1.0, np.abs(_sum(kept)).max(axis=1)) if kept else 1.0
            yield (_sum(heard) if heard else silence), allowed


def _amplified(block: np.ndarray, gain: float | np.ndarray) -> np.ndarray | None:
    """Return a block with its gain; None if it is not heard."""
    if isinstance(gain, float):
        if gain in (0.0, 1.0):
            return block if gain else None
        return block * np.float32(gain)
    return block * gain[:, None]


def _sum(blocks: list[np.ndarray]) -> np.ndarray:
    return reduce(np.add, blocks)
