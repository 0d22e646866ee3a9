"""Options of pipelines that place the face by a box."""

from __future__ import annotations

from client.option import Option
from client.option_kinds import Choice, Text, comma_separated, numbers
from client.tracking.finder import DETECTORS, MEDIAPIPE
from lipsync_core.wav2lip.boxes import Pads

COORDINATE = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
MAX_PAD = 9999  # pixels

Box = tuple[float, float, float, float]


def _read_box(text: str) -> Box:
    x1, y1, x2, y2 = numbers(4)(text)
    return x1, y1, x2, y2


def _read_pads(text: str) -> Pads:
    return Pads(*(round(pad) for pad in numbers(4, low=-MAX_PAD, high=MAX_PAD)(text)))


DETECTOR: Option[str] = Option(
    "detector",
    Choice({detector.name: detector.title for detector in DETECTORS}),
    MEDIAPIPE.name,
    "Face detector; s3fd is the original's, much slower.",
    "Face detector",
)
FACE_BOX: Option[Box | None] = Option(
    "face_box",
    Text(
        _read_box,
        "four numbers X1,Y1,X2,Y2 in pixels",
        "X1,Y1,X2,Y2",
        rf"{COORDINATE}(,{COORDINATE}){{3}}",
        "120,80,360,400",
        comma_separated,
    ),
    None,
    "Position of the face in every frame, in pixels, instead of detecting it.",
    "Position of the face",
    "X1,Y1,X2,Y2 in pixels.",
    default_text="detected",
)
PADS: Option[Pads] = Option(
    "pads",
    Text(
        _read_pads,
        f"four numbers from -{MAX_PAD} to {MAX_PAD}, TOP,BOTTOM,LEFT,RIGHT in pixels",
        "TOP,BOTTOM,LEFT,RIGHT",
        rf"{COORDINATE}(,{COORDINATE}){{3}}",
        "0,10,0,0",
        comma_separated,
    ),
    Pads(),
    "How far the edges of detected boxes are moved outwards, in pixels.",
    "Padding around the face",
    "Top, bottom, left, right in pixels.",
)
