"""Finds faces in frames: in the whole frame, and small ones by tiles."""

from __future__ import annotations

import numpy as np

from lipsync_core.face.boxes import box_areas
from lipsync_core.face.detection import (
    SHORT_RANGE_DETECTOR,
    Detections,
    Detector,
    decode_detections,
    merge_overlapping,
    stack_faces,
)
from lipsync_core.face.networks import RunDetector
from lipsync_core.face.regions import crop_regions, tile_regions
from lipsync_core.face.roll import turn_upright

LETTERBOX_PARTS = 1
TILE_PARTS = (2, 3)  # where the letterbox shows no face, tiles of a half, then a third of the longer side


def find_faces(
    frames: np.ndarray, run_detector: RunDetector, detector: Detector = SHORT_RANGE_DETECTOR
) -> list[Detections]:
    """Find the faces of each frame, best first; frames without any are searched again in tiles for small faces.

    Faces turned by any angle are found; see `turn_upright`.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        run_detector: The network; called once for all whole frames, once for each tile size that is needed, and once
            for all doubtful faces.
        detector: The network's properties.
    """
    found: list[Detections] = [stack_faces([])] * len(frames)
    for parts in (LETTERBOX_PARTS, *TILE_PARTS):
        missing = [index for index, detections in enumerate(found) if not len(detections.scores)]
        if not missing:
            break
        regions = tile_regions(frames.shape[1], frames.shape[2], parts)
        crops = [crop_regions(frames[index], regions, detector.image_size, replicate_border=False) for index in missing]
        regressors, logits = run_detector(np.concatenate(crops))
        for position, index in enumerate(missing):
            rows = slice(position * len(regions), (position + 1) * len(regions))
            found[index] = _merge_tiles(detector, regressors[rows], logits[rows], regions)
    return turn_upright(frames, found, run_detector, detector)


def largest_faces(detections: Detections, count: int) -> Detections:
    """Keep the `count` largest faces of a frame, largest box first."""
    order = np.argsort(-box_areas(detections.boxes), kind="stable")[:count]
    return Detections(*(values[order] for values in detections))


def _merge_tiles(detector: Detector, regressors: np.ndarray, logits: np.ndarray, regions: np.ndarray) -> Detections:
    tiles = zip(regressors, logits, regions, strict=True)
    found = [decode_detections(detector, *tile) for tile in tiles]
    return merge_overlapping(Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True))))
