"""The command `faces`: exports mediapipe's face networks, converted from its wheel, and the judge of covered mouths."""

from __future__ import annotations

from export.faces.cover import MODEL, cover_from_wheel
from export.faces.mediapipe import LICENCE, MEDIAPIPE, SERVED, convert_from_wheel
from export.shared.wheel_command import WheelModels, wheel_command

MODELS = (*SERVED, MODEL)
COMMAND = wheel_command(
    "faces",
    "convert mediapipe's face detector, face landmarks and lip head, from its wheel",
    WheelModels(
        wheel=MEDIAPIPE,
        licence=LICENCE,
        models=MODELS,
        read=lambda wheel: [*convert_from_wheel(wheel, list(SERVED.values())), cover_from_wheel(wheel)],
    ),
)
