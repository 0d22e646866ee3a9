from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from lipsync_core.latentsync.schedule import denoise, guide, make_scheduler  # noqa: E402
from tests.closeness import assert_close  # noqa: E402

LATENTS = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 4, 3, 8, 8), np.float32))


def tanh_unet(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A network that looks at everything it gets; its branches differ."""
    branches = torch.arange(timestep.shape[1]).reshape(-1, 1, 1, 1, 1)
    return torch.tanh(latents + timestep.reshape(-1, 1, 1, 1, 1) / 1000 + 0.3 * branches)


def plain_ddim(latents: np.ndarray, steps: int, guidance_scale: float) -> np.ndarray:
    """The formula of DDIM without noise, on the timesteps that the original takes."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    spacing = 1000 // steps
    for t in [1 + spacing * step for step in reversed(range(steps))]:
        speech, silence = np.tanh(latents + t / 1000), np.tanh(latents + t / 1000 + 0.3)
        noise = silence + guidance_scale * (speech - silence) if guidance_scale > 1 else speech
        before, after = alphas[t], alphas[max(t - spacing, 0)]
        clean = (latents - np.sqrt(1 - before) * noise) / np.sqrt(before)
        latents = np.sqrt(after) * clean + np.sqrt(1 - after) * noise
    return latents


@pytest.mark.parametrize(("steps", "timesteps"), [(20, [951, 901, 851]), (5, [801, 601, 401]), (999, [999, 998, 997])])
def test_ddims_timesteps_are_the_originals(steps: int, timesteps: list[int]) -> None:
    """Leading spacing, ending at 1."""
    scheduler = make_scheduler("ddim", steps)
    assert scheduler.timesteps[:3].tolist() == timesteps
    assert scheduler.timesteps[-1] == 1


@pytest.mark.parametrize(("steps", "guidance_scale"), [(1, 1.0), (5, 1.0), (20, 1.5), (7, 3.0)])
def test_denoising_is_ddims_formula(steps: int, guidance_scale: float) -> None:
    """With guidance and without."""
    found = denoise(tanh_unet, LATENTS, make_scheduler("ddim", steps), guidance_scale)
    expected = plain_ddim(LATENTS.numpy().astype(np.float64), steps, guidance_scale)
    assert_close(found, expected, rel=1e-5)  # float32 steps; measured 5e-7


@pytest.mark.parametrize("name", ["dpm", "unipc"])
def test_other_solvers_reach_what_many_small_steps_reach(name: str) -> None:
    """20 steps come within 2 % of the right answer, as 500 small ones of the same solver give it."""
    few, many = (denoise(tanh_unet, LATENTS, make_scheduler(name, steps), 1.5) for steps in (20, 500))
    assert (few - many).norm() < 0.02 * many.norm()


@pytest.mark.parametrize("name", ["ddim", "dpm", "unipc"])
@pytest.mark.parametrize("steps", [1, 2, 3, 999])
def test_any_number_of_steps_works(name: str, steps: int) -> None:
    """Every timestep comes once, downwards."""
    scheduler = make_scheduler(name, steps)
    timesteps = scheduler.timesteps.tolist()
    assert len(timesteps) == steps
    assert sorted(set(timesteps), reverse=True) == timesteps
    assert torch.isfinite(denoise(tanh_unet, LATENTS, scheduler, 1.0)).all()


def test_guidance_asks_for_both_branches_at_once() -> None:
    """Each with its own timestep; without guidance one is enough."""
    shapes: list[tuple[torch.Size, list[list[float]]]] = []

    def unet(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        shapes.append((latents.shape, timestep.tolist()))
        return tanh_unet(latents, timestep)

    denoise(unet, LATENTS, make_scheduler("ddim", 1), 1.5)
    denoise(unet, LATENTS, make_scheduler("ddim", 1), 1.0)
    assert shapes == [((1, 4, 3, 8, 8), [[1.0, 1.0]]), ((1, 4, 3, 8, 8), [[1.0]])]
    assert guide(torch.tensor([[3.0], [1.0]]), 2.0).tolist() == [[5.0]]


def test_cached_steps_are_every_first_of_three() -> None:
    """The shallow network answers in between."""
    calls: list[str] = []

    def network(name: str) -> Any:
        return lambda latents, timestep: calls.append(name) or tanh_unet(latents, timestep)

    shallow: Any = network("shallow")
    denoise(network("full"), LATENTS, make_scheduler("ddim", 8), 1.5, shallow_unet=shallow, cache_interval=3)
    assert calls == ["full", "shallow", "shallow"] * 2 + ["full", "shallow"]


def test_the_loop_can_be_stopped_in_every_step() -> None:
    """What is raised before a step ends it there; the network is not asked again."""
    calls = []

    def stop() -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(
            lambda latents, timestep: calls.append(1) or tanh_unet(latents, timestep),
            LATENTS,
            make_scheduler("ddim", 20),
            1.5,
            before_step=stop,
        )
    assert len(calls) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_denoise_fails_on_overflow(bad: float) -> None:
    """One bad value in one step is reported, with the step."""

    def unet(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        noise = tanh_unet(latents, timestep)
        if timestep[0, 0] < 700:
            noise[0, 0, 0, 0, 0] = bad
        return noise

    with pytest.raises(FloatingPointError, match="noise_pred: expected finite values, .* in step 2 of 5.*fp32"):
        denoise(unet, LATENTS, make_scheduler("ddim", 5), 1.5)


@pytest.mark.parametrize("steps", [0, -3, 1000, 10**9])
def test_make_scheduler_fails_on_absurd_steps(steps: int) -> None:
    """The limits are named."""
    with pytest.raises(ValueError, match=f"num_inference_steps: expected 1 to 999, got {steps}"):
        make_scheduler("ddim", steps)


def test_make_scheduler_fails_on_an_unknown_name() -> None:
    """The known ones are named."""
    with pytest.raises(ValueError, match="scheduler: expected one of ddim, dpm, unipc, got 'euler'"):
        make_scheduler("euler", 20)
