"""The client's errors, and references to options: each front end puts both into its own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import ClassVar

Spell = Callable[[str], str]  # an option's name, such as "if_audio_longer" -> what a front end calls it

_REFERENCE = re.compile(r"⟦([a-z0-9_]+)⟧")


def ref(option: str) -> str:
    """Refer to an option in the text of an error or a warning; each front end puts its own spelling there."""
    return f"⟦{option}⟧"


def by_name(option: str) -> str:
    """Spell an option by its plain name, as the API and Python do."""
    return option


class LipSyncError(Exception):
    """Base of every error that the client reports in one line.

    Attributes:
        message: the whole statement, where the error is no mismatch of expected and found; else empty.
        about: what the error is about: a file, a server, a model. Empty if it is about an option.
        options: names of the options that it is about, such as ("crf",).
        expected: the rule that was broken, as a noun phrase; may refer to options with `ref`.
        got: what was found instead; any text.
        advice: what to do; may refer to options with `ref`.
    """

    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "The job failed"  # for people who see no option names

    def __init__(
        self,
        message: str = "",
        *,
        about: object = "",
        option: str | tuple[str, ...] = (),
        expected: str = "",
        got: object = "",
        advice: str = "",
    ) -> None:
        """Keep the fields. Without a message they form `<about>: expected <rule>, got <value>. <advice>`."""
        super().__init__(message)
        self.message = message
        self.about = str(about)
        self.options = (option,) if isinstance(option, str) else option
        self.expected = expected
        self.got = str(got)
        self.advice = advice

    def __str__(self) -> str:
        """Return the error in one line, options spelled by their plain names."""
        return self.text(by_name)

    def text(self, spell: Spell) -> str:
        """Return the error in one line, options spelled as a front end calls them."""
        subject = ", ".join(filter(None, [*map(spell, self.options), self.about]))
        if self.message:
            statement = f"{subject}: {self.message}" if subject else self.message
        else:
            got = f", got {self.got}" if self.got else ""
            statement = f"{subject}: expected {self.expected}{got}" if subject else f"expected {self.expected}{got}"
        return spelled(f"{statement}. {self.advice}" if self.advice else statement, spell)

    def for_people(self, spell: Spell) -> str:
        """Return the error as sentences for people who filled in a form; `spell` returns an option's label there."""
        subject = ", ".join(filter(None, [*map(spell, self.options), self.about]))
        sentences = [f"{subject}:" if subject else "", self.message and f"{self.message}."]
        if self.expected:
            sentences.append(f"Needed: {self.expected}.")
        if self.got:
            sentences.append(f"Found: {self.got}.")
        sentences.append(self.advice and f"{self.advice.rstrip('.')}.")
        return spelled(" ".join(filter(None, sentences)), in_quotes(spell))

    def as_dict(self) -> dict[str, object]:
        """Return class and fields as JSON values, for `error_from_dict` in another process."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "about": self.about,
            "options": list(self.options),
            "expected": self.expected,
            "got": self.got,
            "advice": self.advice,
            "notes": list(getattr(self, "__notes__", ())),
        }


class UsageError(LipSyncError):
    """Values of options that are out of range, or options that exclude each other."""

    exit_code = 2
    title = "An option cannot be used like this"


class MediaError(LipSyncError):
    """A video or audio file that cannot be used."""

    exit_code = 3
    title = "The video or the audio cannot be used"


class NoFaceError(LipSyncError):
    """No frame of the part of the video that was to be lip-synced could be changed."""

    exit_code = 4
    title = "No face was found"


class ServerUnavailable(LipSyncError):
    """The server does not start, cannot be reached, or went away during the job."""

    exit_code = 5
    title = "The lip-sync server cannot be reached"


class ServerLost(ServerUnavailable):
    """The connection broke: the server is gone or no longer answers."""


class ServerBusy(ServerUnavailable):
    """The server is alive but refuses the request because too many are queued."""


class NoAnswer(ServerUnavailable):
    """No answer arrived before the request's deadline."""


class AccessDenied(ServerUnavailable):
    """The server's certificate, the client's certificate or the token is not accepted."""


class RequestRejected(LipSyncError):
    """The server answered, but refused the request or failed in it."""

    exit_code = 6
    title = "The server could not do this job"


class ModelDied(RequestRejected):
    """The process of a model died on the server, which cannot answer further requests for it."""


class ShortageError(LipSyncError):
    """The machine, or a limit of the process, gives no more memory or threads."""

    title = "Memory or threads ran out"


class OutputError(LipSyncError):
    """The result cannot be written."""

    exit_code = 7
    title = "The result cannot be written"


class BatchError(LipSyncError):
    """Jobs of a batch failed."""

    exit_code = 8


def error_from_dict(fields: Mapping[str, object]) -> LipSyncError:
    """Rebuild an error from `LipSyncError.as_dict`; unknown classes become a plain LipSyncError."""
    kind = _CLASSES.get(str(fields.get("type")), LipSyncError)
    options, notes = fields.get("options"), fields.get("notes")
    error = kind(
        str(fields.get("message", "")),
        about=fields.get("about", ""),
        option=tuple(map(str, options)) if isinstance(options, list) else (),
        expected=str(fields.get("expected", "")),
        got=fields.get("got", ""),
        advice=str(fields.get("advice", "")),
    )
    for note in notes if isinstance(notes, list) else ():
        error.add_note(str(note))
    return error


def in_quotes(spell: Spell) -> Spell:
    """Put an option's label in quotes, so that it stands out in a sentence."""
    return lambda option: f"“{spell(option)}”"


def spelled(text: str, spell: Spell) -> str:
    """Replace every reference made by `ref` with a front end's spelling of the option."""
    return _REFERENCE.sub(lambda match: spell(match[1]), text)


def _subclasses(root: type[LipSyncError]) -> dict[str, type[LipSyncError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _subclasses(child)
    return found


_CLASSES = _subclasses(LipSyncError)
