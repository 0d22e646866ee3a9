"""Pastes a chunk's generated faces, through the mask that the job's options choose.

Source: docs/specs/musetalk.md, "Masks" and "Pasting back".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.musetalk.faces import PlacedFace
from lipsync_core.musetalk.mouth_area import mouth_mask
from lipsync_core.musetalk.parsing import (
    CHEEK_WIDTHS,
    PARSED_AREAS,
    CheekWidths,
    ParsedArea,
    area_mask,
    check_cheeks,
    check_labels,
)
from lipsync_core.musetalk.paste import FEATHER, ORIGINAL_FEATHER, paste_face, resize_mask, soft_mask

MouthArea = Literal["mouth"] | ParsedArea
MESH_AREA: Final = "mouth"  # comes from the landmarks; the others from a parsed face
MOUTH_AREAS: tuple[MouthArea, ...] = (MESH_AREA, *PARSED_AREAS)
DEFAULT_AREA: Final = "jaw"


@dataclass(frozen=True)
class PasteOptions:
    """What of the generated faces is shown.

    Attributes:
        area: What is repainted; `mouth` needs landmarks, the others a parsed face.
        cheeks: Where the cheeks are narrowed, for `jaw`.
        feather: Width of the masks' soft edges, over the side of the square around the face.
    """

    area: MouthArea
    cheeks: CheekWidths
    feather: float


def check_area(area: str) -> MouthArea:
    """Return a mouth area that is known.

    Raises:
        ValueError: It is unknown.
    """
    if area not in MOUTH_AREAS:
        raise ValueError(f"mouth_area: expected one of {', '.join(MOUTH_AREAS)}, got {area!r}")
    return area


def paste_options(area: str, cheeks: tuple[int, int] | None, *, original: bool) -> PasteOptions:
    """Check a request's choices.

    Raises:
        ValueError: The area is unknown, or a width is out of range.
    """
    area = check_area(area)
    widths = CHEEK_WIDTHS if cheeks is None else check_cheeks(CheekWidths(*cheeks))
    narrow = original or area == MESH_AREA  # a wide edge would fade the lips, too
    return PasteOptions(area, widths, ORIGINAL_FEATHER if narrow else FEATHER)


def paste_faces(
    faces: list[PlacedFace | None],
    generated: np.ndarray,
    strengths: np.ndarray,
    options: PasteOptions,
    landmarks: np.ndarray,
    labels: np.ndarray | None,
) -> None:
    """Paste one generated face into each frame that has one.

    Args:
        faces: The frames, which are changed, and their faces' places; None without a face.
        generated: uint8 RGB [F, 256, 256, 3].
        strengths: float [F], how much of each face is shown, 0 to 1.
        options: What is shown.
        landmarks: float [F, 468, 3], in the frames turned upright; NaN where they are not known.
        labels: uint8 [F, 512, 512], classes of the squares around the faces; None without a parser.

    Raises:
        ValueError: Row counts differ, or the area needs landmarks or labels that are missing.
    """
    check_rows("decoded", generated, len(faces))
    if labels is not None:
        check_rows("labels", labels, len(faces))
        check_labels(labels)
    elif options.area != MESH_AREA:
        raise ValueError(f"labels: expected parsed faces for the mouth area {options.area}, got none. Choose mouth")
    for row, face in enumerate(faces):
        if face is not None and strengths[row] > 0:
            mask = _hard_mask(face, options, landmarks[row], None if labels is None else labels[row])
            paste_face(face, generated[row], soft_mask(mask, face.box, options.feather), float(strengths[row]))


def _hard_mask(face: PlacedFace, options: PasteOptions, landmarks: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return what is repainted in the square around a face, uint8 [s, s]."""
    if options.area != MESH_AREA:
        assert labels is not None
        return resize_mask(area_mask(labels, options.area, options.cheeks), face.box)
    if not np.isfinite(landmarks).all():
        raise ValueError("landmarks: expected those of every face for the mouth area mouth, got NaN. Choose jaw")
    return mouth_mask(landmarks, face.box)
