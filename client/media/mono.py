"""Mixes audio frames to mono for the models, and tells when mixing loses the speech. Knows no files."""

from __future__ import annotations

import numpy as np
from av.audio.frame import AudioFrame

FULL_SCALE = {"u8": 128.0, "s16": 32_768.0, "s32": 2_147_483_648.0, "flt": 1.0, "dbl": 1.0}
UNSIGNED_ZERO = 128.0  # of 8-bit samples
CANCELLING = 0.1  # a mix with less than this share of the energy of independent channels cancels out
SILENT_PEAK = 1e-3  # of full scale, -60 dB: nothing that moves a mouth


class MonoMixer:
    """Averages the channels of the audio, frame by frame, and measures what becomes of them.

    Args:
        channel: the only channel to take; None for the average.
    """

    def __init__(self, channel: int | None = None) -> None:
        """Start before the first frame."""
        self._channel = channel
        self._energies = np.zeros(0)
        self._mixed_energy = 0.0
        self._peak = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether nothing so far could be heard."""
        return self._peak < SILENT_PEAK

    @property
    def loudest_if_cancelled(self) -> int | None:
        """The channel with the most energy, if the channels cancel each other out; else None."""
        count = len(self._energies)
        if count < 2 or self._mixed_energy >= CANCELLING * self._energies.sum() / count**2:
            return None
        return int(self._energies.argmax())

    def mix(self, frame: AudioFrame) -> np.ndarray:
        """Return a frame in mono: float32 [S], full scale 1."""
        columns = channel_columns(frame)
        if self._channel is not None:
            columns = columns[self._channel : self._channel + 1]
        kind = frame.format.name.removesuffix("p")
        offset = UNSIGNED_ZERO if kind == "u8" else 0.0
        mono = ((columns.mean(axis=0, dtype=np.float64) - offset) / FULL_SCALE[kind]).astype(np.float32)
        self._measure((columns.astype(np.float64) - offset) / FULL_SCALE[kind], mono)
        return mono

    def _measure(self, columns: np.ndarray, mono: np.ndarray) -> None:
        energies = np.einsum("cs,cs->c", columns, columns)
        self._energies = energies if not len(self._energies) else self._energies + energies
        self._mixed_energy += float(np.vdot(mono, mono))
        self._peak = max(self._peak, float(np.abs(columns).max(initial=0.0)))


def channel_columns(frame: AudioFrame) -> np.ndarray:
    """View a frame's samples as [channels, S]."""
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
