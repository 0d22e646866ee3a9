"""The LatentSync models: UNet, its shallow step, VAE and Whisper's encoder, from checkpoints to ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.wav2lip.command import INSTALL_HINT, add_formats, add_synthetic_weights
from lipsync_core.repository import DEFAULT_REPOSITORY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this sub-command's options."""
    parser.add_argument("--unet", type=Path, help="latentsync_unet.pt: exports the UNet and its shallow step")
    parser.add_argument("--vae", type=Path, help="sd-vae-ft-mse, its folder or file: exports its encoder and decoder")
    parser.add_argument("--whisper", type=Path, help="OpenAI's tiny.pt, or whisper-tiny's folder or file")
    parser.add_argument(
        "--download", action="store_true", help="get what is not given from Hugging Face, by revision and hash"
    )
    add_synthetic_weights(parser)
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: made-up weights only, tests")
    parser.add_argument("--version", choices=("1.5", "1.6"), default="1.5", help="256 or 512 pixels (default: 1.5)")
    add_formats(parser)
    parser.add_argument("--repository", type=Path, default=DEFAULT_REPOSITORY, help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    """Write the LatentSync models into the model repository, and say so.

    Raises:
        ValueError: torch or diffusers is missing; no or a wrong checkpoint; a graph unlike torch or its config.pbtxt.
    """
    try:
        from export.latentsync import job as latentsync_job  # noqa: PLC0415  (torch is heavy; other commands do without)
    except ImportError as error:
        raise ValueError(f"expected torch, diffusers and transformers, got {error}. {INSTALL_HINT}") from error
    given = {"--unet": arguments.unet, "--vae": arguments.vae, "--whisper": arguments.whisper}
    small = arguments.size == "small"
    if small and (any(given.values()) or arguments.download):
        raise ValueError("--size: expected full with real weights, got small. Small networks have made-up weights only")
    if not (any(given.values()) or arguments.download or arguments.synthetic_weights is not None):
        raise ValueError(
            "expected --unet, --vae, --whisper, --download or --synthetic-weights, got none."
            " Give the downloaded files, let this command download them, or try made-up weights"
        )
    paths = latentsync_job.find_checkpoints(given, download=arguments.download, version=arguments.version)
    for line in latentsync_job.export_all(
        paths,
        seed_shift=arguments.synthetic_weights,
        small=small,
        version=arguments.version,
        precision=arguments.precision,
        formats=tuple(dict.fromkeys(arguments.format)),
        repository=arguments.repository,
    ):
        print(line, flush=True)
