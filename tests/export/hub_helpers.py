"""A file on the imitation hub, and how its download fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.shared import hub
from tests.imitation_hub import ImitationHub

REVISION = "0123456789abcdef" * 2 + "01234567"
CONTENT = bytes(range(256)) * 40
ELSEWHERE = ", or get the file elsewhere and give it with --unet"


def publish(imitation_hub: ImitationHub) -> hub.HubFile:
    sha256 = imitation_hub.add("owner/name", REVISION, "folder/unet.pt", CONTENT)
    return hub.HubFile("owner/name", REVISION, "folder/unet.pt", sha256)


def part(file: hub.HubFile, cache: Path) -> Path:
    """Path of the unfinished file, in the folder that XDG_CACHE_HOME names."""
    return cache / "lipsync" / "weights" / (file.sha256 or file.revision) / "unet.pt.part"


def assert_fails(file: hub.HubFile, got: str, advice: str) -> None:
    """One line: the file, its revision, what came, what to do, and the option that takes the file instead."""
    with pytest.raises(ValueError, match="expected a download") as caught:
        hub.fetch(file, "--unet")
    start = f"owner/name/folder/unet.pt: expected a download at revision {REVISION}, got: {got}"
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(f"{advice}{ELSEWHERE}")
    assert "\n" not in str(caught.value)
