"""One chunk of aligned faces, drawn anew to its audio tokens. The networks are callables; knows nothing of servers.

Source: docs/specs/latentsync.md, "UNet", "Mask" and "Diffusion loop"; docs/specs/vae.md, "Scaling".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.latentsync.mask import latent_mask, pixel_mask
from lipsync_core.latentsync.options import DiffusionOptions, check_chunk_length
from lipsync_core.latentsync.schedule import denoise, make_scheduler
from lipsync_core.latentsync.sizes import RESOLUTION_MULTIPLE, SAMPLE_CHANNELS
from lipsync_core.overflow import check_no_overflow
from lipsync_core.vae.latents import draw_latents, unscaled
from lipsync_core.vae.sizes import LATENT_CHANNELS, latent_side

HALF_WHITE = 127.5


class Networks(Protocol):
    """What draws: torch tensors in and out, float32; all leave their results in one place, on the CPU or a GPU.

    A UNet's branches are those of classifier-free guidance: one that hears the speech, then one that hears silence.
    """

    branches_per_call: int  # of a UNet: 1 takes half the memory of 2, and longer

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Images [N, 3, R, R] from -1 to 1 -> means and log variances [N, 8, h, h]."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Unscaled latents [N, 4, h, h] -> images [N, 3, R, R]."""

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Samples [B, 13, F, h, h], [B, N] and [B, F, 50, 384] -> noise [B, N, 4, F, h, h]; `deep`: deep features."""

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """As `unet`, from deep features on -> noise."""


class Noise(NamedTuple):
    """All that is random in a chunk, standard normal, float32."""

    initial: np.ndarray  # [4, h, h], the same for all frames of a job
    masked: np.ndarray  # [F, 4, h, h], of the masked faces' latents
    reference: np.ndarray  # [F, 4, h, h], of the whole faces' latents


def draw_noise(seed: int, chunk_index: int, frame_count: int, resolution: int) -> Noise:
    """Draw a chunk's noise: the initial one from the seed alone, the rest from seed and chunk index.

    The generator is numpy's PCG64, seeded with SeedSequence(seed, spawn_key=()) and (seed, spawn_key=(chunk_index,)).

    Raises:
        ValueError: the chunk index is negative.
    """
    if chunk_index < 0:
        raise ValueError(f"chunk_index: expected 0 or more, got {chunk_index}")
    side = latent_side(resolution)
    initial = _generator(seed).standard_normal((LATENT_CHANNELS, side, side), np.float32)
    shape = (2, frame_count, LATENT_CHANNELS, side, side)
    masked, reference = _generator(seed, chunk_index).standard_normal(shape, np.float32)
    return Noise(initial, masked, reference)


def sync_faces(
    faces: np.ndarray,
    audio_tokens: np.ndarray,
    networks: Networks,
    options: DiffusionOptions,
    noise: Noise,
    before_step: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Draw a chunk's faces speaking.

    Args:
        faces: uint8 RGB [F, R, R, 3].
        audio_tokens: float32 [F, 50, 384].
        networks: what draws.
        options: how.
        noise: the chunk's, see `draw_noise`.
        before_step: called before each step and each other call of a network; what it raises ends the work.

    Returns:
        float32 RGB [F, R, R, 3], about -1 to 1; outside the mask the faces themselves.

    Raises:
        ValueError: there are no faces or too many, or not as many tokens.
        FloatingPointError: a network gave NaN or infinity.
    """
    _check(faces, audio_tokens, noise)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2) / HALF_WHITE - 1
    keep = torch.from_numpy(pixel_mask(faces.shape[1]).copy())
    before_step()
    moments = networks.encode(torch.cat([pixels * keep, pixels]))
    device = moments.device  # where the networks are: nothing leaves it before the faces are drawn
    noises = torch.from_numpy(np.concatenate([noise.masked, noise.reference])).to(device)
    masked_latents, reference_latents = draw_latents(moments, noises).chunk(2)
    mask = torch.from_numpy(latent_mask(faces.shape[1]).copy()).to(device).expand(len(faces), 1, -1, -1)
    constants = torch.cat([mask, masked_latents, reference_latents], dim=1).transpose(0, 1)
    unet = ChunkUnet(networks, constants, torch.from_numpy(audio_tokens).to(device), options)
    latents = torch.from_numpy(noise.initial).to(device)[None, :, None].expand(-1, -1, len(faces), -1, -1)
    latents = denoise(
        unet.full,
        latents,
        make_scheduler(options.scheduler, options.num_inference_steps),
        options.guidance_scale,
        shallow_unet=unet.shallow if unet.keeps_features else None,
        cache_interval=options.mode.cache_interval,
        guided_steps=options.guided_steps,
        before_step=before_step,
    )
    before_step()
    decoded = networks.decode(unscaled(latents[0].transpose(0, 1)))
    check_no_overflow("decoded", decoded, "from the VAE's decoder")
    keep, pixels = keep.to(device), pixels.to(device)
    return (decoded * (1 - keep) + pixels * keep).permute(0, 2, 3, 1).cpu().numpy()


