from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.face import (
    LANDMARK_IMAGE_SIZE,
    LANDMARKS,
    SHORT_RANGE_DETECTOR,
    Detections,
    Network,
    alignment_points,
    crop_regions,
    decode_detections,
    fill_slots,
    find_faces,
    find_landmarks,
    fit_keypoints,
    in_batches,
    landmark_detections,
    landmarks_in_frame,
    largest_faces,
    merge_overlapping,
    regions_from_detections,
    regions_from_landmarks,
    tile_regions,
    turned_regions,
)

ANCHORS = 896


def raw_face(anchor: int, *, logit: float = 3.0, size: float = 32.0) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs in which one anchor sees a face, centred on it, all keypoints in the centre."""
    regressors, logits = np.zeros((ANCHORS, 16), np.float32), np.full(ANCHORS, -100.0, np.float32)
    regressors[anchor, 2:4] = size
    logits[anchor] = logit
    return regressors, logits


def detections(boxes: list[list[float]], scores: list[float]) -> Detections:
    corners = np.array(boxes, np.float64)
    keypoints = np.repeat(corners[:, None, :2], 6, axis=1)
    return Detections(corners, keypoints, np.array(scores, np.float64))


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (1920, 1080), (480, 480), (4, 4), (3, 1000)])
def test_letterbox_holds_the_whole_frame_in_its_middle(height: int, width: int) -> None:
    """One part is one square as large as the frame's longer side."""
    assert tile_regions(height, width, 1).tolist() == [[width / 2, height / 2, max(height, width), 0.0]]


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (1920, 1080), (480, 480), (101, 99), (3, 1000)])
def test_a_face_of_half_a_tile_is_whole_in_some_tile(height: int, width: int, parts: int) -> None:
    """Tiles cover the frame and overlap by half at least, wherever the face is."""
    tiles = tile_regions(height, width, parts)
    side = tiles[0, 2]
    for extent, centres in ((width, np.unique(tiles[:, 0])), (height, np.unique(tiles[:, 1]))):
        first, last = centres[0] - side / 2, centres[-1] + side / 2
        assert first <= 1e-9
        assert last >= extent - 1e-9
        assert (np.diff(centres) <= side / 2 + 1e-9).all()


def test_letterbox_is_black_beside_the_frame_and_the_landmark_crop_repeats_its_edge() -> None:
    """The two networks were trained with different surroundings."""
    frame = np.full((20, 60, 3), 200, np.uint8)
    square = np.array([[30.0, 10.0, 60.0, 0.0]])
    black = crop_regions(frame, square, 60, replicate_border=False)[0]
    repeated = crop_regions(frame, square, 60, replicate_border=True)[0]
    assert (black[:19] == 0).all()
    assert (black[20:40] == 200).all()
    assert (repeated == 200).all()


def test_a_turned_region_is_cut_upright() -> None:
    """A region turned by a quarter shows the frame turned back by a quarter."""
    frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    upright, turned = crop_regions(
        frame, np.array([[20, 20, 16, 0], [20, 20, 16, np.pi / 2]]), 16, replicate_border=True
    )
    # output pixel (u, v) reads centre + R * (u - 8, v - 8), so the turned crop starts one pixel further in
    assert np.array_equal(np.rot90(turned, -1)[:, :-1], upright[:, 1:])


@pytest.mark.parametrize(
    ("anchor", "centre"),
    [(0, (4, 4)), (1, (4, 4)), (2, (12, 4)), (32, (4, 12)), (511, (124, 124)), (512, (8, 8)), (895, (120, 120))],
)
def test_a_box_lies_around_its_anchor(anchor: int, centre: tuple[float, float]) -> None:
    """Anchors go by grid, row, column; a region of the image's own size leaves its pixels as they are."""
    found = decode_detections(SHORT_RANGE_DETECTOR, *raw_face(anchor), np.array([64.0, 64.0, 128.0, 0.0]))
    x, y = centre
    assert found.boxes.tolist() == [[x - 16, y - 16, x + 16, y + 16]]
    assert found.keypoints.tolist() == [[[x, y]] * 6]


