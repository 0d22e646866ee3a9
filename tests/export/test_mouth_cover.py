"""Whether the landmark network tells covered mouths, on a face that its judgement was not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from export.faces.cover import MODEL, cover_from_wheel
from export.shared.model_file import check_contract
from lipsync_core.config_file import read_contract
from lipsync_core.mouth import mouth_windows
from lipsync_core.mouth.visible import COVER_LOGITS
from tests.unit.mouth_samples import astronaut

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
SKIN, BLACK, BLUE = (205, 160, 140), (35, 35, 38), (170, 200, 215)  # RGB
CoverLogit = Callable[[np.ndarray, np.ndarray], float]


@pytest.fixture(scope="module")
def cover_logit(mediapipe_wheel: Path) -> CoverLogit:
    """The judgement of one frame with its landmarks."""
    model = cover_from_wheel(mediapipe_wheel)
    check_contract(model, read_contract(REPOSITORY / MODEL))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def judge(frame: np.ndarray, landmarks: np.ndarray) -> float:
        images, places = mouth_windows(frame[None], landmarks[None])
        return float(session.run(None, {"images": images, "places": places})[0][0, 0])

    return judge


def covered(colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The mouth behind a shaded ellipse."""
    frame, landmarks = astronaut()
    (x, y), mask = landmarks[14, :2], np.zeros(frame.shape[:2], np.float32)
    cv2.ellipse(mask, (round(float(x)), round(float(y)) + 2), (34, 24), 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1)[..., None]
    across = (np.arange(frame.shape[1])[None, :, None] - float(x)) / 34
    shaded = np.array(colour) * (1 - 0.2 * np.abs(across))
    return np.clip(frame * (1 - mask) + shaded * mask, 0, 255).astype(np.uint8), landmarks


@pytest.mark.parametrize("colour", [SKIN, BLACK, BLUE])
def test_a_cover_is_told_in_a_single_frame(cover_logit: CoverLogit, colour: tuple[int, int, int]) -> None:
    """A hand of skin colour, a microphone or a mask, although no other frame shows the mouth."""
    assert cover_logit(*covered(colour)) > COVER_LOGITS[1]


@pytest.mark.parametrize("light", [0.5, 1.0, 1.15])
def test_an_open_smile_is_no_cover(cover_logit: CoverLogit, light: float) -> None:
    """Teeth and other light stay visible mouths."""
    frame, landmarks = astronaut()
    assert cover_logit(np.clip(frame * light, 0, 255).astype(np.uint8), landmarks) < COVER_LOGITS[0]


@pytest.mark.parametrize("degrees", [-100, 35, 180])
def test_a_head_on_its_side_is_judged_alike(cover_logit: CoverLogit, degrees: float) -> None:
    """The window turns with the face."""
    seen, hidden = COVER_LOGITS
    for (frame, landmarks), low, high in ((astronaut(), -20, seen), (covered(SKIN), hidden, 20)):
        turn = cv2.getRotationMatrix2D((222, 128), degrees, 1)
        moved = landmarks.copy()
        moved[:, :2] = landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
        assert low < cover_logit(cv2.warpAffine(frame, turn, (512, 512)), moved) < high
