"""Lanes: whose mouth is drawn when, over which pixels, and why others are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.lanes.lane import Lane, LanePlan, plan_lanes
from client.lanes.stage import DrawnFrame, LaneGroup, outcome
from client.lanes.synchroniser import Synchroniser
from client.lanes.times import FADE_S, LaneTimes
from client.media import TimelineFrame, VideoSource, timeline
from client.option import OptionValues
from client.pipeline import Layer
from client.report import StageClock
from client.scene.scene import Scene, Segment, Speaker, TimeSpan, Voice
from client.scene.spans import parse_spans
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, Face, FaceChoice
from client.tracking.finder import AnyWindows, FoundFrame
from lipsync_core.reasons import Reason
from tests.media_clips import write_clip
from tests.unit.painting import CLOSED, COLOURS, FRAMES, NETWORK, RATE, Painter, PaintingTriton

LEFT, RIGHT = FaceChoice("left"), FaceChoice("right")
BOXES = {LEFT: (32, 32, 64, 64), RIGHT: (160, 32, 192, 64)}  # on the grid of regions, so that nothing else is sent
VOICE = Voice(Path("voice.wav"))


class TwoFaces(AnyWindows):
    """Finds the same two faces in every frame."""

    def find(self, window: Sequence[TimelineFrame]) -> list[FoundFrame[TimelineFrame]]:
        faces = [Face(np.array(box, np.float32), score=1.0) for box in BOXES.values()]
        return [FoundFrame(frame, faces, np.zeros((32, 32), np.float32)) for frame in window]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "clip.mkv", codec="ffv1", pix_fmt="bgr0", frames=FRAMES, size=(256, 96))


def draw(clip: Path, *lanes: Lane, window_frames: int = 16, finder: TwoFaces | None = None) -> list[DrawnFrame]:
    source = VideoSource(clip)
    synchroniser = Synchroniser(
        triton=PaintingTriton(),  # type: ignore[arg-type]  # it is asked for answers alone
        lanes=lanes,
        finder=finder or TwoFaces(),
        frame_bytes=source.frame_bytes,
        window_frames=window_frames,
        clock=StageClock(),
    )
    return list(synchroniser.sync(timeline(source, FRAMES / RATE, "cut", "cut")))


def lane(face: FaceChoice | FaceBoxes, model: str, times: LaneTimes | None = None, chunk: int | None = None) -> Lane:
    return Lane(0, face, [Layer(Painter(model, chunk_frames=chunk))], times or LaneTimes())


def pixels(frames: Sequence[DrawnFrame], face: FaceChoice) -> np.ndarray:
    x1, y1, x2, y2 = BOXES[face]
    return np.stack([frame.picture.rgb()[y1:y2, x1:x2] for frame in frames]).astype(int)


class CutInTheMiddle(TwoFaces):
    """Sees another picture from frame 20 on."""

    def find(self, window: Sequence[TimelineFrame]) -> list[FoundFrame[TimelineFrame]]:
        return [
            replace(found, thumbnail=np.random.default_rng(found.frame.index // 20).uniform(0, 255, (32, 32)))
            for found in super().find(window)
        ]


def test_frames_tell_which_track_their_faces_belong_to(clip: Path) -> None:
    """A cut begins another one, although the face stays in its place."""
    frames = draw(clip, lane(LARGEST, NETWORK), finder=CutInTheMiddle())
    tracks = [frame.tracks[0] for frame in frames]
    assert all(frame.faces[0] is not None for frame in frames)
    assert len(set(tracks[:20])) == len(set(tracks[20:])) == 1
    assert tracks[0] != tracks[20]


def test_two_speakers_are_drawn_over_their_own_faces(clip: Path) -> None:
    """Each lane changes its own face; all other pixels stay the source's, bit for bit."""
    source = [frame.shown.picture.rgb() for frame in draw(clip, lane(LEFT, NETWORK, LaneTimes(())))]
    frames = draw(clip, lane(LEFT, NETWORK), lane(RIGHT, CLOSED, chunk=8))
    assert (pixels(frames, LEFT) == COLOURS[NETWORK]).all()
    assert (pixels(frames, RIGHT) == COLOURS[CLOSED]).all()
    for frame, before in zip(frames, source, strict=True):
        after = frame.picture.rgb()
        for x1, y1, x2, y2 in BOXES.values():
            after[y1:y2, x1:x2] = before[y1:y2, x1:x2]
        np.testing.assert_array_equal(after, before)
    assert {frame.reasons for frame in frames} == {(Reason.CHANGED, Reason.CHANGED)}


