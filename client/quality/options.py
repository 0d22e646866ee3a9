"""The options of a job that say how its result is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from client.errors import UsageError, ref
from client.option import COMMAND_LINE, WITHOUT_FORM, Option, OptionValues
from client.option_kinds import Choice, Switch, Text, absolute

Check = Literal["quick", "full", "off"]

QUICK_FRAMES = 50  # of each speaker, at most, are looked at by a quick check
CLOSURE_FRAMES = 20  # of these, at most, show closures, where an alignment says when there are any

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
ALIGNMENT: Option[Path | None] = Option(
    "alignment",
    Text(absolute, "a path", "FILE", show=str, max_length=4096),
    None,
    "When each phone of the speech is said, for the check: whether the lips close at p, b and m. A TextGrid as the"
    " Montreal Forced Aligner writes it, CTM, or lines of start, end and phone in seconds of the speech; ARPABET or"
    " IPA.",
    "Phones of the speech",
    default_text="none",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
QUALITY_OPTIONS: tuple[Option[Any], ...] = (CHECK, FIX_OFFSET, ALIGNMENT)


def check_of(values: OptionValues) -> Check:
    """Return how a result is checked: in full where offsets are corrected, else as chosen."""
    return "full" if values[FIX_OFFSET] else values[CHECK]


def check_quality(values: OptionValues) -> None:
    """Check that the options of the check go together.

    Raises:
        UsageError: they do not.
    """
    if values[ALIGNMENT] is not None and check_of(values) == "off":
        raise UsageError(
            option=ALIGNMENT.name,
            expected=f"{ref(CHECK.name)} quick or full beside it",
            got="off",
            advice="Nothing else uses it; leave it out, or choose a check",
        )
