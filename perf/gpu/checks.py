"""Checks the networks against float32 on the CPU, before anything is timed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lipsync_core.programs.runner import StaticRunner
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS, latent_side
from perf.gpu import networks
from perf.gpu.timing import Profile, relative_error, settings

# Largest accepted differences, root mean square in standard deviations of the output. float32 sums in another order;
# synthetic weights carry the rounding of eleven bits (fp16) or eight (bf16) through some sixty layers.
BOUNDS = {"fp32": 1e-3, "fp16": 0.03, "bf16": 0.15}
CHECK_EDGE = 64  # pixels: what a CPU can run at full size


def check_equality(profile: Profile) -> None:
    """Compare each network with float32 on the CPU: small ones, and the full-size UNet on one frame of 64 pixels."""
    small = networks.Size(small=True, frames=2)
    one_frame = networks.Size(small=False, frames=1)
    cpu = torch.device("cpu")
    sizes = [small] if profile.size.small else [small, one_frame]
    for size in sizes:
        unet, inputs = networks.build_unet(size, profile.device), networks.chunk_inputs(size, CHECK_EDGE, 1, cpu)
        reference = networks.copy_of(unet, size, cpu)
        kind = "small UNet" if size.small else "full-size UNet, one frame"
        _compare(profile, kind, unet, _outputs(reference, inputs), inputs)
    encoder, decoder = networks.build_vae_halves(small, profile.device)
    for kind, half, channels, edge in (
        ("small VAE encoder", encoder, IMAGE_CHANNELS, CHECK_EDGE),
        ("small VAE decoder", decoder, LATENT_CHANNELS, latent_side(CHECK_EDGE)),
    ):
        inputs = [networks.random(cpu, 2, channels, edge, edge)]
        expected = _outputs(half.to(cpu), inputs)
        _compare(profile, kind, half.to(profile.device), expected, inputs)
    generator = networks.build_generator(cpu)
    inputs = networks.generator_inputs(1, cpu)
    expected = _outputs(generator, inputs)
    _compare(profile, "Wav2Lip generator", generator.to(profile.device), expected, inputs)
    profile.forget()


def _compare(profile: Profile, kind: str, network: nn.Module, expected: list[Tensor], inputs: list[Tensor]) -> None:
    """Run a network in float32 and in half precision, and add its error against the CPU to the table."""
    for precision in ("fp32", profile.half):
        found = StaticRunner(network, settings(profile, precision, "eager", graph=False), profile.device)(inputs)
        error = note_error(profile, f"{kind}, {precision} against CPU fp32", list(found), expected, BOUNDS[precision])
        profile.add(f"check: {kind}", f"{precision} against CPU fp32", error=error)


def _outputs(network: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    with torch.inference_mode():
        outputs = network(*inputs)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def note_error(profile: Profile, name: str, found: list[Tensor], expected: list[Tensor], bound: float) -> float:
    """Return the largest relative error of the outputs; one beyond the bound is noted as wrong."""
    error = max(relative_error(a, b) for a, b in zip(found, expected, strict=True))
    if not error <= bound:  # NaN included
        profile.wrong.append(f"WRONG: {name}: expected within {bound:g} standard deviations, got {error:.2g}")
    return error
