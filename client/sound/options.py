"""Options of all pipelines that choose what the lips follow and what is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from client.errors import UsageError, ref
from client.media import STRETCH
from client.option import COMMAND_LINE, WITHOUT_FORM, Option, OptionValues
from client.option_kinds import Choice, Number, Text
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER

ORIGINAL_SOUND: Final = "original"
MAX_OFFSET_S = 1_000_000
MAX_DUCK_DB = 60

Background = Path | Literal["original"]


def _read_background(text: str) -> Background:
    return ORIGINAL_SOUND if text == ORIGINAL_SOUND else Path(text)


AUDIO_OFFSET: Option[float] = Option(
    "audio_offset",
    Number(-MAX_OFFSET_S, MAX_OFFSET_S, step=0.1, unit="seconds", placeholder="S"),
    0.0,
    "Start the voice later by this many seconds; if negative, so much of its beginning is left out.",
    "Voice starts later (seconds)",
    "Negative: so much of the voice's beginning is left out.",
    front_ends=WITHOUT_FORM,
)
SOUNDTRACK: Option[Path | None] = Option(
    "soundtrack",
    Text(Path, "a path", "FILE", show=str, max_length=4096),
    None,
    "Write this file's sound as it is, in place of the voice, which goes on driving the lips.",
    "Soundtrack",
    default_text="the voice",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
BACKGROUND: Option[Background | None] = Option(
    "background",
    Text(_read_background, f"{ORIGINAL_SOUND} or a path", f"{ORIGINAL_SOUND}|FILE", show=str, max_length=4096),
    None,
    "Mix the video's own sound (original), or a file such as music, under the voice.",
    "Background",
    default_text="none",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
    web_kind=Choice({ORIGINAL_SOUND: "The video's own sound"}),
)
BACKGROUND_VOLUME: Option[float] = Option(
    "background_volume",
    Number(-60, 20, unit="dB", placeholder="DB"),
    0.0,
    "Change of the background's level, in dB.",
    "Background's volume (dB)",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
DUCK: Option[float | None] = Option(
    "duck",
    Number(0, MAX_DUCK_DB, unit="dB", placeholder="DB"),
    None,
    "How much softer the background is while a voice speaks, in dB.",
    "Softer under the voice (dB)",
    default_text="as loud as else",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
SOUND_OPTIONS: tuple[Option[Any], ...] = (AUDIO_OFFSET, SOUNDTRACK, BACKGROUND, BACKGROUND_VOLUME, DUCK)


def stretches(values: OptionValues) -> bool:
    """Return whether the voice's speed may change."""
    return STRETCH in (values[IF_AUDIO_LONGER], values[IF_AUDIO_SHORTER])


def check_sound(values: OptionValues) -> None:
    """Check that the options of the sound go together.

    Raises:
        UsageError: they do not.
    """
    for option in (BACKGROUND_VOLUME, DUCK):
        if values.has(option) and values[BACKGROUND] is None:
            raise UsageError(
                option=option.name,
                expected=f"{ref(BACKGROUND.name)} beside it",
                got="none",
                advice="Choose a background, or leave it out",
            )
    if values[SOUNDTRACK] is None:
        return
    if values[BACKGROUND] is not None:
        raise UsageError(
            option=(SOUNDTRACK.name, BACKGROUND.name),
            expected="one of the two",
            got="both",
            advice="A soundtrack is written as it is; mix the background into it, or leave one out",
        )
    if stretches(values):
        raise UsageError(
            option=SOUNDTRACK.name,
            expected=f"a voice at its own speed beside it, not {STRETCH}",
            got=f"{ref(IF_AUDIO_LONGER.name)} {values[IF_AUDIO_LONGER]},"
            f" {ref(IF_AUDIO_SHORTER.name)} {values[IF_AUDIO_SHORTER]}",
            advice="A soundtrack is written as it is; choose another rule for the length",
        )
