"""Learns about the speaker's mouth from one pass over a clip, in bounded memory."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync_core.mouth.cover import lower_face_colours, usual_colours, visibility
from lipsync_core.mouth.geometry import (
    LEFT_SIDE,
    NOSE_TIP,
    RIGHT_SIDE,
    FloatArray,
    MouthGeometry,
    mouth_geometry,
    sample_curve,
)
from lipsync_core.mouth.lips import LIPS, align_lips, openings, widths
from lipsync_core.mouth.speaker import measure_speaker
from lipsync_core.mouth.warp import Box, Image

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
INTERIORS = 6  # at most, the same number of each form
FORM_GAPS = (0.06, 0.11, 0.17)  # interiors of narrow, middle and wide openings; narrower ones show no inside
CANDIDATES = 24  # crops kept while scanning
SCORE_SLACK = 0.45  # an interior may score this much less than the best
GAP_CREDIT_LIMIT = 1.3  # times the speaker's wide gap
TURN_PENALTY = 0.3
WIDE_PERCENTILE = 95
SPACING = 24  # interiors are at least a twenty-fourth of the scan apart, so that they differ
CONTRAST_REACH, CONTRAST_COLUMNS, CONTRAST_ROWS = 0.6, 25, 13
CROP_MARGIN = 0.05
CROP_EYE_SPAN = 400.0  # pixels: crops of larger faces are scaled down to it
CLOSED_GAP = 0.02  # below, the mouth's inside is hidden and may be exchanged
SCORE_WEIGHT = 0.10  # of a score against differences in pose and form
FORM_WEIGHTS = np.array([1.5, 0.5])  # of differences in gap and width against those in pose


@dataclass(frozen=True)
class MouthProfile:
    """What is sent with every chunk of a clip, so that each chunk can be processed alone."""

    mouth_template: FloatArray  # [468, 3], the face from the front with its mean mouth in speech (speaker_template)
    openings: NDArray[np.float64]  # [N], of the mouth in the scanned frames, eye spans
    interior_frames: Image  # [K, h, w, 3], crops of open mouths, K <= 6
    interior_landmarks: FloatArray  # [K, 468, 3], in the crops' pixels
    interior_scores: FloatArray  # [K], used by the client to choose among them
    mouth_colours: FloatArray  # [2, 16, 3], how the lower face usually looks (see usual_colours)

    @property
    def mouth(self) -> FloatArray:
        """The mean mouth in speech, float32 [40, 2]."""
        return self.mouth_template[list(LIPS), :2]

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The ensemble's inputs by name: `mouth_template`, `mouth_colours`, and interiors [K, ...] if any."""
        tensors: dict[str, np.ndarray] = {
            "mouth_template": self.mouth_template,
            "mouth_colours": self.mouth_colours,
        }
        if len(self.interior_frames):
            tensors["interior_frames"] = self.interior_frames
            tensors["interior_landmarks"] = self.interior_landmarks
        return tensors


@dataclass(frozen=True)
class _Candidate:
    sample: int
    gap: float
    contrast: float
    turn: float
    crop: Image
    landmarks: FloatArray


