"""Mouth motion: lips are warped to learned shapes, the mouth's interior is taken from other frames or painted."""

from lipsync_core.mouth.contour import (
    SHAPE_SIZE,
    asked_openings,
    opening_gain,
    real_shapes,
    wanted_lips,
    widest_change,
)
from lipsync_core.mouth.generate import ClipMouth, sync_mouths
from lipsync_core.mouth.geometry import MouthGeometry, mouth_geometry
from lipsync_core.mouth.interior import painted_interior
from lipsync_core.mouth.profile import InteriorChooser, MouthProfile, MouthProfileBuilder
from lipsync_core.mouth.speaker import speaker_template
from lipsync_core.mouth.target import MouthTarget, lip_moves, mouth_target
from lipsync_core.mouth.visible import Strengths, visible_mouths
from lipsync_core.mouth.warp import Box, changed_region, warp_mouth
from lipsync_core.mouth.window import MOUTH_PLACES, MOUTH_WINDOW_SIZE, mouth_windows

__all__ = [
    "MOUTH_PLACES",
    "MOUTH_WINDOW_SIZE",
    "SHAPE_SIZE",
    "Box",
    "ClipMouth",
    "InteriorChooser",
    "MouthGeometry",
    "MouthProfile",
    "MouthProfileBuilder",
    "MouthTarget",
    "Strengths",
    "asked_openings",
    "changed_region",
    "lip_moves",
    "mouth_geometry",
    "mouth_target",
    "mouth_windows",
    "opening_gain",
    "painted_interior",
    "real_shapes",
    "speaker_template",
    "sync_mouths",
    "visible_mouths",
    "wanted_lips",
    "warp_mouth",
    "widest_change",
]
