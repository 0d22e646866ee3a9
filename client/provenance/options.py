"""The options of a job that say how its result is signed, marked and labelled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from client.errors import UsageError
from client.option import COMMAND_LINE, WITHOUT_FORM, Option, OptionValues
from client.option_kinds import Switch, Text, absolute
from client.provenance.label import MAX_LETTERS, read_label

CERTIFICATE_VARIABLE = "LIPSYNC_SIGN_CERT"
KEY_VARIABLE = "LIPSYNC_SIGN_KEY"
TIMESTAMP_VARIABLE = "LIPSYNC_TIMESTAMP_URL"
MARK_VARIABLE = "LIPSYNC_MARK"  # 1 or 0: whether results are marked where a job does not choose


def read_timestamp_url(text: str) -> str:
    """Return the address of a timestamp authority.

    Raises:
        ValueError: it is none, or holds a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.password is not None:
        raise ValueError
    return text


def is_marking(values: OptionValues) -> bool:
    """Return whether a result is marked: as chosen, else as the environment says.

    Raises:
        UsageError: the environment says neither yes nor no.
    """
    chosen = values[MARK]
    return marks_by_default(os.environ) if chosen is None else chosen


def marks_by_default(environment: Mapping[str, str]) -> bool:
    """Return whether results are marked where a job does not choose.

    Raises:
        UsageError: the variable is neither 1 nor 0.
    """
    text = environment.get(MARK_VARIABLE) or "0"
    if text not in ("0", "1"):
        raise UsageError(about=f"${MARK_VARIABLE}", expected="1 or 0", got=repr(text))
    return text == "1"


FILE = Text(absolute, "a path", "PEM", show=str, max_length=4096)
SIGN_CERT: Option[Path | None] = Option(
    "sign_cert",
    FILE,
    None,
    "Certificate that signs the result (C2PA), in PEM form, followed by those that vouch for it.",
    "Certificate",
    default_text=f"${CERTIFICATE_VARIABLE}",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
SIGN_KEY: Option[Path | None] = Option(
    "sign_key",
    FILE,
    None,
    "Private key of that certificate, in PEM form; others than its owner and group may not be able to read the file.",
    "Private key",
    default_text=f"${KEY_VARIABLE}",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
TIMESTAMP_URL: Option[str | None] = Option(
    "timestamp_url",
    Text(read_timestamp_url, "an http or https address without a password", "URL", max_length=2000),
    None,
    "Timestamp authority (RFC 3161) that proves when the result was signed; it is sent a hash.",
    "Timestamp authority",
    default_text=f"${TIMESTAMP_VARIABLE}",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
MARK: Option[bool | None] = Option(
    "mark",
    Switch(),
    default=None,
    help="Mark the changed regions, so that lipsync verify finds them after compression and scaling. The mark is faint,"
    " but may show as a shimmer on smooth skin.",
    label="Mark",
    default_text=f"${MARK_VARIABLE}, else off",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
LABEL: Option[str | None] = Option(
    "label",
    Text(read_label, f"1 to {MAX_LETTERS} printable ASCII characters", "TEXT", example="AI-generated speech"),
    None,
    "Text that is drawn into every picture, in the lower left corner; printable ASCII characters only.",
    "Label",
    default_text="none",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
PROVENANCE_OPTIONS = (MARK, LABEL, SIGN_CERT, SIGN_KEY, TIMESTAMP_URL)
