"""The demo: lip-syncs a photograph, or any video, to speech, and draws a contact sheet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from client import lipsync
from client.cli.parser import OneLineParser
from client.media import VideoSource
from client.portrait import portrait
from lipsync_core.extras import needs_extra

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "tests" / "data" / "speech.flac"  # synthesised for this project
FOLDER = ROOT / "demo"
SHEET_CELLS, SHEET_START_S, SHEET_STEP_S = 8, 4.1, 0.16  # a second or so of speech, sound by sound
STILL_COLUMNS = 4  # of a still image's sheet
CELL_HEIGHT = 320  # pixels
LABEL_PLACE, LABEL_SIZE = (10, 308), 0.6  # pixels of the cell; scale of OpenCV's 22-pixel letters
DARK, BRIGHT = (0, 0, 0), (255, 255, 255)
CLEAR_CHANGE = 0.5  # of the largest; a second encoding changes less
CHANGE_BLUR = 15  # pixels: single pixels count for little
SHEET_MARGIN = 2.6  # side of the square shown, in sizes of the change
MOUTH_HEIGHT = 0.66  # of the square: where the change's middle is placed, so that the face is in the middle


def main() -> int:
    """Make the sample, run the lipsync command on it, and draw the contact sheet."""
    parser = OneLineParser(prog="python -m client.demo", description=__doc__)
    parser.add_argument("--video", type=Path, help="video or image (default: a photograph of an astronaut)")
    parser.add_argument("--audio", type=Path, default=SPEECH, help="speech (default: a synthesised sentence)")
    options, passed_on = parser.parse_known_args()
    FOLDER.mkdir(exist_ok=True)
    video = options.video or write_photograph(FOLDER / "astronaut.png")
    output, sheet = FOLDER / "lipsync.mp4", FOLDER / "lipsync.png"
    code = lipsync.main(["--video", str(video), "--audio", str(options.audio), "--output", str(output), *passed_on])
    if code:
        return code
    write_contact_sheet(video, output, sheet)
    print(f"video: {output}\ncontact sheet: {sheet}")
    return 0


def write_photograph(path: Path) -> Path:
    """Write scikit-image's bundled photograph of an astronaut (NASA, public domain)."""
    with needs_extra("perf"):
        photograph = portrait()
    cv2.imwrite(str(path), cv2.cvtColor(cv2.resize(photograph, None, fx=2, fy=2), cv2.COLOR_RGB2BGR))
    return path


def write_contact_sheet(before: Path, after: Path, path: Path) -> None:
    """Draw frames of two videos in two rows, cropped to where they differ most; a still image is drawn once."""
    start = min(SHEET_START_S, (VideoSource(after).duration or 0) / 2)
    times = [start + i * SHEET_STEP_S for i in range(SHEET_CELLS)]
    pairs = list(zip(frames_at(before, times), frames_at(after, times), strict=True))
    rows, columns = crop_around_change(pairs)
    cells = [
        [_cell(pair[side][rows, columns], f"{name}, {time:.1f} s") for pair, time in zip(pairs, times, strict=True)]
        for side, name in enumerate(("before", "after"))
    ]
    if VideoSource(before).is_still:
        shown = [_cell(pairs[0][0][rows, columns], "before"), *cells[1][: SHEET_CELLS - 1]]
        cells = [shown[i : i + STILL_COLUMNS] for i in range(0, SHEET_CELLS, STILL_COLUMNS)]
    sheet = np.vstack([np.hstack(row) for row in cells])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def frames_at(path: Path, times_s: Sequence[float]) -> list[np.ndarray]:
    """Return the frames shown at ascending times, uint8 RGB [H, W, 3]; the last frame stays on screen."""
    wanted = list(times_s)
    shown: list[np.ndarray] = []
    last = None
    for frame in VideoSource(path).frames():
        while last is not None and wanted and frame.time_s > wanted[0]:
            shown.append(last.rgb())
            wanted.pop(0)
        last = frame.picture
    assert last is not None  # frames() raises when there are none
    return shown + [last.rgb()] * len(wanted)


def crop_around_change(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[slice, slice]:
    """Return the rows and columns of a square with some margin around all clear differences of the pairs."""
    change = np.max([_change(before, after) for before, after in pairs], axis=0)
    height, width = change.shape
    rows, columns = np.nonzero(change >= CLEAR_CHANGE * change.max())
    side = min(SHEET_MARGIN * max(np.ptp(rows), np.ptp(columns)) + 1, height, width)
    top = int(np.clip(np.median(rows) - side * MOUTH_HEIGHT, 0, height - side))
    left = int(np.clip(np.median(columns) - side / 2, 0, width - side))
    return slice(top, top + int(side)), slice(left, left + int(side))


def _change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the blurred difference in brightness, float32 [h, w]."""
    difference = before.astype(np.float32) - after[: before.shape[0], : before.shape[1]]
    return np.abs(cv2.blur(difference.mean(axis=2), (CHANGE_BLUR, CHANGE_BLUR)))


def _cell(picture: np.ndarray, label: str) -> np.ndarray:
    """Scale a picture to the height of a cell and draw a label in its lower left corner."""
    width = round(picture.shape[1] * CELL_HEIGHT / picture.shape[0])
    cell = cv2.resize(picture, (width, CELL_HEIGHT), interpolation=cv2.INTER_AREA)
    for colour, thickness in ((DARK, 4), (BRIGHT, 1)):  # an outline, so that it is read on any picture
        cv2.putText(cell, label, LABEL_PLACE, cv2.FONT_HERSHEY_SIMPLEX, LABEL_SIZE, colour, thickness, cv2.LINE_AA)
    return cell


if __name__ == "__main__":
    sys.exit(main())
