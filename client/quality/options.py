"""The options of a job that say how its result is checked."""

from __future__ import annotations

from typing import Literal

from client.errors import ref
from client.option import WITHOUT_FORM, Option, OptionValues
from client.option_kinds import Choice, Switch

Check = Literal["quick", "full", "off"]

QUICK_FRAMES = 50  # of each speaker, at most, are looked at by a quick check

CHECK: Option[Check] = Option(
    "check",
    Choice({"quick": f"{QUICK_FRAMES} frames of each speaker", "full": "Every frame", "off": "Not at all"}),
    "quick",
    f"Check of the result, for its report: at most {QUICK_FRAMES} frames of each speaker (quick), every frame (full),"
    " or none (off). It changes nothing.",
    "Check of the result",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
FIX_OFFSET: Option[bool] = Option(
    "fix_offset",
    Switch(),
    default=False,
    help=f"Where the check finds that the mouth moves too early or too late, make the result again with the lips moved"
    f" by as much; the sound stays. Takes twice as long then; implies {ref(CHECK.name)} full.",
    label="Correct early or late lips",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
QUALITY_OPTIONS = (CHECK, FIX_OFFSET)


def check_of(values: OptionValues) -> Check:
    """Return how a result is checked: in full where offsets are corrected, else as chosen."""
    return "full" if values[FIX_OFFSET] else values[CHECK]