def test_later_lanes_draw_over_earlier_ones(clip: Path) -> None:
    """Two lanes over one face end with the second one's mouth."""
    frames = draw(clip, lane(LEFT, NETWORK), lane(LEFT, CLOSED))
    assert (pixels(frames, LEFT) == COLOURS[CLOSED]).all()


@pytest.mark.parametrize("window_frames", [1, 5, 40])
def test_frames_per_request_do_not_show(clip: Path, window_frames: int) -> None:
    """Lanes with and without fixed chunks give the same pictures whatever the number of frames per request."""
    times = LaneTimes(parse_spans("0.4-0.9"))
    lanes = [lane(LEFT, NETWORK, times), lane(RIGHT, CLOSED, chunk=8)]
    usual, other = draw(clip, *lanes), draw(clip, *lanes, window_frames=window_frames)
    for one, same in zip(usual, other, strict=True):
        np.testing.assert_array_equal(one.picture.rgb(), same.picture.rgb())


def test_segments_fade_in_and_out(clip: Path) -> None:
    """Outside a segment nothing is drawn; inside, the mouth comes within three frames and goes within three."""
    source = pixels(draw(clip, lane(LEFT, NETWORK, LaneTimes(()))), LEFT)
    frames = draw(clip, lane(LEFT, NETWORK, LaneTimes(parse_spans("0.4-1.2"))))
    face = pixels(frames, LEFT)
    outside = [number for number in range(FRAMES) if not 10 <= number < 30]
    np.testing.assert_array_equal(face[outside], source[outside])
    assert (face[13:27] == COLOURS[NETWORK]).all()
    assert (np.diff(face[9:14, 0, 0, 0]) > 0).all()
    reasons = [frame.reason for frame in frames]
    assert [reasons[number] for number in outside] == [Reason.NOT_SPEAKING] * 20
    assert reasons[10:30] == [Reason.CHANGED] * 20


def test_what_is_left_alone_stays_as_it_is(clip: Path) -> None:
    """Spans that are left alone win over segments, and are counted by their own reason."""
    times = LaneTimes(None, None, parse_spans("0.4-0.8"))
    source = pixels(draw(clip, lane(LEFT, NETWORK, LaneTimes(()))), LEFT)
    frames = draw(clip, lane(LEFT, NETWORK, times))
    np.testing.assert_array_equal(pixels(frames, LEFT)[10:20], source[10:20])
    assert [frame.reason for frame in frames[10:20]] == [Reason.LEFT_ALONE] * 10
    assert frames[0].reason is Reason.CHANGED


def test_segments_that_follow_each_other_do_not_fade_between() -> None:
    """A speaker's lanes meet at full strength; the video's beginning and end are no borders."""
    first, second = parse_spans("0-1"), parse_spans("1-")
    both = [*first, *second]
    at = np.array([0.01, 0.99, 1.01, 500.0])
    assert LaneTimes(first, both).shares(at).tolist() == [1, 1, 0, 0]
    assert LaneTimes(second, both).shares(at).tolist() == [0, 0, 1, 1]
    assert LaneTimes(first).shares(np.array([1 - FADE_S / 2])).tolist() == [0.5]


def test_ten_thousand_segments_are_looked_up_quickly() -> None:
    """Shares at any times follow the spans."""
    spans = [TimeSpan(float(i), i + 0.5) for i in range(10_000)]
    times = np.arange(10_000) + np.array([[0.25], [0.75]])
    shares = LaneTimes(spans).shares(times.ravel()).reshape(times.shape)
    assert (shares[0] == 1).all()
    assert (shares[1] == 0).all()


