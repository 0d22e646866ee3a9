"""Schedulers and the denoising loop. The network is passed in as a callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from lipsync_core.latentsync.options import MAX_STEPS
from lipsync_core.latentsync.sizes import MAX_BRANCHES
from lipsync_core.overflow import check_no_overflow

# The noise schedule that the network was trained with; source: docs/specs/latentsync.md, "Diffusion loop".
TRAINING: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
# Trailing spacing covers all training timesteps; the original's spacing would repeat steps with these solvers.
SOLVER = {"solver_order": 2, "timestep_spacing": "trailing"}
SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "dpm": (DPMSolverMultistepScheduler, SOLVER),
    "unipc": (UniPCMultistepScheduler, SOLVER),
}
Unet = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # latents [1, ...], timestep [1, N] -> noise [N, ...]


def make_scheduler(name: str, num_inference_steps: int) -> Any:
    """Make a diffusers scheduler with its timesteps set, for one loop.

    Args:
        name: ddim (the original's), dpm (DPM-Solver++) or unipc.
        num_inference_steps: 1 to 999.

    Raises:
        ValueError: The scheduler is unknown, or the number of steps is out of range.
    """
    if not 1 <= num_inference_steps <= MAX_STEPS:
        raise ValueError(f"num_inference_steps: expected 1 to {MAX_STEPS}, got {num_inference_steps}")
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler: expected one of {', '.join(SCHEDULERS)}, got {name!r}")
    make, options = SCHEDULERS[name]
    scheduler = make(**TRAINING, **options)
    scheduler.set_timesteps(num_inference_steps)
    return scheduler


def denoise(
    unet: Unet,
    latents: torch.Tensor,
    scheduler: Any,
    guidance_scale: float,
    *,
    shallow_unet: Unet | None = None,
    cache_interval: int = 1,
    guided_steps: int | None = None,
    before_step: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Denoise latents step by step.

    Args:
        unet: The network; gets the timestep once for each branch: conditional, and with guidance unconditional.
        latents: [1, ...], pure noise.
        scheduler: From `make_scheduler`.
        guidance_scale: 1 is without guidance.
        shallow_unet: Replaces `unet` in all steps but every `cache_interval`-th, counted from the first.
        cache_interval: Steps from one run of `unet` to the next.
        guided_steps: Number of steps, from the first on, that run with guidance; None for all.
        before_step: Called before each step; its exceptions are passed on.

    Returns:
        The latents, [1, ...].

    Raises:
        FloatingPointError: The network's output holds NaN or infinity.
    """
    if guided_steps is None:
        guided_steps = len(scheduler.timesteps) if guidance_scale > 1 else 0
    for index, timestep in enumerate(scheduler.timesteps):
        before_step()
        branches = MAX_BRANCHES if index < guided_steps else 1
        network = unet if shallow_unet is None or index % cache_interval == 0 else shallow_unet
        noise_pred = network(latents, torch.full((1, branches), float(timestep), device=latents.device))
        check_no_overflow("noise_pred", noise_pred, f"in step {index + 1} of {len(scheduler.timesteps)}")
        latents = scheduler.step(guide(noise_pred, guidance_scale), timestep, latents).prev_sample
    return latents


def guide(noise_pred: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Apply classifier-free guidance to the predicted noise.

    Args:
        noise_pred: [2, ...], conditional and unconditional; or [1, ...], which is returned as it is.
        guidance_scale: Factor from the unconditional to the conditional noise.

    Returns:
        [1, ...].
    """
    if len(noise_pred) == 1:
        return noise_pred
    conditional, unconditional = noise_pred[:1], noise_pred[1:]
    return unconditional + guidance_scale * (conditional - unconditional)
