"""How a stream is paced and limited: what its client chooses, and what its server allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from client.errors import UsageError
from client.media.audio import PLAUSIBLE_RATES

Pace = Literal["real_time", "fast"]
SlowReader = Literal["drop", "hold"]
DEFAULT_RATE = 16_000  # Hz


@dataclass(frozen=True)
class StreamSettings:
    """What the client of a stream chooses when it opens it.

    Attributes:
        clip: name of the prepared clip.
        rate: samples per second of the voice, which all pieces have.
        pace: real_time shows pictures at their times, silence included where no voice arrives; fast draws them as soon
            as their voice is there, and waits for it.
        slow_reader: what happens if the client does not read its pictures in time: drop leaves some out, hold stops the
            stream's clock. A stream of pace fast always holds.
        options: options of the pipeline by their names, as JSON values.
    """

    clip: str
    rate: int = DEFAULT_RATE
    pace: Pace = "real_time"
    slow_reader: SlowReader = "drop"
    options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            UsageError: one cannot be used.
        """
        low, high = PLAUSIBLE_RATES
        if not isinstance(self.rate, int) or not low <= self.rate <= high:
            raise UsageError(about="rate", expected=f"a sample rate from {low} to {high} Hz", got=self.rate)
        _check("pace", self.pace, get_args(Pace))
        _check("slow_reader", self.slow_reader, get_args(SlowReader))
        if not isinstance(self.clip, str):
            raise UsageError(about="clip", expected="a name", got=self.clip)
        if not isinstance(self.options, Mapping):
            raise UsageError(about="options", expected="options by their names", got=self.options)

    def as_json(self) -> dict[str, Any]:
        """Return all choices as JSON values, for `read_settings`."""
        return dataclasses.asdict(self)


def read_settings(given: object) -> StreamSettings:
    """Read what `StreamSettings.as_json` returns; choices may be left out.

    Raises:
        UsageError: a choice is unknown, missing, or cannot be used.
    """
    known = [field.name for field in dataclasses.fields(StreamSettings)]
    if not isinstance(given, Mapping) or "clip" not in given:
        raise UsageError(about="settings", expected="a JSON object with the clip's name", got="another value")
    for name in given:
        if name not in known:
            raise UsageError(about="settings", expected=f"some of {', '.join(known)}", got=repr(name))
    return StreamSettings(**given)


@dataclass(frozen=True)
class StreamLimits:
    """What a server allows.

    Attributes:
        max_sessions: streams at once.
        max_voice_s: voice that may wait to be shown, in seconds.
        max_unread: pictures that may be on their way to a client that has not confirmed them.
        idle_timeout_s: time without any message of the client after which its stream ends, in seconds.
        jitter_s: silence before a voice that begins, so that its later pieces may be late by so much, in seconds.
    """

    max_sessions: int = 16
    max_voice_s: float = 60.0
    max_unread: int = 50
    idle_timeout_s: float = 30.0
    jitter_s: float = 0.06


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(about=name, expected=f"one of {', '.join(allowed)}", got=value)
