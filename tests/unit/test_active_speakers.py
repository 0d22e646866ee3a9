from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from client.active.agreement import BIAS, UNKNOWN, evidence, lip_opening, moving_correlation
from client.active.deciding import PersonEvidence, confidences, decide, hold
from client.active.presence import Presence, PresenceRecorder
from client.active.remembered import RememberedFaces
from client.active.scores import LipScores
from client.active.speakers import _scores_of
from client.active.syncnet_scores import SyncNetScores
from client.active.voices import faces_of_voices
from client.errors import MediaError, OutputError, RequestRejected
from client.media import Picture, TimelineFrame
from client.media.pixels import ColorTags
from client.options import read_options
from client.scene.options import SPEAKING
from client.scene.scene import TimeSpan
from client.tracking.faces import Face
from client.tracking.follow import THUMBNAIL_SIDE
from client.tracking.identity import SeenPerson
from lipsync_core.contract import ModelContract
from tests.unit.mouth_samples import LANDMARKS

FPS = 25.0


def babble(seed: int, count: int = 150) -> np.ndarray:
    """Return how far a mouth opens that says something, float64 [F], in eye distances."""
    steps = np.convolve(np.random.default_rng(seed).standard_normal(count + 8), np.hanning(9), "valid")
    return 0.1 + 0.05 * steps / steps.std()


def letters(people: np.ndarray) -> str:
    """Write who speaks in each frame: . for nobody, a for person 1, b for person 2."""
    return "".join(".ab"[number] for number in people.tolist())


def numbers(text: str) -> np.ndarray:
    return np.array([".ab".index(letter) for letter in text], np.int32)


def sure(text: str, person: str, strength: float = 3.0) -> PersonEvidence:
    """Return evidence for a person where a text has its letter, against it elsewhere; a space is out of view."""
    seen = [frame for frame, letter in enumerate(text) if letter != " "]
    return seen_in(seen, [strength if text[frame] == person else -strength for frame in seen])


def seen_in(frames: Sequence[int], odds: Sequence[float]) -> PersonEvidence:
    return PersonEvidence(np.array(frames, np.int32), np.array(odds, np.float64))


def test_lips_that_follow_the_sound_speak_and_others_do_not() -> None:
    """Evidence is for the mouth that moves with the sound, late by two frames too, and against still or other ones."""
    suggested = babble(0)
    for late in (0, 2):
        assert np.median(evidence(np.roll(suggested, late), suggested, FPS)) > 2
    jitter = 0.05 + 0.001 * np.random.default_rng(5).standard_normal(150)
    assert evidence(jitter, suggested, FPS).max() < 0
    others = [np.median(evidence(babble(seed), suggested, FPS)) for seed in range(1, 8)]
    assert np.mean(others) < np.median(evidence(suggested, suggested, FPS)) - 3


def test_evidence_of_a_few_frames_is_for_nobody() -> None:
    """A glimpse of somebody tells nothing; a mouth that never moves is not a division by zero."""
    np.testing.assert_array_equal(evidence(babble(0, 5), babble(0, 5), FPS), [UNKNOWN] * 5)
    np.testing.assert_allclose(evidence(np.zeros(40), babble(0, 40), FPS), 3.7 * -3 + BIAS)


def test_moving_correlation_is_that_of_each_window() -> None:
    """The sums that move along give what numpy computes in each window, with gaps too."""
    a, b = babble(1), babble(2)
    a[20:30] = np.nan
    ours = moving_correlation(a, b, 12)
    for i in (0, 5, 60, 149):
        window = slice(max(0, i - 12), i + 13)
        known = np.isfinite(a[window])
        assert ours[i] == pytest.approx(np.corrcoef(a[window][known], b[window][known])[0, 1], abs=1e-9)


def test_the_opening_does_not_depend_on_size_and_turn() -> None:
    """The same mouth, twice as large and turned by 30 degrees, is as far open."""
    turn = np.array([[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]])
    assert lip_opening(2 * LANDMARKS @ turn) == pytest.approx(lip_opening(LANDMARKS), rel=1e-4)


@pytest.mark.parametrize(
    ("truth", "shots"),
    [
        ("a" * 40 + "b" * 40, "0" * 80),
        ("a" * 40 + "." * 40, "0" * 80),
        ("aaaaa" + "bbbbb" + "aaaaa", "000001111122222"),
    ],
)
def test_frames_go_to_whom_the_evidence_is_for(truth: str, shots: str) -> None:
    """Long turns are found within a shot, and short ones where the shot changes; nobody speaks without evidence."""
    found = decide({1: sure(truth, "a"), 2: sure(truth, "b")}, np.ones(len(truth), bool), numbers_of(shots), FPS)
    assert letters(found) == truth


def test_a_speaker_does_not_flicker() -> None:
    """Two frames of evidence for somebody else do not change the speaker, ten do."""
    for length, expected in ((2, "a"), (10, "b")):
        noisy = "a" * 30 + "b" * length + "a" * 30
        found = decide({1: sure(noisy, "a"), 2: sure(noisy, "b")}, np.ones(len(noisy), bool), zeros(noisy), FPS)
        assert letters(found)[31] == expected


