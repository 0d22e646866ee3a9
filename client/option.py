"""What an option is: its kind and default, its words, and the front ends that show it.

Values are read from text (command line, forms) and from JSON (batch files, the API) by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from client.errors import UsageError
from client.option_kinds import Json, Kind

FrontEnd = Literal["cli", "batch", "api", "page"]
T = TypeVar("T")

EVERYWHERE: frozenset[FrontEnd] = frozenset(("cli", "batch", "api", "page"))
WITHOUT_FORM: frozenset[FrontEnd] = EVERYWHERE - {"page"}
COMMAND_LINE: frozenset[FrontEnd] = frozenset(("cli", "batch"))
WEB: frozenset[FrontEnd] = frozenset(("api", "page"))


@dataclass(frozen=True, eq=False)
class Option(Generic[T]):
    """One thing that users may choose for a job.

    Attributes:
        name: in Python, the API and batch files, such as "if_audio_longer"; "--if-audio-longer" on the command line.
        kind: how values are read, with their limits.
        default: the value if nothing is chosen; a value that `kind` has, or None.
        help: one sentence for the command line, the API and the documentation; without the default.
        label: what the page's form calls it.
        explanation: help in the page's form; may be empty.
        default_text: what None means, in words.
        changes_answers: whether servers answer differently, so that parts of an interrupted job cannot be reused.
        front_ends: where it can be chosen.
        web_kind: how the API and the page read values, where they accept less; None if they accept the same.
    """

    name: str
    kind: Kind
    default: T
    help: str
    label: str
    explanation: str = ""
    default_text: str = ""
    changes_answers: bool = True
    front_ends: frozenset[FrontEnd] = EVERYWHERE
    web_kind: Kind | None = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return flag(self.name)

    @property
    def default_words(self) -> str:
        """The default as people read it."""
        if self.default_text:
            return self.default_text
        written = self.write(self.default)
        if isinstance(written, bool):
            return "on" if written else "off"
        return f"{written:g}" if isinstance(written, float) else str(written)

    def shown_in(self, front_end: FrontEnd) -> Option[T]:
        """Return the option as a front end reads it."""
        return self if self.web_kind is None or front_end not in WEB else replace(self, kind=self.web_kind)

    def read(self, value: object) -> T:
        """Return the typed value of text or JSON; None is the default where that is None.

        Raises:
            UsageError: it breaks the rule.
        """
        if value is None and self.default is None:
            return self.default
        try:
            return self.kind.read(value)
        except (ValueError, OverflowError):
            raise UsageError(option=self.name, expected=self.kind.expected, got=_shortened(value)) from None

    def write(self, value: T) -> Json:
        """Return a typed value as JSON that `read` takes."""
        return None if value is None else self.kind.write(value)


@dataclass(frozen=True)
class OptionValues:
    """Typed values of options; what was not chosen has its default.

    Attributes:
        chosen: option name -> typed value, of the options that were chosen.
    """

    chosen: Mapping[str, object] = field(default_factory=dict)

    def __getitem__(self, option: Option[T]) -> T:
        """Return an option's value."""
        return self.chosen.get(option.name, option.default)  # type: ignore[return-value]

    def has(self, option: Option[Any]) -> bool:
        """Return whether an option has another value than its default."""
        return bool(self[option] != option.default)

    def as_json(self, options: Iterable[Option[Any]]) -> dict[str, Json]:
        """Return the values of these options, defaults included, as JSON."""
        return {option.name: option.write(self[option]) for option in options}

    def chosen_as_json(self, options: Iterable[Option[Any]]) -> dict[str, Json]:
        """Return the chosen values of these options as JSON."""
        return {option.name: option.write(self[option]) for option in options if option.name in self.chosen}


def flag(name: str) -> str:
    """Spell an option for the command line: if_audio_longer -> --if-audio-longer."""
    return f"--{name.replace('_', '-')}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
