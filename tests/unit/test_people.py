from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import cv2
import numpy as np
import pytest

from client.media import Picture
from client.media.pixels import ColorTags
from client.tracking.appearance import SAME_PERSON, Looks, describe_face
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import Face, FaceChoice, parse_face_choice
from client.tracking.finder import FoundFrame, follow
from client.tracking.follow import THUMBNAIL_SIDE, Observation, bridge_gaps
from client.tracking.people import link_people

SIZE = 80  # pixels, edge of a face
WIDTH, HEIGHT = 480, 160


@dataclass(frozen=True)
class Shown:
    """A frame of a puppet show: faces that are drawn at places, and whose order of detection is the drawing's."""

    index: int
    picture: Picture
    boxes: dict[str, np.ndarray] = field(default_factory=dict)


def head(name: str) -> np.ndarray:
    """Return a face-like patch that belongs to a name, uint8 RGB [80, 80, 3]."""
    rng = np.random.default_rng(list(name.encode()))
    coarse = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def frame(index: int, places: dict[str, float], *, light: float = 1.0, shade: int = 90) -> FoundFrame[Shown]:
    """Draw people at horizontal places, those named later in front; a person who is mostly covered is not found."""
    rgb = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    boxes: dict[str, np.ndarray] = {}
    for name, x in places.items():
        left = round(x)
        rgb[40 : 40 + SIZE, left : left + SIZE] = np.clip(head(name) * light, 0, 255)
        boxes[name] = np.array([left, 40, left + SIZE, 40 + SIZE], np.float32)
    faces = {name: Face(box, 0.9) for name, box in boxes.items()}
    names = list(faces)
    seen = [n for i, n in enumerate(names) if all(faces[n].overlap(faces[m]) < 0.4 for m in names[i + 1 :])]
    picture = Picture(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv444p"), ColorTags())
    small = cv2.resize(rgb, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    thumbnail = small.mean(axis=2, dtype=np.float32)
    return FoundFrame(Shown(index, picture, boxes), [faces[name] for name in seen], thumbnail)


def who(observation: Observation[Shown]) -> str | None:
    """Return the name of the person whose face a speaker has in a frame."""
    if observation.face is None:
        return None
    return next(name for name, box in observation.frame.boxes.items() if box is observation.face.box)


def cast(frames: Sequence[FoundFrame[Shown]], *faces: FaceChoice | FaceBoxes) -> list[tuple[str | None, ...]]:
    """Return who each speaker is in each frame."""
    return [tuple(map(who, observations)) for observations in link_people(frames, faces)]


LEFT, RIGHT = FaceChoice("left"), FaceChoice("right")


@pytest.mark.parametrize("choice", ["largest", "left", "right", "1", "300,60"])
def test_one_choice_is_followed_as_without_people(choice: str) -> None:
    """A single speaker has exactly the faces and tracks that `follow` links, across gaps and cuts too."""
    shots = [frame(i, {"ann": 20 + 3 * i, "bob": 380 - 2 * i}) for i in range(20)]
    shots += [frame(20 + i, {"bob": 100} if i % 4 else {}, shade=20) for i in range(20)]
    chosen = parse_face_choice(choice)
    ours = bridge_gaps(observations[0] for observations in link_people(shots, [chosen]))
    for mine, usual in zip(ours, follow(shots, chosen), strict=True):
        assert mine.track == usual.track
        assert (mine.face is None) == (usual.face is None)
        if mine.face is not None and usual.face is not None:
            np.testing.assert_array_equal(mine.face.box, usual.face.box)


def test_two_speakers_have_a_face_each() -> None:
    """Rules pick at the first sight, and each face belongs to one speaker."""
    frames = [frame(i, {"bob": 300 - i, "ann": 20 + i}) for i in range(10)]
    assert cast(frames, LEFT, RIGHT) == [("ann", "bob")] * 10
    assert cast(frames, FaceChoice(), FaceChoice()) == [("bob", "ann")] * 10
    assert cast(frames, LEFT, FaceChoice("index", index=0)) == [("ann", None)] * 10


@pytest.mark.parametrize("speed", [4, 11, 25])
def test_people_who_cross_keep_their_identity(speed: int) -> None:
    """A person who walks behind another one comes out as the same speaker on the other side."""
    count = 320 // speed
    frames = [frame(i, {"ann": 20 + speed * i, "bob": 340 - speed * i}) for i in range(count)]
    linked = cast(frames, LEFT, RIGHT)
    assert all(pair[0] in ("ann", None) and pair[1] in ("bob", None) for pair in linked)
    assert linked[-1] == ("ann", "bob")


def test_people_are_recognised_after_cuts() -> None:
    """Who changed sides, or came alone, is the same speaker; the number of the track changes at the cut."""
    first = [frame(i, {"ann": 20, "bob": 300}) for i in range(5)]
    swapped = [frame(5 + i, {"bob": 60, "ann": 350}, light=0.7, shade=20) for i in range(5)]
    alone = [frame(10 + i, {"bob": 200}, shade=180) for i in range(5)]
    observed = list(link_people([*first, *swapped, *alone], [LEFT, RIGHT]))
    names = [tuple(map(who, observations)) for observations in observed]
    assert names == [("ann", "bob")] * 10 + [(None, "bob")] * 5
    tracks = [observations[1].track for observations in observed]
    assert tracks == [1] * 5 + [2] * 5 + [3] * 5


def test_a_stranger_beside_a_speaker_is_left_alone() -> None:
    """Somebody who is not chosen gets nobody's voice, in a new shot either."""
    first = [frame(i, {"ann": 20, "bob": 300}) for i in range(5)]
    second = [frame(5 + i, {"cleo": 100, "bob": 250}, shade=20) for i in range(5)]
    assert cast([*first, *second], LEFT, RIGHT)[5:] == [(None, "bob")] * 5


def test_choices_are_made_again_where_nobody_is_recognised() -> None:
    """A shot of as many strangers as speakers is a new beginning; in a shot of fewer strangers nobody speaks."""
    first = [frame(i, {"ann": 20, "bob": 300}) for i in range(5)]
    two = [frame(5 + i, {"cleo": 100, "dan": 250}, shade=20) for i in range(5)]
    one = [frame(10 + i, {"eve": 200}, shade=180) for i in range(5)]
    back = [frame(15 + i, {"bob": 20, "ann": 300}, shade=20) for i in range(5)]
    names = cast([*first, *two, *one, *back], LEFT, RIGHT)
    assert names[5:10] == [("cleo", "dan")] * 5
    assert names[10:15] == [(None, None)] * 5
    assert names[15:] == [("ann", "bob")] * 5


def test_speakers_appear_one_after_the_other() -> None:
    """A speaker who is not in the first shot is chosen in the shot that shows somebody else."""
    first = [frame(i, {"ann": 100}) for i in range(5)]
    second = [frame(5 + i, {"bob": 100}, shade=20) for i in range(5)]
    assert cast([*first, *second], LEFT, RIGHT) == [("ann", None)] * 5 + [(None, "bob")] * 5


def test_boxes_mean_the_face_of_their_frame() -> None:
    """Boxes win over choices; frames that are not listed have no face, and end the track."""
    frames = [frame(i, {"ann": 20, "bob": 300}) for i in range(6)]
    near_ann, near_bob = (frames[0].frame.boxes[name] + 5 for name in ("ann", "bob"))
    boxes = FaceBoxes({0: near_ann, 1: near_ann, 3: near_ann, 4: near_bob})
    observed = list(link_people(frames, [LEFT, boxes]))
    assert [who(pair[1]) for pair in observed] == ["ann", "ann", None, "ann", "bob", None]
    assert [pair[1].track for pair in observed] == [1, 1, 1, 2, 3, 3]
    # ann is taken at the first sight, so that the choice falls on bob
    assert [who(pair[0]) for pair in observed] == ["bob"] * 4 + [None, "bob"]


def test_a_listed_face_that_is_missed_keeps_its_track() -> None:
    """A short gap in which the box says that the speaker is there can be bridged; a cut cannot."""
    frames = [frame(i, {"ann": 20} if i != 2 else {}) for i in range(4)] + [frame(4, {"ann": 20}, shade=250)]
    box = frames[0].frame.boxes["ann"]
    observed = [pair[0] for pair in link_people(frames, [FaceBoxes(dict.fromkeys(range(5), box))])]
    assert [observation.track for observation in observed] == [1, 1, 1, 1, 2]


def test_appearance_does_not_depend_on_light_or_size() -> None:
    """A face is like itself at half the size and in other light, and unlike other ones."""
    ann = frame(0, {"ann": 20})
    looks = Looks([described(ann, ann.faces[0])])
    dark = frame(0, {"ann": 200}, light=0.5)
    assert looks.likeness(described(dark, dark.faces[0])) > SAME_PERSON
    bob = frame(0, {"bob": 20})
    assert looks.likeness(described(bob, bob.faces[0])) < SAME_PERSON


def test_a_face_outside_the_picture_has_no_description() -> None:
    """A box that left the picture, and one without size, describe nothing."""
    shown = frame(0, {"ann": 20}).frame.picture
    assert describe_face(shown, Face(np.array([-200, 0, -100, 80], np.float32), 0.9)) is None
    assert describe_face(shown, Face(np.array([20, 20, 20, 20], np.float32), 0.9)) is None


def described(found: FoundFrame[Shown], seen: Face) -> np.ndarray:
    descriptor = describe_face(found.frame.picture, seen)
    assert descriptor is not None
    return descriptor


def test_a_cut_to_another_person_in_the_same_place_is_noticed() -> None:
    """Where only the face changes, all at once, it is somebody else's, and a box that goes on begins a new track."""
    frames = [frame(i, {"ann": 200}) for i in range(5)] + [frame(5 + i, {"bob": 205}) for i in range(5)]
    box = frames[0].frame.boxes["ann"]
    observed = list(link_people(frames, [LEFT, FaceBoxes(dict.fromkeys(range(10), box))]))
    assert [pair[1].track for pair in observed] == [1] * 5 + [2] * 5
    assert cast(frames, LEFT, RIGHT) == [("ann", None)] * 5 + [(None, "bob")] * 5


def test_a_choice_can_wait_for_its_first_segment() -> None:
    """A box is where the face is at a time; who was there before is somebody else."""
    frames = [frame(i, {"ann": 200}) for i in range(5)] + [frame(5 + i, {"bob": 205}) for i in range(5)]
    place = FaceChoice("box", box=(200.0, 40.0, 280.0, 120.0))
    linked = link_people(frames, [place, place], lambda shown: [shown.index >= 5, shown.index < 5])
    assert [tuple(map(who, pair)) for pair in linked] == [(None, "ann")] * 5 + [("bob", None)] * 5
    only = link_people(frames, [place], lambda shown: [shown.index >= 5])
    assert [who(observations[0]) for observations in only] == [None] * 5 + ["bob"] * 5
