"""Fits voices to the video's length by their speed. Reads no sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from client.errors import UsageError, ref
from client.media import STRETCH
from client.option import Option, OptionValues
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from client.sound.tempo import MAX_SPEED, MIN_SPEED

SAME_S = 0.005  # voices that differ less from the video's length keep their speed


@dataclass(frozen=True)
class VoiceLength:
    """When a voice is heard if nothing changes its speed.

    Attributes:
        delay_s: when it starts, in seconds.
        length_s: for how long it is heard, in seconds.
    """

    delay_s: float
    length_s: float


def fitting_speed(voices: Sequence[VoiceLength], video_s: float | None, values: OptionValues) -> float:
    """Return the one speed of all voices with which the last one ends with the video; 1.0 if nothing is to change.

    Args:
        voices: the voices.
        video_s: when the video ends, in seconds; None for a still picture, which is as long as the voice.
        values: the options of the job.

    Raises:
        UsageError: the voices would have to be faster or slower than speech can be.
    """
    end_s = max(voice.delay_s + voice.length_s for voice in voices)
    if video_s is None or abs(end_s - video_s) < SAME_S:
        return 1.0
    option: Option[Any] = IF_AUDIO_LONGER if end_s > video_s else IF_AUDIO_SHORTER
    if values[option] != STRETCH:
        return 1.0
    if any(voice.delay_s >= video_s for voice in voices):
        raise _refusal(option, "voices that start before the video ends", f"one that starts after {video_s:.2f} s")
    speed = max(voice.length_s / (video_s - voice.delay_s) for voice in voices)
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise _refusal(
            option,
            f"a voice that fits the video's {video_s:.2f} s at {MIN_SPEED:g} to {MAX_SPEED:g} times its speed",
            f"one that ends at {end_s:.2f} s and would need {speed:.2f} times",
        )
    return speed


def _refusal(option: Option[Any], expected: str, got: str) -> UsageError:
    other = f"choose {ref(option.name)} {option.default} instead"
    advice = f"{'Shorten' if option is IF_AUDIO_LONGER else 'Lengthen'} the voice, or {other}"
    return UsageError(option=option.name, expected=expected, got=got, advice=advice)
