from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from client.demo import CELL_HEIGHT, write_contact_sheet
from client.media import VideoSource
from tests.media_clips import pattern, write_clip


@pytest.mark.parametrize(("still", "rows", "columns"), [(True, 2, 4), (False, 2, 8)])
def test_the_sheet_shows_frames_before_and_after(tmp_path: Path, still: bool, rows: int, columns: int) -> None:
    """A video's frames come in pairs; a still image, which stays the same, is shown once."""
    before, after = tmp_path / "before.png", write_clip(tmp_path / "after.mp4")
    if still:
        cv2.imwrite(str(before), pattern(0)[..., ::-1])
    else:
        before = write_clip(tmp_path / "before.mp4")
    write_contact_sheet(before, after, tmp_path / "sheet.png")
    sheet = VideoSource(tmp_path / "sheet.png")
    assert (sheet.height, sheet.width) == (rows * CELL_HEIGHT, columns * CELL_HEIGHT)
    cells = np.hsplit(cv2.imread(str(tmp_path / "sheet.png"))[:CELL_HEIGHT], columns)
    assert np.any(cells[0] != cells[1])
