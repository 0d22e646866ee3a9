"""Phones of a clip, from the alignments beside it, NAME.phones.json: {"phones": [["B", start_s, end_s], ...]}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# ARPAbet, without stress.
CLOSED_PHONES = frozenset({"P", "B", "M"})
OPEN_PHONES = frozenset({"AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "IH", "IY", "OW", "OY", "ER"})
SILENCES = frozenset({"SIL", "SP", ""})
SUFFIX = ".phones.json"


@dataclass(frozen=True)
class Phone:
    """A phone and its span in seconds."""

    name: str
    start_s: float
    end_s: float


def closed_phones(phones: Sequence[Phone]) -> list[Phone]:
    """List the phones that press the lips together; not those after silence, where lips may rest closed anyway."""
    before = [Phone("SIL", 0, 0), *phones]
    pairs = zip(before, phones, strict=False)
    return [phone for last, phone in pairs if phone.name in CLOSED_PHONES and last.name not in SILENCES]


def read_phones(clip: Path) -> list[Phone]:
    """Read the phones beside a clip; empty where there are none.

    Raises:
        ValueError: the file does not hold phones.
    """
    path = clip.with_name(clip.stem + SUFFIX)
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["phones"]
        return [Phone(str(name), float(start), float(end)) for name, start, end in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: expected {{"phones": [[name, start_s, end_s], ...]}}, got {error}') from error
