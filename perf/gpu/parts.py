"""What perf.gpu.profile measures, part by part; the most important first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from lipsync_core.latentsync.diffusion import draw_noise, sync_faces
from lipsync_core.latentsync.options import SPEEDS, options_for
from lipsync_core.latentsync.sizes import MAX_BRANCHES, TOKEN_SIZE, TOKENS
from lipsync_core.programs.runner import DTYPES, StaticRunner
from lipsync_core.programs.settings import ProgramSettings
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS, latent_side
from perf.gpu import networks
from perf.gpu.timing import Profile, relative_error

VIDEO_FPS = 25.0
IMAGES_PER_CALL = 8  # of the VAE, as served
CONCURRENT = (1, 4, 16)  # chunks
SMALL_CONCURRENT = (1, 2)
SMALL_STEPS = 2
STEADY_SPEED = "cached"  # what is measured in one speed alone
LOW_MEMORY_GIB = 10.0
# largest accepted differences, root mean square in standard deviations of the output: float32 sums in another order,
# and made-up weights carry the rounding of eleven or eight bits through some sixty layers
BOUNDS = {"fp32": 1e-3, "fp16": 0.03, "bf16": 0.15}
CHECK_EDGE = 64  # pixels: what the CPU can do at full size


def settings(profile: Profile, precision: str, mode: str, *, graph: bool) -> ProgramSettings:
    """Choose how networks run; channels last as served, where it counts."""
    graph = graph and profile.device.type == "cuda"
    return ProgramSettings(precision, mode, "", "eager", graph, channels_last=precision != "fp32")


def check_equality(profile: Profile) -> None:
    """Compare each network with float32 on the CPU: small ones, and one frame of a small face at full size."""
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
    for kind, half, channels, edge in (("small VAE encoder", encoder, 3, 64), ("small VAE decoder", decoder, 4, 8)):
        inputs = [networks.random(cpu, 2, channels, edge, edge)]
        expected = _outputs(half.to(cpu), inputs)
        _compare(profile, kind, half.to(profile.device), expected, inputs)
    generator = networks.build_generator(cpu)
    inputs = generator_inputs(1, cpu)
    expected = _outputs(generator, inputs)
    _compare(profile, "Wav2Lip generator", generator.to(profile.device), expected, inputs)
    profile.forget()


def _compare(profile: Profile, kind: str, network: nn.Module, expected: list[Tensor], inputs: list[Tensor]) -> None:
    """Run a network in float32, then in half precision, and note how far it is from the CPU."""
    for precision in ("fp32", profile.half):
        found = StaticRunner(network, settings(profile, precision, "eager", graph=False), profile.device)(inputs)
        error = _error(profile, f"{kind}, {precision} against CPU fp32", list(found), expected, BOUNDS[precision])
        profile.add(f"check: {kind}", f"{precision} against CPU fp32", error=error)


def _outputs(network: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    with torch.inference_mode():
        outputs = network(*inputs)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def measure_peak(profile: Profile) -> None:
    """Time large products of random values: what the card gives in practice, not on paper."""
    edge = 256 if profile.size.small else 8192
    for precision in (profile.half, "fp32"):
        a, b = (networks.random(profile.device, edge, edge).to(DTYPES[precision]) for _ in range(2))
        seconds = profile.time(lambda a=a, b=b: a @ b)  # type: ignore[misc]
        if precision == profile.half:
            profile.peak = 2.0 * edge**3 / statistics.median(seconds)
        profile.add(f"matrix product, {edge}", precision, rows=1, **profile.rate(2.0 * edge**3, seconds))


def measure_unet(profile: Profile, edge: int) -> None:
    """The UNet in each variant, one chunk with guidance."""
    measure_network(profile, f"UNet, {edge}", _unet(profile), _unet_inputs(profile, edge), rows=1)


def measure_batches(profile: Profile, edge: int) -> None:
    """The UNet as served: one chunk without guidance, then two and four with it."""
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
    """Both halves of the VAE, as many images as are served at a time."""
    for place, name, channels, side in (
        (0, "encode", IMAGE_CHANNELS, edge),
        (1, "decode", LATENT_CHANNELS, latent_side(edge)),
    ):
        measure_network(
            profile,
            f"VAE {name}, {edge}",
            lambda place=place: networks.build_vae_halves(profile.size, profile.device)[place],  # type: ignore[misc]
            lambda rows, shape=(channels, side, side): [networks.random(profile.device, rows, *shape)],  # type: ignore[misc]
            rows=_images(profile),
        )


def measure_wav2lip(profile: Profile, _edge: int) -> None:
    """Wav2Lip's generator; a row is a frame, so seconds per second of video come with it."""
    measure_network(
        profile,
        "Wav2Lip generator",
        lambda: networks.build_generator(profile.device),
        lambda rows: generator_inputs(rows, profile.device),
        rows=2 if profile.size.small else 16,
        frames_per_row=1,
    )


