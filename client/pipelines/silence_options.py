"""The option of all pipelines that says what mouths do while nobody speaks."""

from __future__ import annotations

from typing import Literal

from client.option import Option
from client.option_kinds import Choice

InSilence = Literal["close", "keep", "model"]

IN_SILENCE: Option[InSilence] = Option(
    "in_silence",
    Choice(
        {
            "close": "Close the mouth",
            "keep": "Keep the video's own mouth",
            "model": "Let the model draw",
        }
    ),
    "close",
    "While nobody speaks, in pauses, music and noise: close the mouth (close), leave the video's own mouth (keep), or"
    " let the model draw as the originals do (model).",
    "While nobody speaks",
    "Music and noise do not count as speech. For singing, let the model draw.",
)
