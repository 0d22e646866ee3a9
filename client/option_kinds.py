"""The kinds of values that options have: how each is read from text and JSON, written, described and asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

Json = str | int | float | bool | None
T = TypeVar("T")


class Kind(Protocol):
    """How values of an option are read, written, described and asked for."""

    @property
    def expected(self) -> str:
        """The rule as a noun phrase, such as "0 to 51"."""

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the command line's help."""

    @property
    def summary(self) -> str:
        """The possible values, for a table."""

    def read(self, value: object) -> Any:
        """Return the typed value of text or JSON.

        Raises:
            ValueError: it breaks the rule.
        """

    def write(self, value: Any) -> Json:
        """Return a typed value as JSON that `read` takes."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of what `read` takes."""

    def control(self) -> dict[str, Any]:
        """Describe the form control that asks for a value."""


@dataclass(frozen=True)
class Choice:
    """One of several texts or numbers.

    Attributes:
        labels: value -> what a form calls it.
    """

    labels: Mapping[str, str] | Mapping[int, str]

    @property
    def values(self) -> tuple[str | int, ...]:
        """All values, in the order of the labels."""
        return tuple(self.labels)

    @property
    def expected(self) -> str:
        """The rule as a noun phrase."""
        return f"one of {', '.join(map(str, self.values))}"

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the command line's help."""
        return f"{{{','.join(map(str, self.values))}}}"

    @property
    def summary(self) -> str:
        """The possible values, for a table."""
        return ", ".join(map(str, self.values))

    def read(self, value: object) -> str | int:
        """Return the value that equals the text or number."""
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            for known in self.values:
                if str(known) == str(value):
                    return known
        raise ValueError

    def write(self, value: str | int) -> Json:
        """Return the value itself."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        kind = "integer" if isinstance(self.values[0], int) else "string"
        return {"type": kind, "enum": list(self.values)}

    def control(self) -> dict[str, Any]:
        """Describe a drop-down list."""
        choices = [{"value": str(value), "label": label} for value, label in self.labels.items()]
        return {"type": "choice", "choices": choices}


@dataclass(frozen=True)
class Number:
    """A number within limits.

    Attributes:
        low, high: the limits, included.
        integer: whether it is a whole number.
        step: increment of a form's control.
        unit: unit of the number, such as "seconds"; may be empty.
        placeholder: the metavar.
    """

    low: float
    high: float
    integer: bool = False
    step: float = 1
    unit: str = ""
    placeholder: str = "N"

    @property
    def expected(self) -> str:
        """The rule as a noun phrase."""
        kind = "a whole number from " if self.integer else ""
        return f"{kind}{self.low:.10g} to {self.high:.10g}{' ' if self.unit else ''}{self.unit}"

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the command line's help."""
        return self.placeholder

    @property
    def summary(self) -> str:
        """The possible values, for a table."""
        return f"{self.low:.10g} to {self.high:.10g}"

    def read(self, value: object) -> int | float:
        """Return the number, a float unless it is to be whole."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        if isinstance(value, str) and not value.isascii():
            raise ValueError
        number = float(value)
        if not (math.isfinite(number) and self.low <= number <= self.high):
            raise ValueError
        if not self.integer:
            return number
        if isinstance(value, str):
            return int(value)
        if number != int(number):
            raise ValueError
        return int(value)

    def write(self, value: float) -> Json:
        """Return the number itself."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        if self.integer:
            return {"type": "integer", "minimum": int(self.low), "maximum": int(self.high)}
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def control(self) -> dict[str, Any]:
        """Describe a number field."""
        return {"type": "number", "min": self.low, "max": self.high, "step": self.step}


@dataclass(frozen=True)
class Switch:
    """On or off."""

    expected: str = "true or false"
    metavar: str = ""
    summary: str = "on or off"

    def read(self, value: object) -> bool:
        """Return the value of a JSON boolean, or of the text "true" or "false"."""
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise ValueError

    def write(self, value: bool) -> Json:
        """Return the boolean itself."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "boolean"}

    def control(self) -> dict[str, Any]:
        """Describe a check box."""
        return {"type": "switch"}


@dataclass(frozen=True)
class Text(Generic[T]):
    """Text in a fixed format, such as X,Y.

    Attributes:
        parse: text -> value; raises ValueError where it breaks the rule.
        rule: the rule as a noun phrase.
        placeholder: the metavar.
        pattern: regular expression of the whole text, for forms and the API's schema; may be empty.
        example: a text that fits.
        show: value -> the text that `parse` reads as the same value.
        suggestions: texts that forms offer; others are possible.
    """

    parse: Callable[[str], T]
    rule: str
    placeholder: str
    pattern: str = ""
    example: str = ""
    show: Callable[[T], str] = str
    max_length: int = field(default=200, kw_only=True)
    suggestions: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def expected(self) -> str:
        """The rule as a noun phrase."""
        return self.rule

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the command line's help."""
        return self.placeholder

    @property
    def summary(self) -> str:
        """The possible values, for a table."""
        return self.placeholder

    def read(self, value: object) -> T:
        """Parse a text; a list of numbers stands for the numbers separated by commas, a number for its digits."""
        if isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > self.max_length:
            raise ValueError
        return self.parse(value)

    def write(self, value: T) -> Json:
        """Return the text."""
        return self.show(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        schema: dict[str, Any] = {"type": "string", "maxLength": self.max_length}
        if self.pattern:
            schema["pattern"] = f"^{self.pattern}$"
        if self.example:
            schema["examples"] = [self.example]
        return schema

    def control(self) -> dict[str, Any]:
        """Describe a text field."""
        return {
            "type": "text",
            "pattern": self.pattern,
            "example": self.example,
            "suggestions": list(self.suggestions),
        }


def absolute(text: str) -> Path:
    """Make a path absolute, so that it holds in the processes of a batch."""
    return Path(os.path.abspath(text))


PATH = Text(Path, "a path", "DIR", show=str, max_length=4096)


def numbers(count: int, *, low: float = -math.inf, high: float = math.inf) -> Callable[[str], tuple[float, ...]]:
    """Make a parser of that many finite numbers within limits, separated by commas."""

    def parse(text: str) -> tuple[float, ...]:
        found = tuple(float(part) for part in text.split(","))
        if len(found) != count or not all(math.isfinite(number) and low <= number <= high for number in found):
            raise ValueError
        return found

    return parse


def comma_separated(values: Iterable[float]) -> str:
    """Write numbers as `numbers` reads them."""
    return ",".join(f"{value:.10g}" for value in values)
