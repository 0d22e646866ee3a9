"""What can be known of a file's origin: its credentials and its mark, in words, as JSON and as an exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import MediaError
from client.provenance.mark.detect import MarkFound, find_mark
from client.provenance.package import is_installed
from client.provenance.reading import WHAT_STATES_MEAN, CredentialsFound, read_credentials_of

VALID, DO_NOT_HOLD, MARK_ALONE, NOTHING = 0, 10, 11, 12
EXIT_CODES = {
    VALID: "the credentials hold: the file is as it was signed",
    DO_NOT_HOLD: "the credentials do not hold: the file or they were altered, or they belong to another file",
    MARK_ALONE: "no credentials, but the mark was found: the mouth was made by this program",
    NOTHING: "neither credentials nor mark: nothing is known of the file",
}
ALWAYS_UNKNOWN = "whether the speech is genuine, and whether the person shown agreed"


@dataclass(frozen=True)
class Findings:
    """What was found in one file.

    Attributes:
        file: the file's name.
        credentials: what its credentials say; None where c2pa-python is missing.
        mark: what the detector says; None if the pictures cannot be read.
    """

    file: str
    credentials: CredentialsFound | None
    mark: MarkFound | None

    @property
    def exit_code(self) -> int:
        """One of EXIT_CODES."""
        state = "none" if self.credentials is None else self.credentials.state
        if state == "valid":
            return VALID
        if state != "none":
            return DO_NOT_HOLD
        return MARK_ALONE if self.mark is not None and self.mark.is_found else NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        found = None if self.credentials is None else dataclasses.asdict(self.credentials)
        return {
            "file": self.file,
            "exit_code": self.exit_code,
            "verdict": EXIT_CODES[self.exit_code],
            "credentials": found,
            "mark": None if self.mark is None else dataclasses.asdict(self.mark),
            "unknown": list(self.unknown()),
        }

    def text(self) -> str:
        """Return everything in words."""
        lines = [f"{self.file}: {EXIT_CODES[self.exit_code]}", *_about(self.credentials), *_about_mark(self.mark)]
        return "\n".join([*lines, "What cannot be known:", *(f"  {line}" for line in self.unknown())])

    def unknown(self) -> Iterator[str]:
        """Name what the file does not tell."""
        found = self.credentials
        if found is None:
            yield "whether there are credentials: c2pa-python is not installed"
        elif found.signed_by is not None:
            if not found.is_trusted:
                yield f"whether {found.signed_by!r} is the signer's real name: nobody known here vouches for it"
            if found.signed_at is None:
                yield "when it was signed: no timestamp authority says so"
        else:
            yield "who made the file, when, and from what"
            yield "whether the mouth was changed where no mark is found, as strong compression and cropping remove it"
        yield ALWAYS_UNKNOWN


def examine(path: Path, anchors: str | None = None) -> Findings:
    """Examine a file.

    Args:
        path: the file.
        anchors: certificates of authorities that are trusted, PEM; None for none.

    Raises:
        MediaError: it cannot be read.
    """
    credentials = read_credentials_of(path, anchors) if is_installed() else None
    try:
        mark = find_mark(path)
    except MediaError:
        if credentials is None or credentials.state in ("none", "unreadable"):
            raise
        mark = None
    return Findings(path.name, credentials, mark)


def _about(found: CredentialsFound | None) -> Iterator[str]:
    if found is None or found.state == "none":
        return
    yield f"credentials: {WHAT_STATES_MEAN[found.state]}"
    if found.signed_by is not None:
        vouched = "an authority that you trust vouches for this name" if found.is_trusted else "name not vouched for"
        yield f"  signed by {found.signed_by} ({vouched})"
    if found.signed_at is not None:
        yield f"  signed at {found.signed_at}, as a timestamp authority says"
    if found.stated_time is not None:
        yield f"  made at {found.stated_time}, as the signer says"
    if found.program is not None:
        yield f"  by {found.program}, as {found.title}"
    yield from _about_job(found)
    for item in found.ingredients:
        own = ", which had credentials of its own" if item["has_credentials"] else ""
        yield f"  made from {item['name']}{own}"
    if found.problems:
        yield f"  failed checks: {', '.join(found.problems)}"
    if found.problems and found.intact is not None:
        yield f"  {100 * found.intact:.1f} % of the encoded pictures are as signed"


def _about_mark(mark: MarkFound | None) -> Iterator[str]:
    if mark is None:
        yield "mark: the pictures cannot be read"
    elif mark.is_found:
        spans = ", ".join(f"{start:g}-{end:g} s" for start, end in mark.spans)
        yield f"mark: found ({mark.score:g}, from {mark.threshold:g} on), somewhere in {spans}"
    else:
        yield f"mark: not found ({mark.score:g}, from {mark.threshold:g} on)"


def _about_job(found: CredentialsFound) -> Sequence[str]:
    """Return what our assertion says; anyone can sign one that holds something else."""
    try:
        return tuple(_lines_of_job(found.job)) if found.job else ()
    except (AttributeError, TypeError, ValueError):
        return ("  what was changed: not as this program states it",)


def _lines_of_job(job: Mapping[str, Any]) -> Iterator[str]:
    spans = ", ".join(f"{start:g}-{end:g} s" for start, end in job.get("changed_spans", ()))
    yield f"  changed: the mouth in {job.get('changed_frames')} of {job.get('frames')} frames, by {job.get('pipeline')}"
    yield f"  changed spans: {spans or 'none'}"
    for name, version in job.get("models", {}).items():
        yield f"  model {name}, version {str(version)[:16]}"
