"""Reads the voice for a stream: from a file, or raw from a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from io import RawIOBase
from pathlib import Path

import numpy as np

from client.errors import MediaError
from client.media.audio_reader import AudioReader
from client.media.mono import MonoMixer

PIECE_S = 0.04
SAMPLE_BYTES = 2


def voice_of_file(path: Path) -> tuple[int, Iterator[np.ndarray]]:
    """Return the rate of a file's sound, and its samples in pieces, float32 mono [S].

    Raises:
        MediaError: the file cannot be used, or has no sound.
    """
    frames = AudioReader(path).frames()
    first = next(frames, None)
    if first is None:
        raise MediaError(about=path, expected="a voice", got="sound without a sample")

    def pieces() -> Iterator[np.ndarray]:
        mixer = MonoMixer()
        with closing(frames):
            yield mixer.mix(first)
            for frame in frames:
                yield mixer.mix(frame)

    return first.sample_rate, pieces()


def voice_of_pipe(pipe: RawIOBase, rate: int) -> Iterator[np.ndarray]:
    """Yield raw samples as they arrive, 16 bits, little-endian, mono: int16 [S].

    The pipe has no buffer: a thread that waits for one cannot be left behind when the program ends.
    """
    left = b""
    while content := pipe.read(round(PIECE_S * rate) * SAMPLE_BYTES):
        content = left + content
        whole = len(content) - len(content) % SAMPLE_BYTES
        left = content[whole:]
        if whole:
            yield np.frombuffer(content[:whole], "<i2").astype(np.int16)
