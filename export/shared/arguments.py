"""Options that the export commands share. Does not depend on torch, so that `--help` works without it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from lipsync_core.repository import DEFAULT_REPOSITORY

Size = Literal["full", "small"]
Precision = Literal["fp32", "fp16"]
Format = Literal["onnx", "torch"]
T = TypeVar("T")

SYNTHETIC_LINE = "synthetic weights: the faces are noise, for tests and benchmarks only"


@dataclass(frozen=True)
class Command:
    """One command of `python -m export`.

    Attributes:
        name: Name of the command.
        summary: What the command exports, for the help.
        add_arguments: Adds the command's options to its parser.
        run: Runs the command and prints what was written; raises ValueError or OSError where that fails.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


@dataclass(frozen=True)
class ExportOptions:
    """Values of the shared options.

    Attributes:
        repository: Model repository to write to.
        formats: File formats to write.
        precision: Precision of the ONNX graphs; torch programs are float32 and are served in any precision.
        seed_shift: Added to the random seed of synthetic weights; None where networks without checkpoint are left out.
        size: Size of the networks.
        download: Whether to download published weights that were not given.
        replace: Whether to replace a shared network that holds other weights.
    """

    repository: Path
    formats: tuple[Format, ...]
    precision: Precision
    seed_shift: int | None
    size: Size
    download: bool
    replace: bool


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Add the option `--repository`."""
    parser.add_argument(
        "--repository", type=Path, default=DEFAULT_REPOSITORY, help="model repository (default: %(default)s)"
    )


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that exports networks from torch."""
    parser.set_defaults(size="full", download=False, replace=False)  # for commands without these options
    parser.add_argument(
        "--synthetic-weights",
        type=_seed,
        nargs="?",
        const=0,
        metavar="SEED",
        help="synthetic weights for each network without a checkpoint; SEED shifts their random seed (default: 0)",
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "torch"),
        nargs="+",
        default=["onnx"],
        help="onnx: model.onnx; torch: model.pt2, for servers started with --model-config-name torch (default: onnx)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="precision of model.onnx; model.pt2 is served in any (default: %(default)s)",
    )
    add_repository(parser)


def add_shared_networks(parser: argparse.ArgumentParser) -> None:
    """Add the options `--vae` and `--whisper`, for pipelines that share these networks, and those that go with them."""
    parser.add_argument("--vae", type=Path, help="folder or file of sd-vae-ft-mse; exports its encoder and decoder")
    parser.add_argument("--whisper", type=Path, help="folder or file of whisper-tiny, or OpenAI's tiny.pt")
    add_download(parser)
    add_size(parser)
    add_replace(parser)


def add_only(parser: argparse.ArgumentParser, networks: Sequence[str]) -> None:
    """Add the option `--only`, for commands that export several networks.

    Args:
        parser: The command's parser.
        networks: Names of the networks.
    """
    parser.add_argument(
        "--only", choices=networks, nargs="+", default=networks, help="networks to export (default: all with weights)"
    )


def read_only(arguments: argparse.Namespace, networks: Sequence[str], sources: Sequence[T]) -> list[T]:
    """Return the sources of the networks that `--only` names, in order.

    Args:
        arguments: Parsed by a parser that went through `add_only`.
        networks: Names of the networks.
        sources: A source for each name.
    """
    return [source for name, source in zip(networks, sources, strict=True) if name in arguments.only]


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add the option `--size`, for networks that can be built small."""
    parser.add_argument(
        "--size", choices=("full", "small"), help="small: for tests, with synthetic weights only (default: full)"
    )


def add_download(parser: argparse.ArgumentParser) -> None:
    """Add the option `--download`, for networks with published weights on Hugging Face."""
    parser.add_argument(
        "--download",
        action="store_true",
        help="download checkpoints that are not given from Hugging Face, pinned by revision and hash",
    )


def add_replace(parser: argparse.ArgumentParser) -> None:
    """Add the option `--replace`, for networks that several pipelines share."""
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace networks shared with other pipelines (VAE, Whisper) even if they hold other weights",
    )


def read_options(arguments: argparse.Namespace) -> ExportOptions:
    """Read the values of the shared options.

    Args:
        arguments: Parsed by a parser that went through `add_export_options`.
    """
    return ExportOptions(
        repository=arguments.repository,
        formats=tuple(dict.fromkeys(arguments.format)),
        precision=arguments.precision,
        seed_shift=arguments.synthetic_weights,
        size=arguments.size,
        download=arguments.download,
        replace=arguments.replace,
    )


def _seed(text: str) -> int:
    """Read a seed of the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