class MouthProfileBuilder:
    """Builds a MouthProfile from sampled frames; holds at most 24 small crops."""

    def __init__(self) -> None:
        """Start without samples."""
        self._gaps: list[float] = []
        self._landmarks: list[FloatArray] = []
        self._colours: list[FloatArray] = []
        self._contrasts: list[float] = []
        self._candidates: list[_Candidate] = []

    def add(self, frame: Image, landmarks: FloatArray) -> None:
        """Add one frame, uint8 RGB [H, W, 3], with its face's landmarks, float32 [468, 3].

        A frame without a face (NaN landmarks) is skipped.
        """
        if not np.isfinite(landmarks).all():
            return
        geometry = mouth_geometry(landmarks)
        self._gaps.append(geometry.relative_gap)
        self._landmarks.append(landmarks)
        self._colours.append(lower_face_colours(frame, landmarks))
        box = _mouth_box(geometry)
        if geometry.relative_gap < FORM_GAPS[0] or box.inside(frame) != box:
            return
        contrast = _interior_contrast(frame, geometry)
        self._contrasts.append(contrast)
        crop, crop_landmarks = _crop(frame, landmarks, box, geometry.eye_span)
        sample, turn = len(self._gaps) - 1, _turn(landmarks)
        self._candidates.append(_Candidate(sample, geometry.relative_gap, contrast, turn, crop, crop_landmarks))
        if len(self._candidates) > CANDIDATES:
            self._drop_one()

    def build(self) -> MouthProfile | None:
        """Return the profile of the added frames, or None if no frame had a face."""
        if not self._gaps:
            return None
        usual = usual_colours(np.array(self._colours))
        visible = np.array([visibility(colours, usual) == 1 for colours in self._colours])
        visible |= not visible.any()  # a scan without anything usual says nothing about covers
        scores = self._scores()
        chosen = self._choose(scores, visible)
        crops = [self._candidates[i].crop for i in chosen]
        speaker = measure_speaker(np.array(self._landmarks, np.float32)[visible])
        return MouthProfile(
            mouth_template=speaker.template,
            openings=openings(speaker.lips),
            interior_frames=_stack_padded(crops),
            interior_landmarks=np.array([self._candidates[i].landmarks for i in chosen], np.float32).reshape(
                -1, 468, 3
            ),
            interior_scores=scores[chosen].astype(np.float32),
            mouth_colours=usual,
        )

    def _drop_one(self) -> None:
        """Forget the worst candidate of the form that has most."""
        forms = self._forms()
        fullest = forms == np.argmax(np.bincount(forms))
        del self._candidates[int(np.argmin(np.where(fullest, self._scores(), np.inf)))]

    def _forms(self) -> NDArray[np.int64]:
        return np.searchsorted(FORM_GAPS, [candidate.gap for candidate in self._candidates], side="right")

    def _scores(self) -> NDArray[np.float64]:
        """A good interior is rich in detail, wide open and seen from the front."""
        if not self._candidates:
            return np.zeros(0)
        rich = max(float(np.percentile(self._contrasts, 95)), 1e-3)
        wide = max(float(np.percentile(self._gaps, WIDE_PERCENTILE)), FORM_GAPS[0])
        detail = np.array([c.contrast for c in self._candidates]) / rich
        gap = np.minimum(np.array([c.gap for c in self._candidates]) / wide, GAP_CREDIT_LIMIT)
        turn = np.minimum([c.turn for c in self._candidates], 1)
        return np.asarray(detail + gap - TURN_PENALTY * turn)

    def _choose(self, scores: NDArray[np.float64], visible: NDArray[np.bool_]) -> list[int]:
        """Best first of each form, none of them covered."""
        forms, chosen = self._forms(), list[int]()
        for form in range(len(FORM_GAPS), 0, -1):
            usable = [i for i, found in enumerate(self._candidates) if forms[i] == form and visible[found.sample]]
            chosen += self._best(sorted(usable, key=lambda i: -scores[i]), scores, chosen)
        return chosen

    def _best(self, ranked: list[int], scores: NDArray[np.float64], others: list[int]) -> list[int]:
        """Return a form's share of interiors, apart in time from each other and from the others."""
        spacing, taken = len(self._gaps) / SPACING, list[int]()
        for i in ranked:
            if len(taken) == INTERIORS // len(FORM_GAPS) or scores[i] < scores[ranked[0]] - SCORE_SLACK:
                break
            sample = self._candidates[i].sample
            if all(abs(sample - self._candidates[j].sample) >= spacing for j in (*others, *taken)):
                taken.append(i)
        return taken


