"""Mouth motion without learned weights: lips are warped, the mouth's interior is taken from other frames or painted."""

from lipsync_core.mouth.generate import ClipMouth, sync_mouths
from lipsync_core.mouth.geometry import MouthGeometry, mouth_geometry, smooth_landmarks
from lipsync_core.mouth.interior import DonorInterior, PaintedInterior, donor_interior, painted_interior
from lipsync_core.mouth.profile import InteriorChooser, MouthProfile, MouthProfileBuilder
from lipsync_core.mouth.target import MouthTarget, mouth_target, opening_gaps
from lipsync_core.mouth.warp import Box, changed_region, warp_mouth

__all__ = [
    "Box",
    "ClipMouth",
    "DonorInterior",
    "InteriorChooser",
    "MouthGeometry",
    "MouthProfile",
    "MouthProfileBuilder",
    "MouthTarget",
    "PaintedInterior",
    "changed_region",
    "donor_interior",
    "mouth_geometry",
    "mouth_target",
    "opening_gaps",
    "painted_interior",
    "smooth_landmarks",
    "sync_mouths",
    "warp_mouth",
]
