from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from lipsync_core.latentsync.diffusion import draw_noise, sync_faces  # noqa: E402
from lipsync_core.latentsync.mask import pixel_mask  # noqa: E402
from lipsync_core.latentsync.options import MAX_SEED, DiffusionOptions, options_for  # noqa: E402
from lipsync_core.vae.latents import draw_latents  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.unit.latentsync_fakes import FakeNetworks  # noqa: E402

RANDOM = np.random.default_rng(0)
FACES = RANDOM.integers(0, 256, (5, 64, 64, 3), np.uint8)
TOKENS = RANDOM.standard_normal((5, 50, 384), np.float32)
QUICK = DiffusionOptions(num_inference_steps=4)
NOISE = draw_noise(7, 3, 5, 64)


def test_noise_hangs_on_seed_and_chunk_alone() -> None:
    """The initial noise serves all chunks of a job; what the VAE draws is each chunk's own."""
    again, other_chunk, other_seed = draw_noise(7, 3, 5, 64), draw_noise(7, 4, 5, 64), draw_noise(8, 3, 5, 64)
    assert all(np.array_equal(a, b) for a, b in zip(NOISE, again, strict=True))
    assert np.array_equal(NOISE.initial, other_chunk.initial)
    for a, b in (
        (NOISE.masked, other_chunk.masked),
        (NOISE.initial, other_seed.initial),
        (NOISE.masked, NOISE.reference),
    ):
        assert not np.array_equal(a, b)
    assert draw_noise(MAX_SEED, 0, 1, 64).initial.shape == (4, 8, 8)
    assert abs(draw_noise(1, 0, 16, 512).masked.std() - 1) < 0.01


def test_the_posterior_is_drawn_and_scaled() -> None:
    """Mean plus deviation times noise; a huge log variance is cut off at 20."""
    mean, log_variance, noise = (
        torch.ones(1, 4, 2, 2),
        torch.full((1, 4, 2, 2), np.log(4.0)),
        torch.full((1, 4, 2, 2), 3.0),
    )
    drawn = draw_latents(torch.cat([mean, log_variance], dim=1).float(), noise)
    assert_close(drawn, torch.full_like(drawn, 7 * 0.18215), rel=1e-5)
    huge = draw_latents(torch.cat([mean, mean * 1e4], dim=1), noise * 0)
    assert torch.isfinite(huge).all()


def test_only_the_masked_part_is_drawn() -> None:
    """Elsewhere a face comes back as it was."""
    synced = sync_faces(FACES, TOKENS, FakeNetworks(), QUICK, NOISE)
    assert synced.dtype == np.float32
    assert synced.shape == FACES.shape
    kept = pixel_mask(64) == 1
    assert_close(synced[:, kept], FACES[:, kept] / 127.5 - 1, rel=1e-5)  # float32 steps
    assert (np.abs(synced[:, ~kept] - (FACES[:, ~kept] / 127.5 - 1)) > 0.01).mean() > 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": "dpm"},
        {"scheduler": "unipc"},
        {"speed": "cached"},
        {"speed": "fast"},
        {"speed": "preview"},
        {"guidance_scale": 1.0},
        {"num_inference_steps": 5},
    ],
)
def test_options_count(change: dict[str, Any]) -> None:
    """Each of them changes the faces."""
    plain = sync_faces(FACES, TOKENS, FakeNetworks(), QUICK, NOISE)
    changed = sync_faces(FACES, TOKENS, FakeNetworks(), dataclasses.replace(QUICK, **change), NOISE)
    assert np.abs(plain - changed).max() > 1e-3


def test_constant_parts_are_computed_once() -> None:
    """One encoding, of masked and whole faces, and one decoding, however many steps."""
    networks = FakeNetworks()
    sync_faces(FACES, TOKENS, networks, DiffusionOptions(num_inference_steps=7, speed="cached"), NOISE)
    shallow = ["unet_shallow"] * 2
    assert networks.calls == ["encode", "unet", *shallow, "unet", *shallow, "unet", "decode"]


