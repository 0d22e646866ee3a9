from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lipsync_core.syncnet.crops import crop_face, crop_path
from perf.scores.syncnet.tracks import SceneCutter, find_tracks, iou
from tests.data.syncnet_goldens import FOLDER

RECORDED = np.load(FOLDER / "tracks.npz")
CASES = [name.removeprefix("in_") for name in RECORDED.files if name.startswith("in_")]


@pytest.mark.parametrize("min_track", [100, 50])
@pytest.mark.parametrize("case", CASES)
def test_recorded_tracks_hold(case: str, min_track: int) -> None:
    """Gaps, jumps, crossing and small faces, and lengths around the threshold: frames exactly, boxes to 1e-9."""
    rows = RECORDED[f"in_{case}"]
    detections = [rows[rows[:, 0] == frame, 1:] for frame in range(int(rows[:, 0].max()) + 1)]
    tracks = find_tracks(detections, first=0, min_track=min_track)
    assert len(tracks) == RECORDED[f"n{min_track}_{case}"]
    for i, track in enumerate(tracks):
        name = f"t{min_track}_{case}_{i}"
        assert np.array_equal(np.arange(track.first, track.end), RECORDED[f"{name}_frame"])
        assert np.abs(track.boxes - RECORDED[f"{name}_bbox"]).max() < 1e-9


def test_tracks_count_from_their_scenes_beginning() -> None:
    """A later scene's tracks have the video's frame numbers; a scene without a face has none."""
    face = np.array([[100.0, 100, 300, 350]])
    (track,) = find_tracks([face] * 120, first=500)
    assert (track.first, track.end) == (500, 620)
    assert find_tracks([np.zeros((0, 4))] * 120) == []


def test_recorded_path_holds() -> None:
    """Smoothed half sizes and centres, exactly."""
    path = crop_path(RECORDED["crop_boxes"])
    for ours, theirs in ((path.half_sizes, "s"), (path.centres_x, "x"), (path.centres_y, "y")):
        assert np.array_equal(ours, RECORDED[f"crop_{theirs}"])


def test_golden_crops_hold(reference_dir: Path) -> None:
    """Every pixel of the original's crops, at the frame's edge and inside."""
    goldens = np.load(reference_dir / "syncnet" / "tracks.npz")
    path = crop_path(goldens["crop_boxes"])
    for index, expected in zip(goldens["crop_index"], goldens["crop_out"], strict=True):
        assert np.array_equal(crop_face(goldens["crop_frames"][index], path, index), expected)


def test_a_crop_reaches_from_the_forehead_to_below_the_chin() -> None:
    """The square reaches one half size above the centre, 1.8 below, 1.4 to either side; beyond the frame it is grey."""
    frame = np.full((600, 500, 3), 200, np.uint8)
    path = crop_path(np.tile([[150.0, 300, 350, 500]], (13, 1)))  # half size 100, centre (250, 400)
    crop = crop_face(frame, path, 6)
    assert crop.shape == (224, 224, 3)
    assert (crop[:100] == 200).all()
    frame[:299] = 0
    frame[:, :109] = 0
    frame[:, 391:] = 0
    assert (crop_face(frame, path, 6) == crop).all()
    frame[300:304] = 0
    assert not (crop_face(frame, path, 6)[0] == crop[0]).all()
    low = crop_path(np.tile([[150.0, 400, 350, 600]], (13, 1)))
    assert (crop_face(frame, low, 6)[-60:] == 110).all()  # the frame ends at 100 of 180 rows below the centre


def test_golden_overlap_holds(reference_dir: Path) -> None:
    """Half of either box shared is a third of both; boxes apart share nothing."""
    assert iou(np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])) == pytest.approx(
        float(np.load(reference_dir / "syncnet" / "tracks.npz")["iou_example"])
    )
    assert iou(np.array([0.0, 0, 10, 10]), np.array([20.0, 0, 30, 10])) == 0


def test_scenes_begin_where_the_picture_changes() -> None:
    """A cut is a large change of all pixels, not a flash within half a second of another; motion is none."""
    random = np.random.default_rng(1)
    rooms = [cv2.resize(random.integers(256, size=(9, 16, 3), dtype=np.uint8), (512, 288)) for _ in range(3)]
    shots = [(rooms[0], 20), (rooms[1], 5), (rooms[2], 30)]
    frames = [np.roll(room, i, axis=1) for room, count in shots for i in range(count)]
    cutter = SceneCutter()
    assert [i for i, frame in enumerate(frames) if cutter.is_cut(frame)] == [20]
