from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from client.active.agreement import UNKNOWN
from client.active.syncnet_scores import SyncNetScores, evidence_of
from client.media import AudioSource, SourceFrame, TimelineFrame
from client.syncnet.cropper import TrackCropper
from client.syncnet.distances import SHIFTS, FaceDistances
from client.syncnet.embedded_sound import EmbeddedSound
from client.syncnet.quality import SyncMeter
from client.syncnet.sound import TrackSound, VideoSound
from client.tracking.faces import Face
from client.tracking.identity import SeenPerson
from lipsync_core.syncnet.crops import CROP_SIZE, crop_face, crop_path
from lipsync_core.syncnet.distances import EMBEDDING, MAX_SHIFT, score
from tests.media_clips import write_sound

FPS = 25.0
RNG = np.random.default_rng(7)
SPOKEN = RNG.standard_normal((200, EMBEDDING)).astype(np.float32) / 3  # what is said in each window, made up


class Painted:
    """A picture in one grey, which counts how many of its kind are held."""

    held = 0

    def __init__(self, level: int, size: int = 300) -> None:
        self._level, self._size = level, size
        Painted.held += 1

    def __del__(self) -> None:
        Painted.held -= 1

    def rgb(self) -> np.ndarray:
        return np.full((self._size, self._size, 3), self._level, np.uint8)


