"""Times single networks: in several precisions, compiled, as CUDA graphs and in larger batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from lipsync_core.latentsync.sizes import MAX_BRANCHES
from lipsync_core.programs.runner import DTYPES, StaticRunner
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS, latent_side
from perf.gpu import networks
from perf.gpu.checks import BOUNDS, note_error
from perf.gpu.timing import VIDEO_FPS, Profile, settings


def measure_peak(profile: Profile) -> None:
    """Time large matrix products of random values: the practical peak of the card."""
    edge = 256 if profile.size.small else 8192
    for precision in (profile.half, "fp32"):
        a, b = (networks.random(profile.device, edge, edge).to(DTYPES[precision]) for _ in range(2))
        seconds = profile.time(lambda a=a, b=b: a @ b)  # type: ignore[misc]
        if precision == profile.half:
            profile.peak = 2.0 * edge**3 / statistics.median(seconds)
        profile.add(f"matrix product, {edge}", precision, rows=1, **profile.rate(2.0 * edge**3, seconds))


def measure_unet(profile: Profile, edge: int) -> None:
    """Time the UNet in each variant, on one chunk with guidance."""
    measure_network(profile, f"UNet, {edge}", _unet(profile), _unet_inputs(profile, edge), rows=1)


def measure_batches(profile: Profile, edge: int) -> None:
    """Time the UNet as served: one chunk without guidance, then two and four with it."""
    variants = [(profile.half, profile.mode)]
    for chunks, branches in ((1, 1),) if profile.size.small else ((1, 1), (2, MAX_BRANCHES), (4, MAX_BRANCHES)):
        what = f"UNet, {edge}, {'guided' if branches > 1 else 'unguided'}"
        inputs_of = _unet_inputs(profile, edge, branches)
        profile.run(
            f"{what}, {chunks} chunks",
            lambda what=what, chunks=chunks, inputs_of=inputs_of: measure_network(  # type: ignore[misc]
                profile, what, _unet(profile), inputs_of, rows=chunks, variants=variants
            ),
        )


def _unet(profile: Profile) -> Callable[[], nn.Module]:
    return lambda: networks.build_unet(profile.size, profile.device)


def _unet_inputs(profile: Profile, edge: int, branches: int = MAX_BRANCHES) -> Callable[[int], list[Tensor]]:
    return lambda chunks: networks.chunk_inputs(profile.size, edge, chunks, profile.device, branches=branches)


def measure_vae(profile: Profile, edge: int) -> None:
    """Time both halves of the VAE, with as many images per call as served."""
    for place, name, channels, side in (
        (0, "encode", IMAGE_CHANNELS, edge),
        (1, "decode", LATENT_CHANNELS, latent_side(edge)),
    ):
        measure_network(
            profile,
            f"VAE {name}, {edge}",
            lambda place=place: networks.build_vae_halves(profile.size, profile.device)[place],  # type: ignore[misc]
            lambda rows, shape=(channels, side, side): [networks.random(profile.device, rows, *shape)],  # type: ignore[misc]
            rows=profile.vae_images,
        )


def measure_wav2lip(profile: Profile, _edge: int) -> None:
    """Time Wav2Lip's generator; a row is a frame, so seconds per second of video are known."""
    measure_network(
        profile,
        "Wav2Lip generator",
        lambda: networks.build_generator(profile.device),
        lambda rows: networks.generator_inputs(rows, profile.device),
        rows=2 if profile.size.small else 16,
        frames_per_row=1,
    )


def measure_network(
    profile: Profile,
    what: str,
    build: Callable[[], nn.Module],
    inputs_of: Callable[[int], list[Tensor]],
    *,
    rows: int,
    variants: Sequence[tuple[str, str]] = (),
    frames_per_row: int = 0,
) -> None:
    """Time a network in variants of precision and compile mode, each compared with the first.

    Args:
        profile: Gets a row of figures for each variant.
        what: The network and its size, in words.
        build: Builds the network on the device, in float32.
        inputs_of: Makes inputs for a number of rows.
        rows: The number of rows.
        variants: Precision and compile mode; by default float32 eager, then half precision eager and compiled.
        frames_per_row: Video frames per row; 0 if rows are not frames.
    """
    flops = networks.count_flops(build().to("meta"), inputs_of(rows))
    expected: list[Tensor] = []
    for precision, mode in variants or _variants(profile):
        profile.forget()
        inputs = inputs_of(rows)
        runner = StaticRunner(build(), settings(profile, precision, mode, graph=False), profile.device)
        profile.forget()
        begin = time.perf_counter()
        runner.prepare(inputs)
        print(f"  {what}, {precision} {mode}: prepared in {time.perf_counter() - begin:.1f} s", flush=True)
        graphs = (False, True) if profile.device.type == "cuda" and mode != "eager" else (False,)
        for graph in graphs:
            if graph:
                runner.capture(inputs)
            name = f"{precision} {mode}{' graph' if graph else ''}"
            found = [output.cpu() for output in runner(inputs)]
            expected = expected or found
            error = note_error(profile, f"{what}, {name}", found, expected, BOUNDS[precision])
            seconds = profile.time(lambda runner=runner, inputs=inputs: runner(inputs))  # type: ignore[misc]
            per_second = VIDEO_FPS * statistics.median(seconds) / (rows * frames_per_row) if frames_per_row else None
            figures = {**profile.rate(flops, seconds), "s_per_s": per_second, "peak_gib": profile.peak_gib()}
            profile.add(what, name, rows=rows, error=error, **figures)
        del runner


def _variants(profile: Profile) -> list[tuple[str, str]]:
    """Return precisions and compile modes; the served ones come early, so that they fit into the time."""
    variants = [("fp32", "eager"), (profile.half, "eager")]
    if profile.mode != "eager":
        variants.append((profile.half, profile.mode))
    return [*variants, ("bf16", "eager")] if profile.half != "bf16" else variants