class InteriorChooser:
    """Chooses frame by frame which interior a clip shows; exchanges it only behind closed lips."""

    def __init__(self, profile: MouthProfile) -> None:
        """Start at the beginning of a clip, or of a shot."""
        self._poses = np.array([_pose(landmarks) for landmarks in profile.interior_landmarks])
        lips = align_lips(profile.interior_landmarks, profile.mouth_template)
        self._forms = np.stack([openings(lips), widths(lips)], axis=1)
        self._scores = profile.interior_scores
        self._chosen = -1
        self._open = False

    def choose(self, gap: float, coming: FloatArray, landmarks: FloatArray) -> int:
        """Go on through the clip by one frame.

        Args:
            gap: Wanted gap in eye spans.
            coming: float [2], gap and width of the mouth at its widest in the next moments.
            landmarks: float32 [468, 3]; NaN for a frame without a face.

        Returns:
            Index into the profile's interiors; -1 = paint the mouth's inside.
        """
        if len(self._poses) == 0 or not np.isfinite(landmarks).all():
            return self._chosen
        opens = gap > CLOSED_GAP and not self._open
        self._open = bool(gap > CLOSED_GAP)
        if opens or self._chosen < 0:
            difference = np.abs(self._poses - _pose(landmarks)).sum(axis=1)
            difference += np.abs(self._forms - coming) @ FORM_WEIGHTS
            self._chosen = int(np.argmin(difference - SCORE_WEIGHT * self._scores))
        return self._chosen


def _pose(landmarks: FloatArray) -> NDArray[np.float64]:
    geometry = mouth_geometry(landmarks)
    return np.array([geometry.nose_y, 0.5 * geometry.chin_y, geometry.nose_x]) / geometry.eye_span


def _turn(landmarks: FloatArray) -> float:
    """0 for a face seen from the front, growing as one side of it gets shorter than the other."""
    nose = landmarks[NOSE_TIP, :2]
    left, right = (float(np.linalg.norm(nose - landmarks[i, :2])) for i in (LEFT_SIDE, RIGHT_SIDE))
    return abs(left / max(right, 1.0) - 1)


def _interior_contrast(frame: Image, geometry: MouthGeometry) -> float:
    """Standard deviation of the brightness between the lips."""
    columns = np.linspace(-CONTRAST_REACH, CONTRAST_REACH, CONTRAST_COLUMNS, dtype=np.float32)[None]
    rows = np.linspace(0.08, 0.92, CONTRAST_ROWS, dtype=np.float32)[:, None]
    upper, lower = sample_curve(geometry.upper, columns), sample_curve(geometry.lower, columns)
    x = np.broadcast_to(geometry.centre_x + columns * geometry.half_width, (CONTRAST_ROWS, CONTRAST_COLUMNS))
    image_x, image_y = geometry.to_image(x, upper + rows * (lower - upper))
    inside = cv2.remap(frame, image_x, image_y, cv2.INTER_LINEAR)
    return float(inside.mean(axis=2).std())


def _mouth_box(geometry: MouthGeometry) -> Box:
    """Whole pixels around the outer lips."""
    margin = CROP_MARGIN * geometry.eye_span
    side = geometry.half_width + 2 * margin
    top, bottom = float(geometry.upper_outer.min()) - margin, float(geometry.lower_outer.max()) + margin
    x, y = geometry.to_image(
        geometry.centre_x + np.array([-side, side, -side, side], np.float32),
        np.array([top, top, bottom, bottom], np.float32),
    )
    return Box(int(x.min()), int(y.min()), int(x.max()) + 2, int(y.max()) + 2)


def _crop(frame: Image, landmarks: FloatArray, box: Box, eye_span: float) -> tuple[Image, FloatArray]:
    crop = frame[box.y0 : box.y1, box.x0 : box.x1].copy()
    moved = landmarks - np.array([box.x0, box.y0, 0], np.float32)
    if eye_span <= CROP_EYE_SPAN:
        return crop, moved
    size = [round(edge * CROP_EYE_SPAN / eye_span) for edge in crop.shape[:2]]
    smaller = cv2.resize(crop, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    scale = np.array([size[1] / crop.shape[1], size[0] / crop.shape[0], CROP_EYE_SPAN / eye_span], np.float32)
    half = np.array([0.5, 0.5, 0], np.float32)  # pixel centres
    return np.asarray(smaller, np.uint8), (moved + half) * scale - half


def _stack_padded(crops: list[Image]) -> Image:
    """Stack crops of different sizes, [K, h, w, 3]; the smaller ones end in repeated edges."""
    if not crops:
        return np.zeros((0, 1, 1, 3), np.uint8)
    height, width = (max(crop.shape[axis] for crop in crops) for axis in (0, 1))
    padded = [
        np.pad(crop, ((0, height - crop.shape[0]), (0, width - crop.shape[1]), (0, 0)), mode="edge") for crop in crops
    ]
    return np.stack(padded)