def test_nobody_speaks_out_of_view_or_in_silence() -> None:
    """A person who left is not the speaker, and frames without a voice have none."""
    truth = "a" * 30 + "." * 30
    voiced = np.arange(60) >= 10
    found = decide({1: sure("a" * 30 + " " * 30, "a")}, voiced, zeros(truth), FPS)
    assert letters(found) == "." * 10 + "a" * 20 + "." * 30


def test_silence_belongs_to_the_nearer_speaker_in_view() -> None:
    """A pause is divided in its middle; somebody who is out of view gives way; speech of nobody stays nobody's."""
    speaking = numbers("..aa......bb....aa..")
    voiced = numbers("..aa......bb.aa.aa..") != 0
    everywhere = np.ones(20, bool)
    assert letters(hold(speaking, voiced, {1: everywhere, 2: everywhere})) == "aaaaaaabbbbbb..aaaaa"
    left = np.arange(20) != 5
    assert letters(hold(speaking, voiced, {1: left, 2: everywhere}))[5] == "b"
    assert letters(hold(speaking, voiced, {1: left, 2: left}))[5] == "."
    assert letters(hold(np.zeros(4, np.int32), np.zeros(4, bool), {})) == "...."


def test_confidence_is_high_where_evidence_is_clear() -> None:
    """Clear evidence is near 1, and a draw is half."""
    clear = {1: seen_in([0, 1], [6, 0]), 2: seen_in([0, 1, 2], [-6, -20, -6])}
    assert confidences(clear, numbers("aa."), np.zeros(3, np.int32)) == pytest.approx([1, 0.5, 1], abs=0.01)


def test_a_long_film_with_many_people_needs_little_memory() -> None:
    """Sixty people, each in view for a shot: what is decided at once is one shot."""
    shot, people = 300, 60
    film = {number: seen_in(range(number * shot, (number + 1) * shot), [5.0] * shot) for number in range(people)}
    evidence = {number + 1: odds for number, odds in film.items()}
    shots = np.repeat(np.arange(people, dtype=np.int32), shot)
    tracemalloc.start()
    found = decide(evidence, np.ones(people * shot, bool), shots, FPS)
    assert confidences(evidence, found, shots).min() > 0.99
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()
    np.testing.assert_array_equal(found, shots + 1)


def presence(number: int, frames: Sequence[int], claimed: float = 0.0) -> Presence:
    boxes = np.tile(np.array([100.0 * number, 0, 100 * number + 50, 50], np.float32), (len(frames), 1))
    return Presence((number,), np.array(frames, np.int32), boxes, claimed)


def test_one_voice_has_whoever_speaks() -> None:
    """The face changes with the speaker of the video."""
    people = [presence(1, range(10)), presence(2, range(10))]
    held = numbers("aaaa..bbbb")
    (face,), warnings = faces_of_voices(people, held, held, np.arange(10) / 25, [[TimeSpan(0)]])
    assert {i: int(box[0]) for i, box in face.boxes.items()} == {**dict.fromkeys(range(4), 100), 6: 200} | {
        7: 200,
        8: 200,
        9: 200,
    }
    assert not warnings


def test_several_voices_have_those_who_speak_when_they_do() -> None:
    """Each voice has one person, for as long as that person is in view."""
    people = [presence(1, range(100)), presence(2, range(100))]
    speaking = numbers("a" * 50 + "b" * 50)
    voices = [[TimeSpan(2.0, 3.9)], [TimeSpan(0.0, 1.9)]]
    faces, warnings = faces_of_voices(people, speaking, speaking, np.arange(100) / 25, voices)
    assert [int(face.boxes[0][0]) for face in faces] == [200, 100]
    assert all(len(face.boxes) == 100 for face in faces)
    assert not warnings


def test_voices_without_a_person_of_their_own_are_reported() -> None:
    """A voice at whose times nobody speaks gets who is left, and one too many gets nobody; both are said."""
    people = [presence(1, range(50)), presence(2, range(50))]
    speaking = numbers("a" * 50)
    voices = [[TimeSpan(0, 1)], [TimeSpan(1.8, 1.9)], [TimeSpan(0, 0.1)]]
    faces, warnings = faces_of_voices(people, speaking, speaking, np.arange(50) / 25, voices)
    assert [len(face.boxes) for face in faces] == [50, 50, 0]
    assert len(warnings) == 2
    assert "number 2" in warnings[0]
    assert "fewer people" in warnings[1]


