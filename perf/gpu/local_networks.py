"""LatentSync's networks in this process, called by its denoising loop as a server's models would be."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from lipsync_core.latentsync.sizes import MAX_BRANCHES
from lipsync_core.programs.runner import StaticRunner
from lipsync_core.programs.settings import ProgramSettings
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS, latent_side
from perf.gpu.networks import Size, build_shallow, build_unet, build_vae_halves, chunk_inputs, random


class LocalNetworks:
    """LatentSync's networks as its denoising loop calls them; one call at a time, as on a server's GPU."""

    def __init__(
        self,
        size: Size,
        settings: ProgramSettings,
        device: torch.device,
        images_per_call: int,
        branches_per_call: int = MAX_BRANCHES,
    ) -> None:
        """Build all networks on a device.

        Args:
            size: The size of the networks.
            settings: Precision and compile mode.
            device: Where they run.
            images_per_call: Batch of the VAE.
            branches_per_call: Branches of guidance in one call of the UNet.
        """
        self.branches_per_call = branches_per_call
        self._images_per_call = images_per_call
        self._lock = threading.Lock()
        unet = build_unet(size, device)
        shallow = build_shallow(unet)
        self.unet_runner = StaticRunner(unet, settings, device)
        self.shallow_runner = StaticRunner(shallow, settings, device)  # on the same weights, already in half precision
        encoder, decoder = build_vae_halves(size, device)
        self.encoder, self.decoder = StaticRunner(encoder, settings, device), StaticRunner(decoder, settings, device)
        self.device = device
        self._size = size

    def prepare(self, edge: int) -> None:
        """Compile for one chunk of faces with an edge of `edge` pixels, without guidance and with it."""
        side = latent_side(edge)
        for branches in range(1, self.branches_per_call + 1):
            for runner, deep in ((self.unet_runner, False), (self.shallow_runner, True)):
                runner.prepare(chunk_inputs(self._size, edge, 1, self.device, branches=branches, deep=deep))
        self.encoder.prepare([random(self.device, self._images_per_call, IMAGE_CHANNELS, edge, edge)])
        self.decoder.prepare([random(self.device, self._images_per_call, LATENT_CHANNELS, side, side)])

    def encode(self, images: Tensor) -> Tensor:
        """Run the VAE's encoder on images [N, 3, H, W]."""
        return self._in_batches(self.encoder, images)

    def decode(self, latents: Tensor) -> Tensor:
        """Run the VAE's decoder on latents [N, 4, H / 8, W / 8]."""
        return self._in_batches(self.decoder, latents)

    def unet(
        self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor, *, deep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Run the UNet; returns the noise prediction, and the deep features if asked for."""
        with self._lock:
            noise_pred, deep_features = self.unet_runner([sample, timestep, audio_tokens])
        return noise_pred, deep_features if deep else None

    def unet_shallow(self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor, deep_features: Tensor) -> Tensor:
        """Run the UNet's outermost layers on deep features of an earlier step."""
        with self._lock:
            return self.shallow_runner([sample, timestep, audio_tokens, deep_features])[0]

    def _in_batches(self, runner: StaticRunner, images: Tensor) -> Tensor:
        parts = torch.split(images, self._images_per_call)
        with self._lock:
            return torch.cat([runner([part])[0] for part in parts])
