"""`lipsync live` as far as it goes without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cli.live import live_command
from client.errors import OutputError
from tests.media_clips import write_sound


def test_a_voice_fails_to_be_its_own_output(tmp_path: Path) -> None:
    """Under any name; it is as it was before."""
    voice = write_sound(tmp_path / "voice.wav", np.ones(1_600, np.float32))
    (tmp_path / "link.wav").symlink_to(voice)
    before = voice.read_bytes()
    with pytest.raises(OutputError, match="link.wav: expected a new file, got one of the inputs"):
        live_command(
            ["--clip", "ann", "--audio", str(voice), "--output", str(tmp_path / "link.wav"), "--url", "127.0.0.1:1"]
        )
    assert voice.read_bytes() == before
