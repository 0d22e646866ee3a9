"""Where the VAE's weights come from: a given checkpoint, or sd-vae-ft-mse on Hugging Face."""

from __future__ import annotations

from pathlib import Path

from export.shared.hub import HubFile
from export.shared.sources import Source
from export.vae.network import VAE

PUBLISHED = HubFile(
    "stabilityai/sd-vae-ft-mse",
    "31f26fdeee1355a5c34592e401dd41e45d25a493",
    "diffusion_pytorch_model.safetensors",
    "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
)


def vae_source(option: str, given: Path | None) -> Source:
    """Describe the source of the VAE's weights for a command that takes them with an option."""
    return Source(VAE, option, given, PUBLISHED)
