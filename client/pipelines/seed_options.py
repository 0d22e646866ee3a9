"""The seed, an option of pipelines that generate from noise."""

from __future__ import annotations

from client.option import Option
from client.option_kinds import Number
from lipsync_core.latentsync.options import MAX_SEED, DiffusionOptions

SEED: Option[int] = Option(
    "seed",
    Number(0, MAX_SEED, integer=True),
    DiffusionOptions.seed,
    "Random seed.",
    "Random seed",
    "Another seed gives another variation.",
)