def test_presence_bridges_what_tracking_bridges() -> None:
    """A face that is missed for a few frames of its track has boxes between; one that comes back later has not."""
    recorder = PresenceRecorder()
    for index, track in ((0, 1), (3, 1), (20, 2), (21, 2)):
        recorder.see(index, [SeenPerson(4, Face(np.full(4, index, np.float32), 1.0), track)], ())
    (person,) = recorder.presences(lambda number: number)
    assert person.frames.tolist() == [0, 1, 2, 3, 20, 21]
    assert person.boxes[:4, 0].tolist() == [0, 1, 2, 3]
    shots = np.zeros(30, np.int32)
    shots[21:] = 1
    assert list(person.runs(shots)) == [(0, 4), (20, 21), (21, 22)]


def test_presence_joins_numbers_of_one_person() -> None:
    """Somebody who was recognised late is one person, and knows how much of the way another speaker has the face."""
    recorder = PresenceRecorder()
    faces = [Face(np.full(4, i, np.float32), 1.0) for i in range(4)]
    for index, number in enumerate((1, 2, 2, 1)):
        claimed = [faces[index]] if index == 3 else []
        recorder.see(index, [SeenPerson(number, faces[index], 1)], claimed)
    (person,) = recorder.presences(lambda number: 1)
    assert (person.numbers, person.frames.tolist(), person.claimed) == ((1, 2), [0, 1, 2, 3], 0.25)


def test_remembered_faces_are_those_that_were_found(tmp_path: Path) -> None:
    """Faces, landmarks, scores and thumbnails come back bit for bit, in any order, beyond one part."""
    rng = np.random.default_rng(0)
    stored = []
    remembered = RememberedFaces(tmp_path / "v.mp4")
    for index in range(150):
        faces = [
            Face(
                rng.random(4).astype(np.float32),
                float(rng.random() + 0.1),
                rng.random((468, 3)).astype(np.float32) if index % 7 else None,
            )
            for _ in range(index % 3)
        ]
        thumbnail = rng.random((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).astype(np.float32)
        stored.append((faces, thumbnail))
        remembered.add(faces if index % 7 else [], thumbnail)
    remembered.finish()
    for index in (149, 0, 64, 63, 128, 3):
        (found,) = remembered.find([timeline_frame(index)])
        faces, thumbnail = stored[index]
        np.testing.assert_array_equal(found.thumbnail, thumbnail)
        assert len(found.faces) == (len(faces) if index % 7 else 0)
        for ours, theirs in zip(found.faces, faces, strict=False):
            assert ours.score == theirs.score
            np.testing.assert_array_equal(ours.box, theirs.box)
            assert ours.landmarks is not None
            assert theirs.landmarks is not None
            np.testing.assert_array_equal(ours.landmarks, theirs.landmarks)


def test_remembered_faces_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept goes with the object."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    remembered = RememberedFaces(tmp_path / "v.mp4")
    remembered.add([], np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32))
    remembered.finish()
    del remembered
    gc.collect()
    assert not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) <= before


def test_remembered_faces_fails_on_frames_that_were_not_searched(tmp_path: Path) -> None:
    """A video that has more frames than before was exchanged."""
    with pytest.raises(MediaError, match=r"v\.mp4: expected the 0 frames that were searched for faces"):
        RememberedFaces(tmp_path / "v.mp4").find([timeline_frame(0)])


def test_remembered_faces_fails_without_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written is named."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(OutputError, match="no room for the found faces"):
        RememberedFaces(tmp_path / "v.mp4")


def timeline_frame(index: int) -> TimelineFrame:
    picture = Picture(av.VideoFrame(16, 16, "yuv420p"), ColorTags())
    return TimelineFrame(picture, index, 1, index, index / 25, 0.04)


def numbers_of(shots: str) -> np.ndarray:
    return np.array(list(shots), int).astype(np.int32)


def zeros(text: str) -> np.ndarray:
    return np.zeros(len(text), np.int32)


class WithSyncNet:
    """A server that may have SyncNet."""

    def __init__(self, *, has_it: bool) -> None:
        self._has_it = has_it

    def serves(self, model: str) -> bool:
        return self._has_it and model.startswith("syncnet")

    def contract(self, model: str) -> ModelContract:
        return ModelContract(model, "onnxruntime", 64, (), (), {})


def test_a_served_syncnet_decides_only_if_it_is_asked_for() -> None:
    """Its thresholds were not fitted, so that exporting it for figures alone leaves jobs as they were."""
    sound: Any = SimpleNamespace(of_video=lambda: SimpleNamespace(open=lambda first: None))
    served: Any = WithSyncNet(has_it=True)
    assert isinstance(_scores_of("lips", served, sound, 0.04), LipScores)
    assert isinstance(_scores_of("syncnet", served, sound, 0.04), SyncNetScores)
    assert read_options({})[SPEAKING] == "lips"


def test_asking_for_syncnet_fails_without_it() -> None:
    """Before the video is looked through."""
    without: Any = WithSyncNet(has_it=False)
    with pytest.raises(RequestRejected, match=r"speaking: expected a server with SyncNet, got one without\. Export it"):
        _scores_of("syncnet", without, SimpleNamespace(), 0.04)  # type: ignore[arg-type]