def test_boxes_are_in_pixels_of_the_frame() -> None:
    """A region's place and size carry over to what is found in it."""
    found = decode_detections(SHORT_RANGE_DETECTOR, *raw_face(0), np.array([500.0, 300.0, 256.0, 0.0]))
    assert found.boxes.tolist() == [[348, 148, 412, 212]]


def test_weak_and_inside_out_boxes_are_dropped() -> None:
    """The threshold is inclusive at 0.5; extreme logits neither warn nor overflow."""
    region = np.array([64.0, 64.0, 128.0, 0.0])
    for logit, count in ((-0.01, 0), (0.0, 1), (1e4, 1), (-1e4, 0)):
        assert len(decode_detections(SHORT_RANGE_DETECTOR, *raw_face(5, logit=logit), region).scores) == count
    assert not len(decode_detections(SHORT_RANGE_DETECTOR, *raw_face(5, size=-1.0), region).scores)


def test_detections_of_one_face_are_averaged_by_score() -> None:
    """The merged face lies between them and keeps the best score; a distant one stays as it is."""
    merged = merge_overlapping(detections([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], [0.6, 0.9, 0.7]))
    assert np.allclose(merged.boxes, [[1.2, 0, 11.2, 10], [50, 50, 60, 60]])
    assert np.allclose(merged.keypoints[0], [1.2, 0])
    assert merged.scores.tolist() == [0.9, 0.7]


def test_empty_boxes_do_not_stop_the_merge() -> None:
    """A box without area overlaps nothing, itself included, and still counts as a face."""
    assert len(merge_overlapping(detections([[5, 5, 5, 5], [5, 5, 5, 5]], [0.6, 0.6])).scores) == 2


