"""A contact sheet: sampled frames of a video with everybody's boxes and the speakers' names, as one PNG."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from client.media import VideoSource
from client.scene.plan import ROUNDING_S, Plan

MOST_FRAMES = 24
COLUMNS = 4
CELL_WIDTH, CAPTION = 320, 40  # pixels
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
INK, PAPER, NEUTRAL = (20, 20, 20), (245, 245, 245), (170, 170, 170)
# One per speaker, RGB, told apart by colour-blind people too; Okabe and Ito, 2008.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))


def contact_sheet(plan: Plan, video: VideoSource, names: tuple[str, ...]) -> bytes:
    """Draw a frame for each shot and each entry of a plan, at most 24 spread evenly over them.

    Names are drawn in ASCII; other characters become question marks.

    Args:
        plan: the plan.
        video: its video.
        names: the speakers' names, in the plan's order.
    """
    wanted = set(chosen_frames(plan))
    cells: dict[int, np.ndarray] = {}
    for frame in video.frames():
        if frame.index in wanted:
            rgb = frame.picture.rgb(long_side=_long_side(video))
            cells[frame.index] = _cell(rgb, frame.index, plan, names, rgb.shape[1] / video.width)
        if frame.index >= max(wanted):
            break
    coded = cv2.imencode(".png", _grid(cells)[..., ::-1])[1]
    return coded.tobytes()


def chosen_frames(plan: Plan) -> list[int]:
    """Return the frames that are drawn: the middle of each part of a shot in which the same people speak."""
    times, shots = plan.active.times_s, plan.active.shots
    edges = {0, *(np.flatnonzero(np.diff(shots)) + 1).tolist()}
    for entry in plan.entries:
        edges |= {int(np.searchsorted(times, moment - ROUNDING_S)) for moment in (entry.start_s, entry.end_s)}
    bounds = sorted(edge for edge in edges if edge < len(times))
    middles = [(first + end) // 2 for first, end in zip(bounds, [*bounds[1:], len(times)], strict=True)]
    if len(middles) <= MOST_FRAMES:
        return middles
    return [middles[i] for i in np.linspace(0, len(middles) - 1, MOST_FRAMES).round().astype(int)]


def _long_side(video: VideoSource) -> int:
    return round(CELL_WIDTH * max(1.0, video.height / video.width))


def _cell(rgb: np.ndarray, index: int, plan: Plan, names: tuple[str, ...], scale: float) -> np.ndarray:
    """Draw everybody's box, and over them those of the speakers who are synced."""
    picture = np.ascontiguousarray(rgb)
    for person in plan.active.people:
        box = dict(zip(person.frames.tolist(), person.boxes, strict=True)).get(index)
        if box is not None:
            _draw_box(picture, box * scale, NEUTRAL, f"person {person.number}")
    speaking = _speaking(index, plan)
    for i, (name, boxes) in enumerate(zip(names, plan.faces, strict=True)):
        if name in speaking and boxes is not None and index in boxes.boxes:
            _draw_box(picture, boxes.boxes[index] * scale, COLOURS[i % len(COLOURS)], name)
    who = ", ".join(f"{name}: {action}" for name, action in speaking.items()) or "nobody"
    caption = np.full((CAPTION, picture.shape[1], 3), PAPER, np.uint8)
    for line, text in enumerate((f"{plan.active.times_s[index]:.2f} s, frame {index}", who)):
        _write(caption, text, (4, 15 + 17 * line), INK)
    return np.concatenate([picture, caption])


def _speaking(index: int, plan: Plan) -> Mapping[str, str]:
    moment = plan.active.times_s[index] + ROUNDING_S
    return {entry.speaker: entry.action for entry in plan.entries if entry.start_s <= moment < entry.end_s}


def _draw_box(picture: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], name: str) -> None:
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    thickness = 1 if colour == NEUTRAL else 2
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness)
    _write(picture, name, (x1, y1 - 4) if thickness == 2 else (x1, y2 + 13), colour)


def _write(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, place, FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)


def _grid(cells: Mapping[int, np.ndarray]) -> np.ndarray:
    shown = [cells[index] for index in sorted(cells)]
    columns = min(COLUMNS, len(shown))
    empty = np.full_like(shown[0], PAPER)
    shown += [empty] * (-len(shown) % columns)
    rows = [np.concatenate(shown[i : i + columns], axis=1) for i in range(0, len(shown), columns)]
    return np.concatenate(rows)
