"""Parses the squares around faces, where the mouth area depends on it."""

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.face import quarter_turns
from lipsync_core.musetalk.compose import DEFAULT_AREA, MESH_AREA, check_area
from lipsync_core.musetalk.faces import crop_surroundings, place_faces
from lipsync_core.musetalk.parsing import CheekWidths, check_cheeks, parser_input
from lipsync_core.musetalk.sizes import PARSER_SIZE
from lipsync_core.triton.picture_step import PictureStep

PARSER = "face_parsing"


class TritonPythonModel(PictureStep):
    """Parse the square around one face per frame. The parser's weights may be missing: they are non-commercial."""

    def run(
        self,
        frames: np.ndarray,
        face_boxes: np.ndarray,
        face_landmarks: np.ndarray,
        mouth_area: np.ndarray | None = None,
        cheek_widths: np.ndarray | None = None,
        face_latents: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Parse the squares, turned upright by whole quarters.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_boxes: float32 [F, 4]; NaN for frames without a face.
            face_landmarks: float32 [F, 468, 3]; NaN where they are not known.
            mouth_area: str [1], what is repainted; see musetalk_paste.
            cheek_widths: int32 [2], only to check them before the networks run; see musetalk_paste.
            face_latents: float32 [F, 8, 32, 32], only to check the number of frames.

        Returns:
            labels, uint8 [F, 512, 512]; background for the mouth area "mouth", which comes from the landmarks.

        Raises:
            ValueError: There is another number of latents, an option is out of range, or there is no parser.
        """
        if face_latents is not None:
            check_rows("face_latents", face_latents, len(frames))
        if cheek_widths is not None:
            check_cheeks(CheekWidths(*cheek_widths.tolist()))
        if check_area(DEFAULT_AREA if mouth_area is None else str(mouth_area[0])) == MESH_AREA:
            return {"labels": np.zeros((len(frames), PARSER_SIZE, PARSER_SIZE), np.uint8)}
        faces = place_faces(frames, face_boxes, quarter_turns(face_landmarks))
        images = parser_input([None if face is None else crop_surroundings(face) for face in faces])
        return self.infer_optional(PARSER, {"images": images}, "Choose the mouth area mouth, which needs no parser")
