"""The Wav2Lip models: its generator and its face detector S3FD, from checkpoints to ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.model_file import note_weights
from lipsync_core.repository import DEFAULT_REPOSITORY

INSTALL_HINT = "Install them with: pip install 'lipsync-triton[export,torch]'"
SYNTHETIC_LINE = "made-up weights: they draw noise, for tests and benchmarks only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this sub-command's options."""
    parser.add_argument("--checkpoint", type=Path, help="wav2lip.pth or wav2lip_gan.pth: exports the generator")
    parser.add_argument("--s3fd", type=Path, help="s3fd.pth: exports the original's face detector")
    add_synthetic_weights(parser)
    add_formats(parser)
    parser.add_argument("--repository", type=Path, default=DEFAULT_REPOSITORY, help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    """Write the Wav2Lip models into the model repository, and say so.

    Raises:
        ValueError: torch is missing; no or a wrong checkpoint; a graph unlike torch or its config.pbtxt.
    """
    try:
        from export.wav2lip import networks  # noqa: PLC0415  (torch is heavy; other commands do without)
    except ImportError as error:
        raise ValueError(f"expected torch and onnxscript, got {error}. {INSTALL_HINT}") from error

    checkpoints = {networks.GENERATOR.model: arguments.checkpoint, networks.DETECTOR.model: arguments.s3fd}
    shift: int | None = arguments.synthetic_weights
    chosen = [network for network in networks.NETWORKS if checkpoints[network.model] or shift is not None]
    if not chosen:
        raise ValueError(
            "expected --checkpoint, --s3fd or --synthetic-weights, got none."
            " Give the downloaded wav2lip_gan.pth and s3fd.pth, or try made-up weights"
        )
    # all are read before the first is written
    modules = [networks.load(network, checkpoints[network.model], shift or 0) for network in chosen]
    for network, module in zip(chosen, modules, strict=True):
        for chosen_format in dict.fromkeys(arguments.format):
            print(networks.export(network, module, arguments.precision, arguments.repository, chosen_format))
            synthetic = checkpoints[network.model] is None
            note_weights(arguments.repository, network.model, chosen_format, synthetic=synthetic)
        print(f"  {network.license_line if checkpoints[network.model] else SYNTHETIC_LINE}")


def add_synthetic_weights(parser: argparse.ArgumentParser) -> None:
    """Describe the option that all networks have instead of checkpoints."""
    parser.add_argument(
        "--synthetic-weights",
        type=_seed,
        nargs="?",
        const=0,
        metavar="SEED",
        help="made-up weights for each network without a checkpoint; SEED is added to the recipe's own (default: 0)",
    )


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Describe the options that say what is written."""
    parser.add_argument(
        "--format",
        choices=("onnx", "torch"),
        nargs="+",
        default=["onnx"],
        help="onnx: model.onnx; torch: model.pt2, for servers started with --model-config-name torch (default: onnx)",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), default="fp32", help="of model.onnx; model.pt2 takes any (%(default)s)"
    )


def _seed(text: str) -> int:
    """Read a seed of the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
