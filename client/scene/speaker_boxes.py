"""Where speakers' faces are, frame by frame: the speaker data that NVIDIA's LipSync NIM takes, read as it is.

The form: {"frames": [{"speakers": [{"bbox": [x, y, width, height], "speaker_id": 1, "is_speaking": true}],
"bypass": false}]}, an entry of `frames` for each frame of the video in order. `speakers` and `bypass` may be missing;
further keys beside `frames` have no meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import UsageError
from client.scene.documents import decoded, parse_json, place, read_content, shown
from client.scene.limits import MAX_BOX_FRAMES, MAX_BOXES_BYTES, MAX_COORDINATE
from client.tracking.face_boxes import FaceBoxes

FRAMES, SPEAKERS, BYPASS = "frames", "speakers", "bypass"
BOX, SPEAKER_ID, IS_SPEAKING = "bbox", "speaker_id", "is_speaking"
MAX_ID = 2**31 - 1  # int32 in NVIDIA's protocol
Place = tuple[str | int, ...]


def read_speaker_boxes(path: Path) -> dict[str, FaceBoxes]:
    """Read a file: speaker_id as text -> the face in the frames in which that speaker speaks, if there are any.

    Raises:
        UsageError: it cannot be read or breaks a rule; the place is named.
    """
    text = decoded(read_content(path, MAX_BOXES_BYTES), path.name)
    return parse_speaker_boxes(parse_json(text, path.name), path.name)


def parse_speaker_boxes(document: object, name: str) -> dict[str, FaceBoxes]:
    """Check a document and take the boxes out of it; see `read_speaker_boxes`.

    Args:
        document: the parsed JSON.
        name: what messages call it.
    """
    if not isinstance(document, dict) or FRAMES not in document:
        raise UsageError(about=name, expected=f"an object with {FRAMES}", got=shown(document))
    frames = document[FRAMES]
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_BOX_FRAMES:
        raise UsageError(about=FRAMES, expected=f"a list of 1 to {MAX_BOX_FRAMES} frames", got=shown(frames))
    boxes: dict[int, dict[int, np.ndarray]] = {}
    for i, frame in enumerate(frames):
        for speaker, box in _read_frame(frame, (FRAMES, i)).items():
            boxes.setdefault(speaker, {})[i] = box
    if not boxes:
        expected = f"somebody with {IS_SPEAKING} true in a frame without {BYPASS}"
        raise UsageError(about=FRAMES, expected=expected, got=f"nobody in {len(frames)} frames")
    return {str(speaker): FaceBoxes(found) for speaker, found in sorted(boxes.items())}


def _read_frame(frame: object, where: Place) -> dict[int, np.ndarray]:
    """Return the boxes of those who speak in a frame, by speaker_id."""
    fields = _checked_object(frame, where, (), (SPEAKERS, BYPASS))
    entries = fields.get(SPEAKERS, [])
    if not isinstance(entries, list):
        raise _wrong((*where, SPEAKERS), "a list of speakers", entries)
    is_bypassed = _checked_switch(fields.get(BYPASS, False), (*where, BYPASS))
    seen: dict[int, np.ndarray | None] = {}
    for i, entry in enumerate(entries):
        here = (*where, SPEAKERS, i)
        speaker, box = _read_speaker(entry, here)
        if speaker in seen:
            raise _wrong((*here, SPEAKER_ID), "another number than those of the same frame", speaker)
        seen[speaker] = box
    return {} if is_bypassed else {speaker: box for speaker, box in seen.items() if box is not None}


def _read_speaker(entry: object, where: Place) -> tuple[int, np.ndarray | None]:
    """Return a speaker's number and box; None for the box of one who does not speak."""
    fields = _checked_object(entry, where, (BOX, SPEAKER_ID, IS_SPEAKING), ())
    speaker = fields[SPEAKER_ID]
    if not isinstance(speaker, int) or isinstance(speaker, bool) or not -MAX_ID - 1 <= speaker <= MAX_ID:
        raise _wrong((*where, SPEAKER_ID), "a whole number of 32 bits", speaker)
    box = _read_box(fields[BOX], (*where, BOX))
    return speaker, box if _checked_switch(fields[IS_SPEAKING], (*where, IS_SPEAKING)) else None


def _read_box(value: object, where: Place) -> np.ndarray:
    if not (isinstance(value, list) and len(value) == 4 and all(map(_is_coordinate, value))):
        raise _wrong(where, f"[x, y, width, height], four numbers of pixels up to {MAX_COORDINATE}", value)
    x, y, width, height = value
    if width <= 0 or height <= 0:
        raise _wrong(where, "[x, y, width, height] with a width and a height above 0", value)
    return np.array([x, y, x + width, y + height], np.float32)


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def _checked_switch(value: object, where: Place) -> bool:
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)
    return value


def _checked_object(value: object, where: Place, required: Sequence[str], others: Sequence[str]) -> Mapping[str, Any]:
    known = (*required, *others)
    if not isinstance(value, dict):
        raise _wrong(where, f"an object with {', '.join(known)}", value)
    if value.keys() - known:
        key = next(key for key in value if key not in known)
        similar = difflib.get_close_matches(key[:100], known, n=1)
        advice = f"Did you mean {similar[0]}?" if similar else ""
        about, expected = place((*where, key[:100])), f"one of {', '.join(known)}"
        raise UsageError(about=about, expected=expected, got="an unknown key", advice=advice)
    for key in required:
        if key not in value:
            raise UsageError(about=place((*where, key)), expected=f"{', '.join(required)}", got="nothing")
    return value


def _wrong(where: Place, expected: str, got: object) -> UsageError:
    return UsageError(about=place(where), expected=expected, got=shown(got))