def test_frames_are_held_once_for_all_lanes(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes with chunks of one size are drawn in one pass over the frames, however many there are."""
    passes = []
    monkeypatch.setattr(LaneGroup, "draw", lambda group, prepared: passes.append(group) or prepared[0])
    draw(clip, *(lane(LEFT, NETWORK, LaneTimes(())) for _ in range(30)), lane(RIGHT, CLOSED, chunk=8))
    assert len(set(map(id, passes))) == 2


def test_frames_without_a_stated_box_are_not_the_speakers(clip: Path) -> None:
    """Where boxes are stated, a frame without one has nobody to be drawn; one whose face is not found has no face."""
    boxes = {i: np.array(BOXES[LEFT], np.float32) for i in range(10)}
    boxes |= {i: np.array([200, 70, 220, 90], np.float32) for i in range(10, 20)}
    frames = draw(clip, lane(FaceBoxes(boxes), NETWORK))
    reasons = [frame.reason for frame in frames]
    assert reasons == [Reason.CHANGED] * 10 + [Reason.NO_FACE] * 10 + [Reason.NOT_SPEAKING] * 20


def test_boxes_fade_where_they_end(clip: Path) -> None:
    """Where a speaker stops or begins within the video, the mouth comes and goes within three frames."""
    box = np.array(BOXES[LEFT], np.float32)
    face = FaceBoxes(dict.fromkeys([*range(10), *range(20, FRAMES)], box), FRAMES)
    shares = face.shares(np.arange(FRAMES))
    assert shares[:7].tolist() == [1] * 7
    assert shares[23:].tolist() == [1] * (FRAMES - 23)
    assert (np.diff(shares[6:11]) < 0).all()
    assert shares[10:20].tolist() == [0] * 10
    assert (np.diff(shares[19:24]) > 0).all()
    drawn = pixels(draw(clip, lane(face, NETWORK)), LEFT)
    assert (drawn[:7] == COLOURS[NETWORK]).all()
    assert (np.diff(drawn[19:24, 0, 0, 0]) > 0).all()


def test_a_picture_is_changed_if_one_lane_changed_it() -> None:
    """Otherwise the first lane that was to be drawn says why not."""
    assert outcome([Reason.NO_FACE, Reason.CHANGED]) is Reason.CHANGED
    assert outcome([Reason.NOT_SPEAKING, Reason.COVERED, Reason.NO_FACE]) is Reason.COVERED
    assert outcome([Reason.NOT_SPEAKING, Reason.NOT_SPEAKING]) is Reason.NOT_SPEAKING


def test_segments_with_the_same_face_and_options_share_a_lane() -> None:
    """A narrator has no lane; another face or another option makes one more."""
    stronger = OptionValues({"strength": 1.3})
    segments = (
        Segment(TimeSpan(0, 1)),
        Segment(TimeSpan(1, 2), options=stronger),
        Segment(TimeSpan(2, 3)),
        Segment(TimeSpan(3, 4), face=RIGHT),
    )
    scene = Scene((Speaker("ann", VOICE, LEFT, segments), Speaker("narrator", VOICE, None)))
    values = OptionValues({"crf": 20})
    assert plan_lanes(scene, values) == [
        LanePlan(0, LEFT, values, (TimeSpan(0, 1), TimeSpan(2, 3))),
        LanePlan(0, LEFT, OptionValues({"crf": 20, "strength": 1.3}), (TimeSpan(1, 2),)),
        LanePlan(0, RIGHT, values, (TimeSpan(3, 4),)),
    ]


def test_a_speaker_without_segments_is_always_drawn() -> None:
    """The lane of a job without a script has no spans."""
    assert plan_lanes(Scene((Speaker("ann", VOICE, LEFT),)), OptionValues()) == [LanePlan(0, LEFT, OptionValues())]
    assert LaneTimes().shares(np.array([0.0, 5, math.pi])).tolist() == [1, 1, 1]
