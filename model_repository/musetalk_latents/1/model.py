"""Samples the latents of faces from the encoder's posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.musetalk.latents import draw_noise, face_latents
from lipsync_core.musetalk.sizes import IMAGES_PER_FACE
from lipsync_core.triton.step import TritonStep


@dataclass(frozen=True)
class MuseTalkLatentsParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        seed: Default of requests.
    """

    seed: int


class TritonPythonModel(TritonStep):
    """Sample the latents, with noise that depends on the seed and the frame's number alone."""

    Parameters = MuseTalkLatentsParameters

    def run(
        self,
        moments: np.ndarray,
        seed: np.ndarray | None = None,
        frame_numbers: np.ndarray | None = None,
        noise: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Sample latents; without frame numbers those of this request are 0, 1, 2 and so on.

        Args:
            moments: float32 [2 F, 8, 32, 32], means, then log variances: each face masked, then whole.
            seed: int64 [1].
            frame_numbers: int32 [F], of the source's frames.
            noise: float32 [2 F, 4, 32, 32], instead of noise from the seed.

        Returns:
            face_latents, float32 [F, 8, 32, 32].

        Raises:
            ValueError: Row counts differ, or the seed or a number is negative.
        """
        if noise is None:
            count = len(moments) // IMAGES_PER_FACE
            numbers = np.arange(count) if frame_numbers is None else frame_numbers
            check_rows("frame_numbers", numbers, count)
            noise = draw_noise(self.parameters.seed if seed is None else int(seed[0]), numbers)
        return {"face_latents": face_latents(moments, noise)}
