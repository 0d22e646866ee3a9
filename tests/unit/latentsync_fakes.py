"""Networks of a few lines that look at all they get, in place of LatentSync's."""

from __future__ import annotations

import torch

LATENT_STRIDE = 8


class FakeNetworks:
    """Cheap functions with the networks' shapes; counts its calls, and can be told to overflow."""

    def __init__(self, *, overflow: str | None = None, branches_per_call: int = 2) -> None:
        """Take the name of the output that is to be NaN."""
        self.branches_per_call = branches_per_call
        self.calls: list[str] = []
        self.branches: list[int] = []  # of each call of a UNet
        self.overflow = overflow

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Average eight by eight pixels."""
        small = torch.nn.functional.avg_pool2d(images, LATENT_STRIDE)
        mean = torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)
        return self._answer("encode", torch.cat([mean, mean - 2], dim=1))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Enlarge three channels."""
        large = torch.nn.functional.interpolate(latents[:, :3], scale_factor=LATENT_STRIDE)
        return self._answer("decode", torch.tanh(large))

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mix everything; frames see each other."""
        features = sample[:, :8] + sample[:, 5:] + sample.mean(dim=2, keepdim=True)[:, :8]
        features = features[:, None] + self._spoken(audio_tokens, timestep.shape[1])
        noise = self._noise(sample, timestep, audio_tokens, features)
        return self._answer("unet", noise), features if deep else None

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Go on from the features."""
        return self._answer("unet_shallow", self._noise(sample, timestep, audio_tokens, deep_features))

    def _noise(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        branches = timestep.shape[1]
        self.branches.append(branches)
        spoken = self._spoken(audio_tokens, branches)
        time = timestep[:, :, None, None, None, None] / 1000
        return torch.tanh(sample[:, None, :4] + 0.1 * features[:, :, :4] + spoken + time)

    @staticmethod
    def _spoken(audio_tokens: torch.Tensor, branches: int) -> torch.Tensor:
        """What the branches hear, [B, N, 1, F, 1, 1]."""
        spoken = audio_tokens.mean(dim=(2, 3))[:, None, None, :, None, None]
        return torch.cat([spoken, *[torch.zeros_like(spoken)] * (branches - 1)], dim=1)

    def _answer(self, name: str, output: torch.Tensor) -> torch.Tensor:
        self.calls.append(name)
        return output * torch.nan if name == self.overflow else output
