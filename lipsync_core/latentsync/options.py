"""The options of LatentSync's diffusion and their limits. Does not depend on torch, so the client uses it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lipsync_core.latentsync.sizes import MAX_FRAMES

SCHEDULERS = ("ddim", "dpm", "unipc")
MAX_STEPS = 999  # the most that the original's timestep spacing allows
MAX_SEED = 2**32 - 1
DEFAULT_SEED = 1247  # the original's default
RESOLUTIONS: Mapping[str, int] = {"1.5": 256, "1.6": 512}  # version -> edge length of its training faces, in pixels
MAX_RESOLUTION = max(RESOLUTIONS.values())  # pixels; time and memory grow with the square


@dataclass(frozen=True)
class SpeedMode:
    """What a speed changes.

    Attributes:
        num_inference_steps: Steps, unless the job sets them.
        scheduler: Scheduler, unless the job sets it.
        cache_interval: Steps from one run of the whole UNet to the next; those between reuse its deep features.
        guided_share: Share of the steps, from the first on, that run with guidance.
    """

    num_inference_steps: int
    scheduler: str
    cache_interval: int
    guided_share: float


SPEED_MODES: Mapping[str, SpeedMode] = {
    "exact": SpeedMode(20, "ddim", 1, 1.0),  # the original
    "cached": SpeedMode(20, "ddim", 3, 1.0),  # the original with its DeepCache setting
    "fast": SpeedMode(8, "unipc", 2, 0.5),
    "preview": SpeedMode(4, "unipc", 2, 0.0),
}
SPEEDS = tuple(SPEED_MODES)


@dataclass(frozen=True)
class DiffusionOptions:
    """How a job's chunks are generated. The defaults are those that the original's command line recommends.

    `options_for` chooses steps and scheduler by the speed.

    Raises:
        ValueError: A value is outside its limits.
    """

    num_inference_steps: int = SPEED_MODES["exact"].num_inference_steps
    guidance_scale: float = 1.5
    scheduler: str = SPEED_MODES["exact"].scheduler
    speed: str = "exact"
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        """Check the limits."""
        if not 1 <= self.num_inference_steps <= MAX_STEPS:
            raise ValueError(
                f"num_inference_steps: expected 1 to {MAX_STEPS}, got {self.num_inference_steps}. 20 to 50 work well"
            )
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 1):
            raise ValueError(
                f"guidance_scale: expected a finite number of at least 1, got {self.guidance_scale:g}."
                " 1 is without guidance, 1 to 3 work well"
            )
        for name, value, known in (
            ("scheduler", self.scheduler, SCHEDULERS),
            ("speed", self.speed, SPEEDS),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed: expected 0 to {MAX_SEED}, got {self.seed}")

    @property
    def mode(self) -> SpeedMode:
        """What the speed changes."""
        return SPEED_MODES[self.speed]

    @property
    def guided_steps(self) -> int:
        """The number of steps, from the first on, that run with guidance; a guidance scale of 1 is no guidance."""
        return math.ceil(self.mode.guided_share * self.num_inference_steps) if self.guidance_scale > 1 else 0


def options_for(
    speed: str,
    num_inference_steps: int | None = None,
    scheduler: str | None = None,
    guidance_scale: float = DiffusionOptions.guidance_scale,
    seed: int = DEFAULT_SEED,
) -> DiffusionOptions:
    """Combine a speed with a job's own choices; None leaves a choice to the speed.

    Raises:
        ValueError: The speed is unknown, or a value is outside its limits.
    """
    mode = SPEED_MODES.get(speed, SPEED_MODES["exact"])  # an unknown speed is refused below, by name
    steps = mode.num_inference_steps if num_inference_steps is None else num_inference_steps
    return DiffusionOptions(steps, guidance_scale, scheduler or mode.scheduler, speed, seed)


def choose_resolution(asked: int | None, trained: int | None) -> int | None:
    """Choose the edge length of the faces, in pixels.

    Args:
        asked: The job's choice, or None.
        trained: What the weights were trained on, or None if unknown.

    Returns:
        None if both are None.

    Raises:
        ValueError: The job asks for another resolution than the weights were trained on.
    """
    if asked is not None and trained is not None and asked != trained:
        raise ValueError(
            f"resolution: expected {trained}, which these weights were trained on, got {asked}."
            " Leave it out, or export the other version of LatentSync"
        )
    return trained if asked is None else asked


def check_chunk_length(frame_count: int) -> None:
    """Check that a chunk has no more frames than the UNet can take.

    Raises:
        ValueError: There are more than MAX_FRAMES.
    """
    if frame_count > MAX_FRAMES:
        raise ValueError(f"frames: expected at most {MAX_FRAMES} in a chunk, got {frame_count}. Send chunks of 16")
