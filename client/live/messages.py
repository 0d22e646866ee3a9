"""What a client and the model `live` say to each other: tensors by name. Knows neither side.

A client opens a stream with one request, whose answers are the stream's events. When it confirms pictures that it has
read, the events go on as answers to that request, and the one before is complete. Requests name the stream by the id
that the client drew at random.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from client.errors import UsageError
from client.live.settings import StreamSettings, read_settings
from lipsync_core.audio.pcm import FULL_SCALE

MODEL = "live"
Action = Literal["open", "voice", "interrupt", "confirm", "end"]
EventKind = Literal["opened", "picture", "held", "ended"]
ID_BYTES = 16
MAX_SETTINGS = 20_000  # characters
NO_FRAME = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Request:
    """What a client asks.

    Attributes:
        action: open a stream, add voice, interrupt it, confirm pictures that were read, or end after the voice.
        session: the stream's id.
        settings: how it is opened; None for other actions.
        samples: voice, float32 mono [S]; empty for other actions.
        rate: the voice's samples per second.
        number: the last picture that was read.
    """

    action: Action
    session: str
    settings: StreamSettings | None = None
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    rate: int = 0
    number: int = -1

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the inputs of the model by name."""
        tensors = {"action": _text(self.action), "session": _text(self.session)}
        if self.settings is not None:
            tensors["settings"] = _text(json.dumps(self.settings.as_json()))
        if self.action == "voice":
            tensors["audio"] = self.samples
            tensors["rate"] = np.array([self.rate], np.int32)
        if self.action == "confirm":
            tensors["frame_number"] = np.array([self.number], np.int64)
        return tensors


def read_request(tensors: Mapping[str, np.ndarray]) -> Request:
    """Read the inputs of the model.

    Args:
        tensors: those that were sent, by name; texts as bytes.

    Raises:
        UsageError: they are no request.
    """
    action, session = (_read_text(name, tensors[name]) for name in ("action", "session"))
    if action not in get_args(Action):
        raise UsageError(about="action", expected=f"one of {', '.join(get_args(Action))}", got=repr(action[:40]))
    if not 1 <= len(session) <= 4 * ID_BYTES:
        raise UsageError(about="session", expected=f"an id of 1 to {4 * ID_BYTES} characters", got=len(session))
    settings = _read_settings(tensors) if action == "open" else None
    samples, rate = _read_voice(tensors) if action == "voice" else (np.zeros(0, np.float32), 0)
    number = int(_only(tensors, "frame_number")) if action == "confirm" else -1
    return Request(action, session, settings, samples, rate, number)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Event:
    """What the model answers.

    Attributes:
        kind: opened, picture (with a new picture), held (the last one stays) or ended.
        facts: numbers and texts of the event, as JSON values.
        frame: uint8 RGB [H, W, 3]; empty but for pictures.
        sound: float32 mono [S] at the stream's rate, the voice of this time.
    """

    kind: EventKind
    facts: Mapping[str, Any]
    frame: np.ndarray
    sound: np.ndarray

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the outputs of the model by name."""
        return {
            "event": _text(json.dumps({"kind": self.kind, **self.facts})),
            "frame": self.frame,
            "sound": self.sound,
        }


def plain_event(kind: EventKind, **facts: Any) -> Event:
    """Return an event without a picture."""
    return Event(kind, facts, NO_FRAME, np.zeros(0, np.float32))


def read_event(tensors: Mapping[str, np.ndarray]) -> Event:
    """Read the outputs of the model."""
    facts = json.loads(_read_text("event", tensors["event"]))
    return Event(facts.pop("kind"), facts, tensors["frame"], tensors["sound"])


def as_float(pcm: np.ndarray) -> np.ndarray:
    """Return samples, int16 or float [S], as float32 [S], -1 to 1.

    Raises:
        UsageError: they have another type or shape.
    """
    if pcm.ndim != 1 or (pcm.dtype != np.int16 and pcm.dtype.kind != "f"):
        raise UsageError(
            about="voice", expected="mono samples [S], int16 or float", got=f"{pcm.dtype} {list(pcm.shape)}"
        )
    return (pcm / FULL_SCALE).astype(np.float32) if pcm.dtype == np.int16 else pcm.astype(np.float32)


def _read_settings(tensors: Mapping[str, np.ndarray]) -> StreamSettings:
    text = _read_text("settings", tensors["settings"]) if "settings" in tensors else ""
    if len(text) > MAX_SETTINGS:
        raise UsageError(about="settings", expected=f"at most {MAX_SETTINGS} characters", got=len(text))
    try:
        return read_settings(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(about="settings", expected="a JSON object", got="something else") from error


def _read_voice(tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int]:
    given = [tensors[name] for name in ("audio", "audio_16_bit") if name in tensors]
    if len(given) != 1:
        raise UsageError(about="audio, audio_16_bit", expected="one of them with voice", got=len(given))
    return as_float(given[0]), int(_only(tensors, "rate"))


def _only(tensors: Mapping[str, np.ndarray], name: str) -> Any:
    if name not in tensors:
        raise UsageError(about=name, expected="it beside the action", got="none")
    return tensors[name].reshape(-1)[0]


def _text(text: str) -> np.ndarray:
    return np.array([text.encode()], np.object_)


def _read_text(name: str, array: np.ndarray) -> str:
    try:
        return array.reshape(-1)[0].decode()
    except UnicodeDecodeError:
        raise UsageError(about=name, expected="UTF-8 text", got="other bytes") from None