def generator_inputs(rows: int, device: torch.device) -> list[Tensor]:
    """Make mel windows and faces."""
    return [networks.random(device, rows, 1, 80, 16), networks.random(device, rows, 6, 96, 96).sigmoid()]


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
    """Time a network in variants of precision and compile mode; all are compared with the first.

    Args:
        profile: gets the rows.
        what: the network and its size, in words.
        build: makes it on the device, in float32.
        inputs_of: makes inputs from a number of rows.
        rows: how many.
        variants: which; float32 eager, then half precision eager and compiled, when left out.
        frames_per_row: where a row is frames of video, how many.
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
            error = _error(profile, f"{what}, {name}", found, expected, BOUNDS[precision])
            seconds = profile.time(lambda runner=runner, inputs=inputs: runner(inputs))  # type: ignore[misc]
            per_second = VIDEO_FPS * statistics.median(seconds) / (rows * frames_per_row) if frames_per_row else None
            figures = {**profile.rate(flops, seconds), "s_per_s": per_second, "peak_gib": profile.peak_gib()}
            profile.add(what, name, rows=rows, error=error, **figures)
        del runner


def _error(profile: Profile, name: str, found: list[Tensor], expected: list[Tensor], bound: float) -> float:
    """Compare, and note what is wrong."""
    error = max(relative_error(a, b) for a, b in zip(found, expected, strict=True))
    if not error <= bound:  # NaN included
        profile.wrong.append(f"WRONG: {name}: expected within {bound:g} standard deviations, got {error:.2g}")
    return error


def _variants(profile: Profile) -> list[tuple[str, str]]:
    """List precisions and compile modes; what is served comes early, so that it fits into the time."""
    variants = [("fp32", "eager"), (profile.half, "eager")]
    if profile.mode != "eager":
        variants.append((profile.half, profile.mode))
    return [*variants, ("bf16", "eager")] if profile.half != "bf16" else variants


def measure_speeds(profile: Profile, edge: int) -> None:
    """Whole chunks, from aligned faces to drawn ones, in each speed; then several at once."""
    chunk_networks = networks.LocalNetworks(
        profile.size, settings(profile, profile.half, profile.mode, graph=True), profile.device, _images(profile)
    )
    profile.forget()
    chunk_networks.prepare(edge)
    for speed in SPEEDS:
        run = chunk_run(profile, chunk_networks, edge, speed)
        seconds = statistics.median(profile.time(run))
        _add_chunk(profile, f"chunk, {edge}, {speed}", seconds, seconds)
    _measure_concurrency(profile, chunk_networks, edge)


def _add_chunk(profile: Profile, what: str, seconds: float, per_chunk: float, **figures: float | None) -> None:
    """Add a row for chunks: how long one took, and how much time each cost."""
    per_second = per_chunk * VIDEO_FPS / profile.size.frames
    shown = {"ms": 1e3 * seconds, "s_per_s": per_second, "peak_gib": profile.peak_gib(), **figures}
    profile.add(what, f"{profile.half} {profile.mode}", **shown)


def _measure_concurrency(profile: Profile, chunk_networks: networks.LocalNetworks, edge: int) -> None:
    """Several chunks at once in one process, taking turns at the networks."""
    for jobs in SMALL_CONCURRENT if profile.size.small else CONCURRENT:
        what = f"{jobs} chunks at once, {edge}, {STEADY_SPEED}"
        if profile.seconds_left <= 0:
            profile.skip(what, "no time left")
            continue
        runs = [chunk_run(profile, chunk_networks, edge, STEADY_SPEED) for _ in range(jobs)]
        begin = time.perf_counter()
        with ThreadPoolExecutor(jobs) as pool:
            seconds = list(pool.map(_timed, runs))
        per_chunk = (time.perf_counter() - begin) / jobs
        p50, p95 = (float(np.percentile(seconds, part)) for part in (50, 95))
        _add_chunk(profile, what, p50, per_chunk, rows=jobs, p95_ms=1e3 * p95)


def _timed(run: Callable[[], np.ndarray]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure_low_memory(profile: Profile, edge: int) -> None:
    """The torch_low_memory flavour: one branch at a time, one image at a time, no graphs; its peak is the point."""
    run_settings = settings(profile, profile.half, profile.mode, graph=False)
    chunk_networks = networks.LocalNetworks(
        profile.size, run_settings, profile.device, images_per_call=1, branches_per_call=1
    )
    profile.forget()
    chunk_networks.prepare(edge)
    seconds = _timed(chunk_run(profile, chunk_networks, edge, STEADY_SPEED))
    _add_chunk(profile, f"low memory, {edge}, {STEADY_SPEED}", seconds, seconds)
    peak = profile.peak_gib()
    if peak is not None and peak > LOW_MEMORY_GIB:
        profile.wrong.append(f"WRONG: low memory, {edge}: expected at most {LOW_MEMORY_GIB:g} GiB, got {peak:.1f}")


def chunk_run(
    profile: Profile, chunk_networks: networks.LocalNetworks, edge: int, speed: str
) -> Callable[[], np.ndarray]:
    """Make a chunk; the function draws it."""
    options = options_for(speed, num_inference_steps=SMALL_STEPS if profile.size.small else None)
    frames, rng = profile.size.frames, np.random.default_rng(networks.SEED)
    faces = rng.integers(0, 256, (frames, edge, edge, 3), np.uint8)
    tokens = rng.standard_normal((frames, TOKENS, TOKEN_SIZE), np.float32)
    noise = draw_noise(options.seed, 0, frames, edge)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return sync_faces(faces, tokens, chunk_networks, options, noise)

    return run


def _images(profile: Profile) -> int:
    return 2 if profile.size.small else IMAGES_PER_CALL


# in this order for the first size of faces; those of EACH_EDGE again for the others
PARTS: Mapping[str, Callable[[Profile, int], None]] = {
    "unet": measure_unet,
    "speeds": measure_speeds,
    "low_memory": measure_low_memory,
    "wav2lip": measure_wav2lip,
    "vae": measure_vae,
    "batches": measure_batches,
}
EACH_EDGE = ("unet", "speeds", "vae")
