"""The visible label: where it is, that it can be read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from client.lipsync import main
from client.options import read_options
from tests.imitation_triton import OPTIONS, imitated_server
from tests.media_clips import read_frames, tone, write_clip, write_sound


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (96, 64)])
def test_label_is_in_the_lower_left_corner(tmp_path: Path, size: tuple[int, int]) -> None:
    """White on black in every frame, and nowhere else."""
    video = write_clip(tmp_path / "clip.mp4", size=size, frames=5)
    audio = write_sound(tmp_path / "speech.wav", tone(0.2))
    shown = {}
    for name, label in (("with.mp4", ("--label", "AI-generated")), ("without.mp4", ())):
        files = ["--video", str(video), "--audio", str(audio), "--output", str(tmp_path / name)]
        with imitated_server():
            assert main([*files, *OPTIONS, "--lossless", "--quiet", *label]) == 0
        shown[name] = [frame.to_ndarray(format="rgb24").astype(int) for frame in read_frames(tmp_path / name)]
    for labelled, plain in zip(shown["with.mp4"], shown["without.mp4"], strict=True):
        changed = np.abs(labelled - plain).max(axis=2) > 2
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert rows[0] > size[1] / 2
        assert columns[0] < size[0] / 10
        box = labelled[rows[0] : rows[-1], columns[0] : columns[-1]]
        assert box.min() < 30
        assert box.max() > 180


@pytest.mark.parametrize("text", ["", " ", "x" * 81, "KI-erzeugt für Sie", "合成", "a\nb"])
def test_label_that_cannot_be_drawn_fails(text: str) -> None:
    """The font has printable ASCII alone."""
    with pytest.raises(UsageError, match="label: expected 1 to 80 printable ASCII characters"):
        read_options({"label": text})
