"""What a page and the service say to each other on the WebSocket `/live`. Knows neither side.

The page opens a stream with a text message; then it sends voice as binary messages and asks for interruptions and the
end with texts. The service answers with texts, and with the stream's fragmented mp4 in binary messages.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from client.live.settings import StreamSettings
from client.web.problem_kinds import MALFORMED, UNUSABLE
from client.web.problems import ProblemError, validation_problem

MAX_MESSAGE_BYTES = 1 << 17  # of a message of a page; more closes the connection
MAX_PIECE_BYTES = 96_000  # of voice in a message: a second at 48 kHz
SAMPLE_BYTES = 2
DEFAULT_RATE = 48_000  # Hz, which browsers use


class Opening(BaseModel):
    """Opens a stream.

    Attributes:
        kind: `open`.
        clip: name of a clip of `GET /live/clips`.
        rate: samples per second of the voice.
        options: options of live output by their names.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["open"]
    clip: str = Field(max_length=64)
    rate: int = DEFAULT_RATE
    options: dict[str, str | int | float | bool | None] = Field(default={}, max_length=100)

    def settings(self) -> StreamSettings:
        """Return the stream's settings.

        Raises:
            UsageError: the rate cannot be used.
        """
        return StreamSettings(self.clip, self.rate, options=self.options)


class Wish(BaseModel):
    """Asks something of an open stream.

    Attributes:
        kind: `interrupt` drops the voice that is not shown yet; `end` ends the stream after the voice that was sent.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["interrupt", "end"]


Sent = Annotated[Opening | Wish, Field(discriminator="kind")]
_sent: TypeAdapter[Opening | Wish] = TypeAdapter(Sent)


def read_text(text: str) -> Opening | Wish:
    """Read a text message of a page.

    Raises:
        ProblemError: 400, it is no JSON; 422, it is another message.
    """
    try:
        return _sent.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise validation_problem(error.errors()) from error
        raise ProblemError(MALFORMED, expected="a text message with a JSON object", got="something else") from error


def read_voice(content: bytes) -> np.ndarray:
    """Read a piece of voice, 16 bits, little-endian, mono: int16 [S].

    Raises:
        ProblemError: 422, it is empty, too long, or ends within a sample.
    """
    if not content or len(content) > MAX_PIECE_BYTES or len(content) % SAMPLE_BYTES:
        raise ProblemError(
            UNUSABLE,
            name="voice",
            expected=f"whole samples of 16 bits, mono, at most {MAX_PIECE_BYTES} bytes of them in a message",
            got=f"{len(content)} bytes",
            advice="Send 20 to 100 ms at a time",
        )
    return np.frombuffer(content, "<i2").astype(np.int16)


def as_text(kind: str, **facts: Any) -> str:
    """Return a text message for a page."""
    return json.dumps({"kind": kind, **facts})
