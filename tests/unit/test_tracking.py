from __future__ import annotations

import cv2
import numpy as np
import pytest

from client.errors import UsageError
from client.options import FACE
from client.tracking.faces import Face, FaceChoice, parse_face_choice
from client.tracking.follow import CutDetector, FaceLinker, Observation, bridge_gaps, smooth_landmarks


def face(x: float, y: float = 0.0, size: float = 100.0, score: float = 0.9) -> Face:
    box = np.array([x, y, x + size, y + size], np.float32)
    return Face(box, score, np.full((468, 3), x, np.float32))


def observations(values: list[float | None], tracks: list[int] | None = None) -> list[Observation[int]]:
    faces = [None if value is None else face(value) for value in values]
    return [
        Observation(i, item, track)
        for i, (item, track) in enumerate(zip(faces, tracks or [1] * len(values), strict=True))
    ]


def values(stream: list[Observation[int]]) -> list[float | None]:
    return [
        None if item.face is None or item.face.landmarks is None else float(item.face.landmarks[0, 0])
        for item in stream
    ]


@pytest.mark.parametrize(
    ("text", "x"), [("largest", 300), ("left", 0), ("right", 500), ("1", 300), ("260,10", 300), ("550,50", 500)]
)
def test_choice_picks_the_face_that_was_asked_for(text: str, x: float) -> None:
    """Each rule picks its face, whatever the order of detection."""
    faces = [face(500), face(300, size=150), face(0)]
    position = parse_face_choice(text).pick(faces)
    assert position is not None
    assert faces[position].box[0] == x


def test_uncertain_faces_are_followed_but_not_chosen() -> None:
    """A doubtful detection starts no track; one that fades keeps its track."""
    linker = FaceLinker(FaceChoice())
    assert linker.link([face(0, score=0.55)], cut=False)[0] is None
    assert linker.link([face(0, score=0.65)], cut=False)[0] is not None
    assert linker.link([face(0, score=0.52)], cut=False)[0] is not None


def test_choice_finds_nothing_beyond_the_last_face() -> None:
    """An index that no face has picks none."""
    assert parse_face_choice("2").pick([face(0), face(300)]) is None


@pytest.mark.parametrize("text", ["biggest", "-1", "1,2,3", "", "a,b", "nan,1", "²"])
def test_choice_fails_on_anything_else(text: str) -> None:
    """The option's rule lists what is understood."""
    with pytest.raises(ValueError):
        parse_face_choice(text)
    with pytest.raises(UsageError, match="face: expected auto, largest, left, right, a number"):
        FACE.read(text)


def test_linker_stays_with_its_face_among_others() -> None:
    """A face is followed by overlap while it moves, also when the order of detection changes."""
    linker = FaceLinker(FaceChoice("left"))
    for step in range(10):
        faces = [face(400 - 10 * step), face(10 * step)]
        linked, track = linker.link(faces if step % 2 else faces[::-1], cut=False)
        assert linked is not None
        assert (linked.box[0], track) == (10 * step, 1)


def test_linker_begins_anew_at_a_cut() -> None:
    """A cut starts a new track with the rule applied again, though the old place still shows a face."""
    linker = FaceLinker(FaceChoice("largest"))
    linker.link([face(0)], cut=False)
    linked, track = linker.link([face(0), face(300, size=200)], cut=True)
    assert linked is not None
    assert (linked.box[0], track) == (300, 2)


def test_linker_turns_to_a_much_larger_face_after_a_while() -> None:
    """The largest face is followed even if a small one was there first; a short intrusion changes nothing."""
    linker = FaceLinker(FaceChoice("largest"))
    found = [linker.link([face(0), face(400, size=300)] if step else [face(0)], cut=False) for step in range(30)]
    assert found[5][1] == 1
    assert found[29][0] is not None
    assert found[29][0].box[0] == 400


def test_short_gaps_are_bridged_and_long_ones_are_not() -> None:
    """Up to five missing frames are interpolated; six are left as they are."""
    bridged = values(list(bridge_gaps(observations([0, None, None, 3, *[None] * 6, 10]))))
    assert bridged[:4] == [0, 1, 2, 3]
    assert bridged[4:10] == [None] * 6
    assert bridged[10] == 10


def test_gaps_are_not_bridged_across_tracks() -> None:
    """Frames between two tracks stay without a face."""
    bridged = values(list(bridge_gaps(observations([0, None, 3], [1, 1, 2]))))
    assert bridged == [0, None, 3]


def test_no_frame_is_lost_or_reordered() -> None:
    """Bridging and smoothing hand on every frame once, in order, for streams of any length."""
    for length in range(12):
        stream = observations([None if i % 4 == 3 else float(i) for i in range(length)])
        assert [item.frame for item in smooth_landmarks(bridge_gaps(stream))] == list(range(length))


def test_smoothing_is_the_five_tap_gaussian() -> None:
    """Inside a track it equals a convolution with repeated ends (float32 rounding apart)."""
    series = np.random.default_rng(0).normal(size=20)
    taps = np.exp(-0.5 * (np.arange(-2, 3) / 0.7) ** 2)
    expected = np.convolve(np.pad(series, 2, mode="edge"), taps / taps.sum(), "valid")
    smoothed = values(list(smooth_landmarks(observations([float(x) for x in series]))))
    np.testing.assert_allclose(np.array(smoothed, float), expected, atol=1e-6)


def test_smoothing_stops_at_track_borders() -> None:
    """A new track is not mixed with the one before."""
    smoothed = values(list(smooth_landmarks(observations([0.0] * 5 + [100.0] * 5, [1] * 5 + [2] * 5))))
    assert smoothed == pytest.approx([0.0] * 5 + [100.0] * 5)


def test_cuts_are_found_and_motion_is_not() -> None:
    """Another picture is a cut; the same one shifted, or brighter, is none."""
    rng = np.random.default_rng(1)
    first, second = (
        cv2.resize(rng.uniform(0, 255, (5, 5)).astype(np.float32), (32, 32), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    )
    detector = CutDetector()
    assert not detector.is_cut(first)
    assert not detector.is_cut(np.roll(first, 1, axis=1))
    assert not detector.is_cut(np.clip(np.roll(first, 1, axis=1) + 30, 0, 255))
    assert detector.is_cut(second)
