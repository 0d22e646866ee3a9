"""Where faces are: crops for the face networks, and the networks' outputs back in pixels of the frame.

Networks come in as callables, so the same lines run over a call to another model, a session or a fake. Frames
are uint8 RGB; points are (x, y) in pixels, x right, y down.

Source of every number and formula that names no other: the published graphs of mediapipe's face detection and
face landmark modules, 0.10.21, and the tensors of their models.
"""

from lipsync_core.face.boxes import box_areas
from lipsync_core.face.detection import (
    SHORT_RANGE_DETECTOR,
    Detections,
    Detector,
    decode_detections,
    merge_overlapping,
)
from lipsync_core.face.finding import find_faces, largest_faces
from lipsync_core.face.landmarks import (
    LANDMARK_IMAGE_SIZE,
    LANDMARKS,
    alignment_points,
    find_landmarks,
    fit_keypoints,
    fit_landmarks,
    landmark_detections,
    landmarks_in_frame,
)
from lipsync_core.face.networks import Network, in_batches
from lipsync_core.face.regions import (
    crop_regions,
    regions_from_detections,
    regions_from_landmarks,
    tile_regions,
    turned_regions,
)
from lipsync_core.face.slots import fill_slots
from lipsync_core.face.turns import quarter_turns

__all__ = [
    "LANDMARKS",
    "LANDMARK_IMAGE_SIZE",
    "SHORT_RANGE_DETECTOR",
    "Detections",
    "Detector",
    "Network",
    "alignment_points",
    "box_areas",
    "crop_regions",
    "decode_detections",
    "fill_slots",
    "find_faces",
    "find_landmarks",
    "fit_keypoints",
    "fit_landmarks",
    "in_batches",
    "landmark_detections",
    "landmarks_in_frame",
    "largest_faces",
    "merge_overlapping",
    "quarter_turns",
    "regions_from_detections",
    "regions_from_landmarks",
    "tile_regions",
    "turned_regions",
]