@pytest.mark.parametrize(
    ("speed", "calls"),
    [
        ("fast", ["unet 2", "unet_shallow 2"] * 2 + ["unet 1", "unet_shallow 1"] * 2),
        ("preview", ["unet 1", "unet_shallow 1"] * 2),
    ],
)
def test_a_speed_chooses_what_it_saves(speed: str, calls: list[str]) -> None:
    """Few steps, every other one light, and guidance for the first of them or none."""
    networks = FakeNetworks()
    sync_faces(FACES, TOKENS, networks, options_for(speed), NOISE)
    found = [f"{call} {count}" for call, count in zip(networks.calls[1:-1], networks.branches, strict=True)]
    assert found == calls


@pytest.mark.parametrize("speed", ["exact", "cached", "fast", "preview"])
def test_branches_one_at_a_time_draw_the_same(speed: str) -> None:
    """Where memory is scarce: twice the calls under guidance, each with one branch."""
    together, apart = FakeNetworks(), FakeNetworks(branches_per_call=1)
    faces = [sync_faces(FACES, TOKENS, networks, options_for(speed), NOISE) for networks in (together, apart)]
    assert_close(faces[0], faces[1], rel=1e-4)  # float32 sums in another order
    assert set(apart.branches) == {1}
    assert len(apart.branches) == sum(together.branches)


def test_what_a_job_chooses_itself_goes_before_its_speed() -> None:
    """The speed's own steps and scheduler are defaults."""
    assert options_for("fast") == DiffusionOptions(8, 1.5, "unipc", "fast")
    assert options_for("fast", 12, "dpm", 2.0, 5) == DiffusionOptions(12, 2.0, "dpm", "fast", 5)
    assert options_for("exact") == DiffusionOptions()
    assert DiffusionOptions(5, speed="fast").guided_steps == 3
    assert DiffusionOptions(5, 1.0).guided_steps == 0


@pytest.mark.parametrize(("output", "name"), [("encode", "moments"), ("unet", "noise_pred"), ("decode", "decoded")])
def test_sync_faces_fails_on_overflow(output: str, name: str) -> None:
    """Never a black frame."""
    with pytest.raises(FloatingPointError, match=f"{name}: expected finite values, got NaN"):
        sync_faces(FACES, TOKENS, FakeNetworks(overflow=output), QUICK, NOISE)


@pytest.mark.parametrize(
    ("faces", "tokens", "message"),
    [
        (FACES[:0], TOKENS[:0], "frames: expected at least one frame"),
        (np.zeros((25, 64, 64, 3), np.uint8), TOKENS, "frames: expected at most 24 in a chunk, got 25"),
        (FACES[:, :60], TOKENS, "faces: expected squares with an edge divisible by 64, got 60 x 64"),
        (FACES, TOKENS[:4], "audio_tokens: expected one row for each of 5 faces, got 4"),
        (FACES[:4], TOKENS[:4], r"masked_noise: expected \[4, 4, 8, 8\], got \[5, 4, 8, 8\]"),
    ],
)
def test_sync_faces_fails_on_what_does_not_fit(faces: np.ndarray, tokens: np.ndarray, message: str) -> None:
    """What is wrong is named."""
    with pytest.raises(ValueError, match=message):
        sync_faces(faces, tokens, FakeNetworks(), QUICK, NOISE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: expected 1 to 999, got 0"),
        ({"num_inference_steps": 1000}, "num_inference_steps: expected 1 to 999, got 1000"),
        ({"guidance_scale": 0.9}, "guidance_scale: expected a finite number of at least 1, got 0.9"),
        ({"guidance_scale": float("nan")}, "guidance_scale: expected a finite number of at least 1, got nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale: expected a finite number of at least 1, got inf"),
        ({"seed": -1}, "seed: expected 0 to 4294967295, got -1"),
        ({"seed": 2**63 - 1}, "seed: expected 0 to 4294967295, got 9223372036854775807"),
        ({"scheduler": "euler"}, "scheduler: expected one of ddim, dpm, unipc, got 'euler'"),
        ({"speed": "warp"}, "speed: expected one of exact, cached, fast, preview, got 'warp'"),
    ],
)
def test_options_outside_their_limits_fail(change: dict[str, Any], message: str) -> None:
    """The limits are named."""
    with pytest.raises(ValueError, match=message):
        DiffusionOptions(**change)
    if "speed" in change:
        with pytest.raises(ValueError, match=message):
            options_for(**change)
