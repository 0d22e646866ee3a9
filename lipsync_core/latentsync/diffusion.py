"""Generates one chunk of aligned faces for its audio tokens. The networks are passed in; does not depend on Triton.

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
    """LatentSync's networks. Tensors are float32; all outputs are on one device.

    A UNet's branches are those of classifier-free guidance: conditional (with audio), then unconditional (silence).
    """

    branches_per_call: int  # 1 or 2; 1 takes half the memory and more time

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images [N, 3, R, R], -1 to 1, to means and log variances [N, 8, h, h]."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode unscaled latents [N, 4, h, h] to images [N, 3, R, R]."""

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predict the noise in latents.

        Args:
            sample: [B, 13, F, h, h], noisy latents, mask, masked latents, reference latents.
            timestep: [B, N], the timestep for each branch.
            audio_tokens: [B, F, 50, 384].
            deep: Whether to return deep features as well.

        Returns:
            noise [B, N, 4, F, h, h]; deep features [B, N, C, F, h, h], or None.
        """

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise from deep features [B, N, C, F, h, h]; otherwise as `unet`, [B, N, 4, F, h, h]."""


class Noise(NamedTuple):
    """The noise of a chunk, standard normal, float32.

    Attributes:
        initial: [4, h, h], the same for all frames of a job.
        masked: [F, 4, h, h], for sampling the masked faces' latents.
        reference: [F, 4, h, h], for sampling the whole faces' latents.
    """

    initial: np.ndarray
    masked: np.ndarray
    reference: np.ndarray


def draw_noise(seed: int, chunk_index: int, frame_count: int, resolution: int) -> Noise:
    """Draw a chunk's noise: the initial noise from the seed alone, the rest from seed and chunk index.

    The generator is numpy's PCG64, seeded with SeedSequence(seed, spawn_key=()) and (seed, spawn_key=(chunk_index,)).

    Raises:
        ValueError: The chunk index is negative.
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
    """Generate a chunk's faces with lips that follow the audio tokens.

    Args:
        faces: uint8 RGB [F, R, R, 3].
        audio_tokens: float32 [F, 50, 384].
        networks: LatentSync's networks.
        options: Steps, scheduler, guidance and speed.
        noise: The chunk's noise; see `draw_noise`.
        before_step: Called before each step and before the VAE's decoder; its exceptions are passed on.

    Returns:
        float32 RGB [F, R, R, 3], about -1 to 1; equal to the input faces where the mask keeps them.

    Raises:
        ValueError: There are no faces or too many, or the shapes do not match.
        FloatingPointError: A network's output holds NaN or infinity.
    """
    _check(faces, audio_tokens, noise)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2) / HALF_WHITE - 1
    keep = torch.from_numpy(pixel_mask(faces.shape[1]).copy())
    before_step()
    moments = networks.encode(torch.cat([pixels * keep, pixels]))
    device = moments.device  # of the networks; tensors stay there until the faces are generated
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
    """The UNet bound to one chunk: its constant inputs are prepared once, and its deep features kept between steps."""

    def __init__(
        self, networks: Networks, constants: torch.Tensor, audio_tokens: torch.Tensor, options: DiffusionOptions
    ) -> None:
        """Bind the constant inputs: mask and latents, [9, F, h, h], and audio tokens, [F, 50, 384]."""
        self._networks = networks
        self.keeps_features = options.mode.cache_interval > 1
        self._audio_tokens = audio_tokens[None]
        self._sample = constants.new_empty(1, SAMPLE_CHANNELS, *constants.shape[1:])
        self._sample[:, LATENT_CHANNELS:] = constants
        self._deep_features: list[torch.Tensor | None] = []  # one for each call of a step

    def full(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Run the whole UNet, latents [1, 4, F, h, h] and timestep [1, N] -> noise [N, 4, F, h, h]."""
        answers = [self._networks.unet(*call, deep=self.keeps_features) for call in self._calls(latents, timestep)]
        self._deep_features = [deep_features for _, deep_features in answers]
        return torch.cat([noise_pred[0] for noise_pred, _ in answers])

    def shallow(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Run the outermost layers on the last full step's deep features; shapes as for `full`.

        Guidance may have ended since: then only the conditional branch, [1, 4, F, h, h], is computed.
        """
        answers = []
        for call, deep_features in zip(self._calls(latents, timestep), self._deep_features, strict=False):
            assert deep_features is not None
            answers.append(self._networks.unet_shallow(*call, deep_features[:, : call[1].shape[1]])[0])
        return torch.cat(answers)

    def _calls(
        self, latents: torch.Tensor, timestep: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Put all branches into one call, or one branch into each; then silence is zero tokens."""
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
