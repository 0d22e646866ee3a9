"""Pastes the faces that MuseTalk generated back into their frames."""

from __future__ import annotations

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.face import LANDMARKS, quarter_turns
from lipsync_core.mouth import Strengths
from lipsync_core.musetalk.boxes import turn_points
from lipsync_core.musetalk.compose import DEFAULT_AREA, MESH_AREA, paste_faces, paste_options
from lipsync_core.musetalk.faces import PlacedFace, place_faces
from lipsync_core.musetalk.paste import decoded_faces
from lipsync_core.reasons import Reason
from lipsync_core.triton.picture_step import PictureStep


class TritonPythonModel(PictureStep):
    """Paste one generated face into each frame."""

    def run(
        self,
        frames: np.ndarray,
        face_boxes: np.ndarray,
        decoded: np.ndarray,
        face_landmarks: np.ndarray | None = None,
        mouth_strengths: np.ndarray | None = None,
        mouth_reasons: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        mouth_area: np.ndarray | None = None,
        cheek_widths: np.ndarray | None = None,
        original: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Paste the faces through soft masks.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_boxes: float32 [F, 4]; NaN for frames without a face.
            decoded: float32 RGB [F, 3, 256, 256], generated faces, about -1 to 1.
            face_landmarks: float32 [F, 468, 3]; NaN where they are not known, and the mouth is taken for visible.
            mouth_strengths: float32 [F], how far each mouth can be seen, 0 to 1; 1 if left out.
            mouth_reasons: int32 [F], why not, see `lipsync_core.reasons`; 0 if left out.
            labels: uint8 [F, 512, 512], classes of the squares around the faces.
            mouth_area: str [1], what is repainted: mouth, jaw, raw or neck; jaw if left out, mouth without labels.
            cheek_widths: int32 [2], where the narrowed cheeks begin, left and right; for jaw.
            original: bool [1], whether the masks' edges are as narrow as the original's.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3]; strengths, float32 [F], 0 for unchanged frames; reasons, int32 [F].

        Raises:
            ValueError: An option is out of range, row counts differ, or what the area needs is missing.
        """
        options = paste_options(
            (MESH_AREA if labels is None else DEFAULT_AREA) if mouth_area is None else str(mouth_area[0]),
            None if cheek_widths is None else (int(cheek_widths[0]), int(cheek_widths[1])),
            original=original is not None and bool(original[0]),
        )
        if face_landmarks is None:
            face_landmarks = np.full((len(frames), LANDMARKS, 3), np.nan, np.float32)
        visible = _visible(len(frames), mouth_strengths, mouth_reasons)
        check_rows("face_boxes", face_boxes, len(frames))
        check_rows("face_landmarks", face_landmarks, len(frames))
        turns, synced_frames = quarter_turns(face_landmarks), frames.copy()
        faces = place_faces(synced_frames, face_boxes, turns)
        done = _strengths(faces, face_landmarks, visible)
        upright = turn_points(face_landmarks, turns, *frames.shape[1:3])
        paste_faces(faces, decoded_faces(decoded), done.strengths, options, upright, labels)
        return {"synced_frames": synced_frames, "strengths": done.strengths, "reasons": done.reasons}


def _visible(count: int, strengths: np.ndarray | None, reasons: np.ndarray | None) -> Strengths:
    """Return how far each frame's mouth can be seen: in full, where nobody has judged it."""
    full = Strengths.full(count)
    visible = Strengths(
        full.strengths if strengths is None else strengths, full.reasons if reasons is None else reasons
    )
    check_rows("mouth_strengths", visible.strengths, count)
    check_rows("mouth_reasons", visible.reasons, count)
    return visible


def _strengths(faces: list[PlacedFace | None], landmarks: np.ndarray, visible: Strengths) -> Strengths:
    """Say how much of each face is shown: all of those whose boxes alone are known, and none without a box."""
    done = visible.or_full(~np.isfinite(landmarks).all(axis=(1, 2)))
    for row, face in enumerate(faces):
        if face is None:
            done.lower(row, 0, Reason.NO_FACE)
    return done