class ChunkUnet:
    """The UNet as one chunk sees it: what stays the same is put together once, deep features live for the chunk."""

    def __init__(
        self, networks: Networks, constants: torch.Tensor, audio_tokens: torch.Tensor, options: DiffusionOptions
    ) -> None:
        """Keep the constants, [9, F, h, h], and the tokens, [F, 50, 384]."""
        self._networks = networks
        self.keeps_features = options.mode.cache_interval > 1
        self._audio_tokens = audio_tokens[None]
        self._sample = constants.new_empty(1, SAMPLE_CHANNELS, *constants.shape[1:])
        self._sample[:, LATENT_CHANNELS:] = constants
        self._deep_features: list[torch.Tensor | None] = []  # of each call that a step takes

    def full(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Run the whole network, [1, 4, F, h, h] and [1, N] -> [N, 4, F, h, h]."""
        answers = [self._networks.unet(*call, deep=self.keeps_features) for call in self._calls(latents, timestep)]
        self._deep_features = [deep_features for _, deep_features in answers]
        return torch.cat([noise_pred[0] for noise_pred, _ in answers])

    def shallow(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Run the outermost layers over the last full step's deep features, of which guidance may have ended."""
        answers = []
        for call, deep_features in zip(self._calls(latents, timestep), self._deep_features, strict=False):
            assert deep_features is not None
            answers.append(self._networks.unet_shallow(*call, deep_features[:, : call[1].shape[1]])[0])
        return torch.cat(answers)

    def _calls(
        self, latents: torch.Tensor, timestep: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Give all branches to one call, or each to its own, where silence must be told."""
        self._sample[:, :LATENT_CHANNELS] = latents
        if timestep.shape[1] <= self._networks.branches_per_call:
            return [(self._sample, timestep, self._audio_tokens)]
        heard, silent = timestep.chunk(2, dim=1)
        silence = torch.zeros_like(self._audio_tokens)
        return [(self._sample, heard, self._audio_tokens), (self._sample, silent, silence)]


def _generator(seed: int, *spawn_key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=spawn_key)))


def _check(faces: np.ndarray, audio_tokens: np.ndarray, noise: Noise) -> None:
    check_frames(faces)
    check_chunk_length(len(faces))
    height, width = faces.shape[1:3]
    if height != width or height % RESOLUTION_MULTIPLE:
        raise ValueError(
            f"faces: expected squares with an edge divisible by {RESOLUTION_MULTIPLE}, got {height} x {width}"
        )
    check_rows("audio_tokens", audio_tokens, len(faces), each="faces")
    side = latent_side(height)
    frame_shape = (LATENT_CHANNELS, side, side)
    shapes = {"initial": frame_shape, "masked": (len(faces), *frame_shape), "reference": (len(faces), *frame_shape)}
    for name, array in noise._asdict().items():
        if array.shape != shapes[name]:
            raise ValueError(f"{name}_noise: expected {list(shapes[name])}, got {list(array.shape)}")
