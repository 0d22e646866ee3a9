"""Pictures made of scikit-image's astronaut photograph, and what the mediapipe library finds in them.

The photograph is NASA's and in the public domain. Everything is made with whole numbers, so the pictures are
the same wherever they are made. To make faces_astronaut.npz again, in an environment of its own:

    pip install mediapipe==0.10.21 scikit-image
    python tests/data/faces_astronaut.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage import data

REFERENCE_FILE = Path(__file__).with_suffix(".npz")
ROTATION = (12, 5, 13)  # cos, sin and 1 of 22.6 degrees, all whole
PLAIN_MESH_PICTURES = ("whole", "rotated", "wide")


def pictures() -> dict[str, np.ndarray]:
    """Make the pictures with a face that the letterbox shows, uint8 RGB [H, W, 3]."""
    astronaut = np.ascontiguousarray(data.astronaut())
    close = astronaut[:256, 96:352]
    made = {
        "whole": astronaut,
        "close": close,
        "tall": astronaut[:400, 120:320],
        "wide": astronaut[20:221, :511],
        "half": shrink(astronaut, 2),
        "mirrored": astronaut[:, ::-1],
        "rotated": rotate(astronaut),
        "dim": astronaut // 3,
        "large": np.repeat(np.repeat(close, 3, axis=0), 3, axis=1),
        "cut": astronaut[:150, 190:300],
    }
    return {name: np.ascontiguousarray(picture) for name, picture in made.items()}


def moving() -> np.ndarray:
    """Make a short clip of the face drifting through the picture, uint8 RGB [F, H, W, 3]."""
    astronaut = data.astronaut()
    return np.stack([astronaut[2 * step : 2 * step + 300, 60 + 3 * step : 360 + 3 * step] for step in range(6)])


def shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor x factor pixels, rounded down."""
    height, width = (size // factor * factor for size in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return (blocks.sum(axis=(1, 3), dtype=np.int64) // factor**2).astype(np.uint8)


def rotate(picture: np.ndarray) -> np.ndarray:
    """Turn a picture around its centre by taking the nearest pixel; black outside."""
    cos, sin, one = ROTATION
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = x - width // 2, y - height // 2
    source_x = (2 * (cos * x - sin * y) + one) // (2 * one) + width // 2
    source_y = (2 * (sin * x + cos * y) + one) // (2 * one) + height // 2
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    turned = np.zeros_like(picture)
    turned[inside] = picture[source_y[inside], source_x[inside]]
    return turned


def _detect(model_selection: int, picture: np.ndarray) -> np.ndarray:
    """Score, box x1 y1 x2 y2 and six keypoints x y, 0..1 of the picture; NaN where nothing is found."""
    from mediapipe.python.solutions.face_detection import FaceDetection

    with FaceDetection(model_selection=model_selection, min_detection_confidence=0.5) as library:
        found = library.process(picture).detections
    if not found:
        return np.full(17, np.nan, np.float32)
    place = found[0].location_data
    box = place.relative_bounding_box
    corners = [box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height]
    keypoints = [value for point in place.relative_keypoints for value in (point.x, point.y)]
    return np.array([found[0].score[0], *corners, *keypoints], np.float32)


def _landmarks(frames: np.ndarray, *, refined: bool, tracked: bool) -> np.ndarray:
    """X / width, y / height, z / width of the 468 points, [F, 468, 3]; NaN where the library sees no face."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    rows = []
    with FaceMesh(static_image_mode=not tracked, max_num_faces=1, refine_landmarks=refined) as library:
        for frame in frames:
            faces = library.process(frame).multi_face_landmarks
            points = [(point.x, point.y, point.z) for point in faces[0].landmark[:468]] if faces else np.nan
            rows.append(np.broadcast_to(np.array(points, np.float32), (468, 3)))
    return np.stack(rows)


def main() -> None:
    """Run the library over the pictures and write its numbers."""
    numbers = {}
    for name, picture in pictures().items():
        numbers[f"{name}/short"] = _detect(0, picture)
        numbers[f"{name}/full"] = _detect(1, picture)
        numbers[f"{name}/refined"] = _landmarks(picture[None], refined=True, tracked=False)[0]
        if name in PLAIN_MESH_PICTURES:
            numbers[f"{name}/plain"] = _landmarks(picture[None], refined=False, tracked=False)[0]
    numbers["moving/refined"] = _landmarks(moving(), refined=True, tracked=True)
    np.savez_compressed(REFERENCE_FILE, **numbers)
    for name, values in numbers.items():
        print(name, values.shape, "no face" if np.isnan(values).any() else values.ravel()[:3])


if __name__ == "__main__":
    main()
