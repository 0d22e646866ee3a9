"""Where Whisper's weights come from: a given checkpoint, or OpenAI's tiny.pt on Hugging Face."""

from __future__ import annotations

from pathlib import Path

from export.shared.hub import HubFile
from export.shared.sources import Source
from export.whisper.network import WHISPER

PUBLISHED = HubFile(  # OpenAI's file, in the repository of LatentSync 1.6
    "ByteDance/LatentSync-1.6",
    "c42c7e6c8e9c213626389fa7d9a3c444b8536353",
    "whisper/tiny.pt",
    "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
)


def whisper_source(option: str, given: Path | None) -> Source:
    """Describe the source of Whisper's weights for a command that takes them with an option."""
    return Source(WHISPER, option, given, PUBLISHED)
