"""The option of all pipelines that hears the speech as live output does."""

from __future__ import annotations

from client.option import WITHOUT_FORM, Option
from client.option_kinds import Switch

LIVE_WINDOWS: Option[bool] = Option(
    "live_windows",
    Switch(),
    default=False,
    help="Hear the speech as live output does: for each frame what was said until a quarter of a second after it, and"
    " nothing later. The frames are those of a stream with the same clip and voice.",
    label="As live output",
    front_ends=WITHOUT_FORM,
)
