"""Finds faces in frames: in the whole frame, and small ones in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lipsync_core.face.boxes import box_areas, iou
from lipsync_core.face.detection import (
    MIN_IOU,
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
EVERY_FACE_PARTS = (LETTERBOX_PARTS, 2)  # searched where every face is asked for
WHOLE_SHARE = 0.5  # of a tile's side: faces up to this size are complete in one of the overlapping tiles


def find_faces(
    frames: np.ndarray,
    run_detector: RunDetector,
    detector: Detector = SHORT_RANGE_DETECTOR,
    *,
    every_face: bool = False,
) -> list[Detections]:
    """Find the faces of each frame, best first; frames without any are searched again in tiles for small faces.

    Faces turned by any angle are found; see `turn_upright`.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        run_detector: The network; called once for all whole frames, once for each tile size that is needed, and once
            for all doubtful faces.
        detector: The network's properties.
        every_face: Search all frames in tiles too, so that small faces beside large ones are found.
    """
    found: list[Detections] = [stack_faces([])] * len(frames)
    for parts in (LETTERBOX_PARTS, *TILE_PARTS):
        is_due = every_face and parts in EVERY_FACE_PARTS
        searched = [index for index, faces in enumerate(found) if is_due or not len(faces.scores)]
        if not searched:
            break
        regions = tile_regions(frames.shape[1], frames.shape[2], parts)
        for index, more in zip(
            searched, _search([frames[i] for i in searched], regions, run_detector, detector), strict=True
        ):
            found[index] = _with_smaller(found[index], more, regions[0, 2]) if len(found[index].scores) else more
    return turn_upright(frames, found, run_detector, detector)


def largest_faces(detections: Detections, count: int) -> Detections:
    """Keep the `count` largest faces of a frame, largest box first."""
    order = np.argsort(-box_areas(detections.boxes), kind="stable")[:count]
    return Detections(*(values[order] for values in detections))


def _with_smaller(faces: Detections, in_tiles: Detections, tile_side: float) -> Detections:
    """Add the faces that tiles show, best first: the better score wins where both show the same face."""
    sides = (in_tiles.boxes[:, 2:] - in_tiles.boxes[:, :2]).max(axis=1)
    whole = Detections(*(values[sides <= WHOLE_SHARE * tile_side] for values in in_tiles))
    both = Detections(*(np.concatenate(parts) for parts in zip(faces, whole, strict=True)))
    order = np.argsort(-both.scores, kind="stable")
    kept: list[int] = []
    for face in order.tolist():
        if not any(_same_face(both.boxes[face], both.boxes[other]) for other in kept):
            kept.append(face)
    return Detections(*(values[kept] for values in both))


def _same_face(box: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two boxes show one face: they overlap, or the middle of one lies in the other."""
    middles = (box[:2] + box[2:]) / 2, (other[:2] + other[2:]) / 2
    inside = any(
        bool((middle > around[:2]).all() and (middle < around[2:]).all())
        for middle, around in zip(middles, (other, box), strict=True)
    )
    return inside or bool(iou(box, other[None])[0] > MIN_IOU)


def _search(
    frames: Sequence[np.ndarray], regions: np.ndarray, run_detector: RunDetector, detector: Detector
) -> Iterator[Detections]:
    """Yield each frame's faces in the same regions, best first; the network is called once."""
    crops = [crop_regions(frame, regions, detector.image_size, replicate_border=False) for frame in frames]
    outputs = (np.split(values, len(frames)) for values in run_detector(np.concatenate(crops)))
    for regressors, logits in zip(*outputs, strict=True):
        tiles = zip(regressors, logits, regions, strict=True)
        found = [decode_detections(detector, *tile) for tile in tiles]
        yield merge_overlapping(Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True))))