class MadeUpTowers:
    """The grey of a window's first crop, and the first number of a window of sound, say what they embed."""

    def embed_lips(self, crops: np.ndarray) -> np.ndarray:
        return SPOKEN[crops[: len(crops) - 4, CROP_SIZE // 2, CROP_SIZE // 2, 0]]

    def embed_sounds(self, windows: np.ndarray) -> np.ndarray:
        return SPOKEN[windows[:, 0, 0].astype(int)]


class NumberedSound(VideoSound):
    """Window i of the sound holds the number i, or that of `late` windows before."""

    def __init__(self, late: int = 0) -> None:
        self._late = late
        self.sample_count = 640 * 200

    def open(self, first: int) -> TrackSound:
        return NumberedWindows(first - self._late)


class NumberedWindows(TrackSound):
    def __init__(self, start: int) -> None:
        self._first = start

    def windows(self, first: int, end: int) -> np.ndarray:
        numbers = np.clip(np.arange(first, end) + self._first, 0, 199)
        return np.broadcast_to(numbers[:, None, None], (end - first, 13, 20)).astype(np.float32)


FACE = Face(np.array([100.0, 100, 200, 200], np.float32), 1.0)


def frame_of(index: int, level: int, fps: float = FPS) -> SourceFrame:
    pts, duration = round(1000 * index / fps), round(1000 / fps)
    return SourceFrame(Painted(level), pts, duration, index, index / fps)  # type: ignore[arg-type]


def person(number: int, track: int = 1) -> SeenPerson:
    return SeenPerson(number, FACE, track)


def seen_scores(levels: dict[int, Sequence[int]], late: int = 0) -> SyncNetScores:
    """Show people whose lips have the given levels, frame by frame; each picture shows one person."""
    scores = SyncNetScores(MadeUpTowers(), NumberedSound(late), 0.001)
    for index in range(len(next(iter(levels.values())))):
        for number, shown in levels.items():
            scores._take(index, Painted(shown[index]), person(number))  # type: ignore[arg-type]
    return scores


@pytest.mark.parametrize("late", [0, 2, -3])
def test_evidence_is_for_those_whose_lips_follow_the_sound(late: int) -> None:
    """Also where all of the sound is a little late or early; against those who say something else."""
    other = RNG.permutation(200)[:120].tolist()
    scores = seen_scores({1: range(10, 130), 2: other}, late=late - 10)
    frames, times_s = np.arange(120), (np.arange(120) + 0.5) / FPS
    ours, theirs = (scores.evidence([number], frames, times_s, FPS) for number in (1, 2))
    assert scores.is_usable
    assert ours[20:100].min() > 3
    assert theirs[20:100].max() < 0


def test_a_sound_that_is_far_too_late_is_no_evidence() -> None:
    """Eight frames are more than a clip's sound is late."""
    scores = seen_scores({1: range(10, 130)}, late=-2)
    assert scores.evidence([1], np.arange(120), np.arange(120) / FPS, FPS)[20:100].max() < 0


def test_short_glimpses_tell_nothing() -> None:
    """Too few windows around a frame, and people who were never measured."""
    scores = seen_scores({1: range(10, 22)}, late=-10)
    np.testing.assert_array_equal(scores.evidence([1, 5], np.arange(12), np.arange(12) / FPS, FPS), [UNKNOWN] * 12)
    np.testing.assert_array_equal(scores.evidence([5], np.arange(3), np.arange(3) / FPS, FPS), [UNKNOWN] * 3)
    assert not SyncNetScores(MadeUpTowers(), NumberedSound(), 0.001).is_usable


def test_evidence_is_a_windows_confidence() -> None:
    """The median over all shifts less the smallest of those near, less 2."""
    distances = RNG.uniform(5, 12, (40, SHIFTS)).astype(np.float32)
    found = evidence_of(np.arange(40) / FPS, distances, np.array([20 / FPS]))
    means = distances[8:33].mean(axis=0)  # windows within half a second
    wanted = np.median(means) - means[MAX_SHIFT - 3 : MAX_SHIFT + 4].min() - 2
    assert found[0] == pytest.approx(wanted, abs=1e-6)


def test_evidence_of_many_runs_sorts_a_person_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks at the windows around the asked times alone; what is seen later counts."""
    scores, asked = seen_scores({1: range(10, 130)}, late=-10), []
    table = FaceDistances.table
    monkeypatch.setattr(FaceDistances, "table", lambda face: asked.append(face) or table(face))
    whole = scores.evidence([1], np.arange(120), np.arange(120) / FPS, FPS)
    parts = [scores.evidence([1], np.arange(i, i + 10), np.arange(i, i + 10) / FPS, FPS) for i in range(0, 120, 10)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-9)
    assert len(asked) == 1
    scores._take(500, Painted(1), person(1))  # type: ignore[arg-type]
    scores.evidence([1], np.arange(120), np.arange(120) / FPS, FPS)
    assert len(asked) == 2
    poisoned = np.full((120, SHIFTS), np.nan, np.float32)
    poisoned[90:] = RNG.uniform(5, 12, (30, SHIFTS))
    assert np.isfinite(evidence_of(np.arange(120) / FPS, poisoned, np.array([104 / FPS]))).all()


@pytest.mark.parametrize(("fps", "frames"), [(25, 60), (50, 120), (10, 24)])
def test_frames_are_measured_at_25_per_second(fps: float, frames: int) -> None:
    """A window for each 40 ms but the last four, whatever the video's rate; a person who was away begins again."""
    scores = SyncNetScores(MadeUpTowers(), NumberedSound(), 0.001)
    for index in range(frames):
        away = fps == 25 and index == 30
        scores.see(frame_of(index, 50, fps), [] if away else [person(1)])
    assert scores.is_usable
    ticks = scores._faces[1].table()[0].tolist()
    assert ticks == ([*range(26), *range(31, 56)] if fps == 25 else list(range(56)))


def test_pictures_are_held_for_seven_frames() -> None:
    """However many people there are."""
    scores = SyncNetScores(MadeUpTowers(), NumberedSound(), 0.001)
    for index in range(40):
        scores.see(frame_of(index, 50), [person(1), person(2), person(3)])
        assert Painted.held <= 8
    assert scores.is_usable
    assert Painted.held == 0


@pytest.mark.parametrize("late", [0, 3, -4])
def test_a_late_sound_lowers_the_offset(late: int) -> None:
    """By as many frames; made-up embeddings, as synthetic weights do not tell one moment from another."""
    face = FaceDistances(MadeUpTowers(), EmbeddedSound(MadeUpTowers(), NumberedSound(late)))
    for tick in range(20, 145):
        face.add(tick, Painted(tick), np.array([100.0, 100, 200, 200]))
    face.end()
    ticks, distances = face.table()
    assert ticks.tolist() == list(range(20, 141))
    found = score(distances)
    assert found.offset == -late
    assert found.lse_c > 5


def test_figures_of_a_result_need_a_second(tmp_path: Path) -> None:
    """Frames count for as many 40 ms as they are shown; a speaker who is hardly in view has no figures."""
    voice = AudioSource(write_sound(tmp_path / "voice.wav", np.zeros(6 * 16_000)))
    towers = MadeUpTowers()
    meter = SyncMeter(towers, [voice, voice])
    for number in range(60):
        frame = TimelineFrame(Painted(number), number, 1, number, number / 12.5, 1 / 12.5)  # type: ignore[arg-type]
        meter.see(0, frame, Painted(number), FACE, 1)
        if number < 10:
            meter.see(1, frame, Painted(number), FACE, 1)
    figures = meter.figures(0)
    assert figures is not None
    assert figures.windows == 2 * 60 - 4
    assert meter.figures(1) is None


def test_figures_of_a_result_do_not_cross_cuts(tmp_path: Path) -> None:
    """No window lies across a change of the track, although a face is in view before and after it."""
    voice = AudioSource(write_sound(tmp_path / "voice.wav", np.zeros(6 * 16_000)))
    meter = SyncMeter(MadeUpTowers(), [voice])
    for number in range(90):
        frame = TimelineFrame(Painted(number), number, 1, number, number / 25, 1 / 25)  # type: ignore[arg-type]
        meter.see(0, frame, Painted(number), FACE, number // 30)
    figures = meter.figures(0)
    assert figures is not None
    assert figures.windows == 3 * (30 - 4)


def test_crops_of_a_glimpse_are_none() -> None:
    """Of six pictures the original's smoothing leaves a face of no size."""
    cropper = TrackCropper()
    box = np.array([100.0, 100, 200, 200])
    assert not [crop for _ in range(6) for crop in cropper.add(Painted(1), box)] + list(cropper.finish())


@pytest.mark.parametrize("count", [7, 8, 13, 30])
def test_crops_of_a_stream_are_those_of_the_track(count: int) -> None:
    """Smoothing frame by frame gives what smoothing of all boxes gives, at both ends too."""
    boxes = 100 + RNG.uniform(0, 30, (count, 4)) + np.array([0, 0, 80, 90])
    picture = np.random.default_rng(1).integers(256, size=(300, 300, 3), dtype=np.uint8)

    class Still:
        def rgb(self) -> np.ndarray:
            return picture

    cropper = TrackCropper()
    crops = [crop for box in boxes for crop in cropper.add(Still(), box)] + list(cropper.finish())
    path = crop_path(boxes)
    assert len(crops) == count
    for index, crop in enumerate(crops):
        np.testing.assert_array_equal(crop, crop_face(picture, path, index))
