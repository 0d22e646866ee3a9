"""Networks of a few lines that look at all they get, in place of LatentSync's."""

from __future__ import annotations

import torch

LATENT_STRIDE = 8


class FakeNetworks:
    """Cheap functions with the networks' shapes; counts its calls, and can be told to overflow."""

    def __init__(self, *, overflow: str | None = None) -> None:
        """Take the name of the output that is to be NaN."""
        self.calls: list[str] = []
        self.rows: list[int] = []  # of each call's output
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
        features = features + audio_tokens.mean(dim=(2, 3))[:, None, :, None, None]
        noise = self._noise(sample, timestep, audio_tokens, features)
        return self._answer("unet", noise), features if deep else None

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Go on from the features."""
        return self._answer("unet_shallow", self._noise(sample, timestep, audio_tokens, deep_features))

    @staticmethod
    def _noise(
        sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        spoken = audio_tokens.mean(dim=(2, 3))[:, None, :, None, None]
        return torch.tanh(sample[:, :4] + 0.1 * features[:, :4] + spoken + timestep[:, :, None, None, None] / 1000)

    def _answer(self, name: str, output: torch.Tensor) -> torch.Tensor:
        self.calls.append(name)
        self.rows.append(len(output))
        return output * torch.nan if name == self.overflow else output
