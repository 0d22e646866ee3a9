"""Times whole chunks in each speed mode, several at once, and with little memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from lipsync_core.latentsync.diffusion import draw_noise, sync_faces
from lipsync_core.latentsync.options import SPEEDS, options_for
from lipsync_core.latentsync.sizes import TOKEN_SIZE, TOKENS
from perf.gpu import networks
from perf.gpu.local_networks import LocalNetworks
from perf.gpu.server_memory import LOW_MEMORY_GIB
from perf.gpu.timing import VIDEO_FPS, Profile, settings

CONCURRENT = (1, 4, 16)  # chunks
SMALL_CONCURRENT = (1, 2)
SMALL_STEPS = 2
STEADY_SPEED = "cached"  # for what is measured in one speed mode only


def measure_speeds(profile: Profile, edge: int) -> None:
    """Time whole chunks, from aligned to generated faces, in each speed mode; then several at once."""
    chunk_networks = LocalNetworks(
        profile.size, settings(profile, profile.half, profile.mode, graph=True), profile.device, profile.vae_images
    )
    profile.forget()
    chunk_networks.prepare(edge)
    for speed in SPEEDS:
        run = chunk_run(profile, chunk_networks, edge, speed)
        seconds = statistics.median(profile.time(run))
        _add_chunk(profile, f"chunk, {edge}, {speed}", seconds, seconds)
    _measure_concurrency(profile, chunk_networks, edge)


def _add_chunk(profile: Profile, what: str, seconds: float, per_chunk: float, **figures: float | None) -> None:
    """Add a row for chunks.

    Args:
        profile: Gets the row.
        what: What was measured, in words.
        seconds: The time from the start to the end of one chunk.
        per_chunk: The total time per chunk; less than `seconds` if several run at once.
        **figures: Further columns.
    """
    per_second = per_chunk * VIDEO_FPS / profile.size.frames
    shown = {"ms": 1e3 * seconds, "s_per_s": per_second, "peak_gib": profile.peak_gib(), **figures}
    profile.add(what, f"{profile.half} {profile.mode}", **shown)


def _measure_concurrency(profile: Profile, chunk_networks: LocalNetworks, edge: int) -> None:
    """Time several chunks at once in one process; they take turns at the networks."""
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
    """Measure the memory of this process as torch_low_memory: one branch and one image at a time, no CUDA graphs.

    A server has more processes, each with a CUDA context: see `python -m perf server-memory`.
    """
    run_settings = settings(profile, profile.half, profile.mode, graph=False)
    chunk_networks = LocalNetworks(profile.size, run_settings, profile.device, images_per_call=1, branches_per_call=1)
    profile.forget()
    chunk_networks.prepare(edge)
    seconds = _timed(chunk_run(profile, chunk_networks, edge, STEADY_SPEED))
    _add_chunk(profile, f"low memory, {edge}, {STEADY_SPEED}", seconds, seconds)
    peak = profile.peak_gib()
    if peak is not None and peak > LOW_MEMORY_GIB:
        profile.wrong.append(f"WRONG: low memory, {edge}: expected at most {LOW_MEMORY_GIB:g} GiB, got {peak:.1f}")


def chunk_run(profile: Profile, chunk_networks: LocalNetworks, edge: int, speed: str) -> Callable[[], np.ndarray]:
    """Make a chunk, and return a function that lip-syncs it; it returns uint8 RGB [frames, edge, edge, 3]."""
    options = options_for(speed, num_inference_steps=SMALL_STEPS if profile.size.small else None)
    frames, rng = profile.size.frames, np.random.default_rng(networks.SEED)
    faces = rng.integers(0, 256, (frames, edge, edge, 3), np.uint8)
    tokens = rng.standard_normal((frames, TOKENS, TOKEN_SIZE), np.float32)
    noise = draw_noise(options.seed, 0, frames, edge)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return sync_faces(faces, tokens, chunk_networks, options, noise)

    return run