def test_small_faces_are_looked_for_only_where_nothing_was_found() -> None:
    """Whole frames go in one call; the tiles of the frames without a face in one more per size."""
    calls: list[int] = []

    def run_detector(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(len(images))
        sees = images.mean(axis=(1, 2, 3)) > 100
        faces = [raw_face(100, logit=3.0 if seen else -100.0) for seen in sees]
        return tuple(np.stack(parts) for parts in zip(*faces, strict=True))  # type: ignore[return-value]

    frames = np.zeros((3, 64, 64, 3), np.uint8)
    frames[0] = 200
    frames[2, :32, :32] = 200
    found = find_faces(frames, run_detector)
    assert [len(faces.scores) for faces in found] == [1, 0, 1]
    # 3 letterboxes; 9 tiles of two frames; 25 of the one that is still without a face
    assert calls == [3, 18, 25]
    assert found[2].boxes.max() <= 40


def see_bright_tops(calls: list[int]) -> Network:
    """A detector that is surest of the face where the upper half of its picture is bright, and unsure elsewhere."""

    def run_detector(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(len(images))
        is_upright = images[:, :64].mean(axis=(1, 2, 3)) > images[:, 64:].mean(axis=(1, 2, 3)) + 40
        faces = [raw_face(16 * 16 + 16, logit=4.0 if seen else 0.5) for seen in is_upright]
        for regressors, _ in faces:
            regressors[:, 4:8] = [-8, -8, 8, -8]  # the eyes
            regressors[:, 10:12] = [0, 8]  # the mouth
        return tuple(np.stack(parts) for parts in zip(*faces, strict=True))  # type: ignore[return-value]

    return run_detector


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rolled_faces_are_turned_upright(quarters: int) -> None:
    """The keypoints say which way up the face is, and each further look is one call for all doubtful faces."""
    upright = np.zeros((128, 128, 3), np.uint8)
    upright[:64] = 200
    frame = np.rot90(upright, -quarters)  # clockwise
    calls: list[int] = []
    found = find_faces(np.stack([frame, frame]), see_bright_tops(calls))
    assert calls == ([2] if quarters == 0 else [2, 2, 6])
    for faces in found:
        region = regions_from_detections(faces.boxes, faces.keypoints)[0]
        assert np.degrees(region[3]) % 360 == pytest.approx(90 * quarters)
        mouth = faces.keypoints[0, 3] - faces.boxes[0].reshape(2, 2).mean(axis=0)
        assert np.allclose(np.sign(mouth.round(6)), [[0, 1], [-1, 0], [0, -1], [1, 0]][quarters])
        assert faces.scores[0] > 0.95


def test_doubtful_faces_that_no_turn_improves_stay_as_they_were() -> None:
    """A face in poor light keeps its box to the last bit."""
    calls: list[int] = []
    frame = np.full((128, 128, 3), 128, np.uint8)
    found = find_faces(frame[None], see_bright_tops(calls))[0]
    regressors, logits = see_bright_tops([])(frame[None])
    alone = decode_detections(SHORT_RANGE_DETECTOR, regressors[0], logits[0], np.array([64.0, 64.0, 128.0, 0.0]))
    assert calls == [1, 1, 3]
    assert all(np.array_equal(new, old) for new, old in zip(found, alone, strict=True))


def test_faces_that_are_sure_when_seen_closer_are_not_turned() -> None:
    """Small faces are found with doubts; one more look at each is enough, and leaves them as they were."""
    calls: list[int] = []

    def run_detector(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(len(images))
        faces = [raw_face(16 * 16 + 16, logit=1.0 if len(calls) == 1 else 4.0) for _ in images]
        return tuple(np.stack(parts) for parts in zip(*faces, strict=True))  # type: ignore[return-value]

    frames = np.full((2, 128, 128, 3), 128, np.uint8)
    found = find_faces(frames, run_detector)
    assert calls == [2, 2]
    assert [faces.scores.round(3).tolist() for faces in found] == [[0.731], [0.731]]


def test_turned_regions_are_one_square_in_four_turns() -> None:
    """Around the box, as many times larger as was asked for."""
    regions = turned_regions(np.array([10.0, 20.0, 30.0, 60.0]), 2.0)
    assert regions[:, :3].tolist() == [[20, 40, 80]] * 4
    assert np.degrees(regions[:, 3]).tolist() == [0, 90, 180, 270]


def test_landmarks_must_agree_with_the_detector() -> None:
    """Nose or mouth three tenths of the box away are on something else."""
    landmarks, keypoints = np.full((3, LANDMARKS, 3), 50.0, np.float32), np.full((3, 6, 2), 50.0)
    keypoints[1, 2] += [31, 0]
    keypoints[2, 3] -= [0, 29]
    boxes = np.tile([0.0, 0.0, 100.0, 80.0], (3, 1))
    assert fit_keypoints(landmarks, keypoints, boxes).tolist() == [True, False, True]


def test_landmark_regions_are_level_with_the_eyes() -> None:
    """Detections by their keypoints, landmarks by the outer eye corners; 1.5 times the longer side."""
    boxes, keypoints = np.array([[10.0, 20.0, 30.0, 60.0]]), np.zeros((1, 6, 2))
    keypoints[0, :2] = [[12, 40], [22, 50]]
    assert np.allclose(regions_from_detections(boxes, keypoints), [[20, 40, 60, np.pi / 4]])
    landmarks = np.zeros((1, LANDMARKS, 3), np.float32)
    landmarks[0, :, :2] = [20, 40]
    landmarks[0, [33, 263], :2] = [[10, 40], [30, 40]]
    assert np.allclose(regions_from_landmarks(landmarks), [[20, 40, 30, 0]])


def test_a_face_shrunk_to_a_point_still_has_a_region() -> None:
    """Landmarks on something that is no face must not end in a crop without size."""
    assert regions_from_landmarks(np.zeros((1, LANDMARKS, 3), np.float32)).tolist() == [[0, 0, 1, 0]]


def test_landmarks_return_to_where_the_crop_was_cut() -> None:
    """The crop's centre is the region's, its x axis the region's, and z has the scale of x."""
    middle = LANDMARK_IMAGE_SIZE / 2
    landmarks = np.full((1, LANDMARKS, 3), middle, np.float32)
    landmarks[0, 1, 0] += 32
    placed = landmarks_in_frame(landmarks, np.array([[100.0, 200.0, 384.0, np.pi / 2]]))
    assert np.allclose(placed[0, 0], [100, 200, 192])
    assert np.allclose(placed[0, 1], [100, 264, 192])


def test_fresh_detections_are_looked_at_twice() -> None:
    """The second crop follows the first mesh, and only the second word on presence counts."""
    calls: list[np.ndarray] = []

    def run_landmarks(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(images)
        spread = np.random.default_rng(len(calls)).uniform(48, 144, (1, LANDMARKS, 3)).astype(np.float32)
        return spread.repeat(len(images), axis=0), np.full((len(images), 1), 1.0 if len(calls) == 2 else -1.0)

    frames = np.random.default_rng(0).integers(0, 256, (2, 90, 160, 3), dtype=np.uint8)
    regions = np.array([[80.0, 45.0, 60.0, 0.0]] * 3)
    landmarks, present = landmark_detections(frames, np.array([0, 0, 1]), regions, run_landmarks)
    assert landmarks.shape == (3, LANDMARKS, 3)
    assert present.tolist() == [True, True, True]
    assert [len(images) for images in calls] == [3, 3]
    assert not np.array_equal(calls[0], calls[1])


def test_no_region_needs_no_network() -> None:
    """A request without faces ends without a call."""
    landmarks, present = find_landmarks(np.zeros((2, 8, 8, 3), np.uint8), [], np.empty((0, 4)), pytest.fail)
    assert landmarks.shape == (0, LANDMARKS, 3)
    assert present.shape == (0,)


def test_alignment_points_are_brows_and_nose() -> None:
    """Left in the image comes first; a frame without a face stays NaN."""
    landmarks = np.full((2, LANDMARKS, 3), np.nan, np.float32)
    landmarks[0] = 0
    landmarks[0, [71, 63, 105, 66, 107], 0] = [1, 2, 3, 4, 5]
    landmarks[0, [336, 296, 334, 293, 301], 1] = 7
    landmarks[0, [168, 197, 5, 4, 75, 97, 2, 326, 305], 0] = range(9)
    points = alignment_points(landmarks)
    assert points.dtype == np.float32
    assert points[0].tolist() == [[3, 0], [0, 7], [4, 0]]
    assert np.isnan(points[1]).all()


def test_largest_faces_come_first() -> None:
    """By box area, whatever the score."""
    kept = largest_faces(detections([[0, 0, 2, 2], [0, 0, 9, 9], [0, 0, 5, 5]], [0.9, 0.5, 0.7]), 2)
    assert kept.scores.tolist() == [0.5, 0.7]


def test_slots_are_as_many_as_the_fullest_frame_needs() -> None:
    """Faces stay with their frame and in their order; the rest is empty, and there may be no slot at all."""
    filled = fill_slots(np.array([1.0, 2.0, 3.0]), np.array([0, 2, 2]), 4, empty=0)
    assert filled.tolist() == [[1, 0], [0, 0], [2, 3], [0, 0]]
    assert fill_slots(np.empty((0, 4)), np.empty(0, int), 3).shape == (3, 0, 4)
    assert np.isnan(fill_slots(np.ones((1, 4)), np.array([1]), 2)[0]).all()


def test_batches_are_cut_and_joined() -> None:
    """No call holds more than the batch size, and the order stays."""
    sizes: list[int] = []

    def network(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(images))
        return images * 2, images + 1

    doubled, increased = in_batches(network, np.arange(7), 3)
    assert sizes == [3, 3, 1]
    assert doubled.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert increased.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_every_face_is_looked_for_where_it_is_asked() -> None:
    """A small face beside a large one is found in a tile; the large one stays as it was found in the whole frame."""

    def run_detector(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(len(images))
        faces = [raw_face(100, logit=float(image.mean()) - 99) for image in images]
        return tuple(np.stack(parts) for parts in zip(*faces, strict=True))  # type: ignore[return-value]

    frame = np.full((64, 64, 3), 90, np.uint8)
    frame[32:, 32:] = 110  # the tile in which the detector is surest
    frame[:32, :32] = 105
    calls: list[int] = []
    usual = find_faces(np.full((1, 64, 64, 3), 103, np.uint8), run_detector)[0]
    assert calls == [1]
    found = find_faces(frame[None], run_detector, every_face=True)[0]
    assert calls[1:3] == [1, 9]
    assert len(usual.scores) == 1
    assert len(found.scores) > 1
    assert (np.diff(found.scores) <= 0).all()
