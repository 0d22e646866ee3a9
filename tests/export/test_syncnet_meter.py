from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from numpy.lib.stride_tricks import sliding_window_view  # noqa: E402

from client.errors import MediaError, NoFaceError  # noqa: E402
from client.media import AudioSource, TimelineFrame, VideoSource  # noqa: E402
from client.progress import SilentProgress  # noqa: E402
from client.syncnet.sound import VideoSound  # noqa: E402
from lipsync_core.syncnet.distances import EMBEDDING, MAX_SHIFT, pair_distances  # noqa: E402
from lipsync_core.syncnet.mfcc import audio_windows  # noqa: E402
from perf.scores.syncnet.meter import measure_tracks  # noqa: E402
from perf.scores.syncnet.track_meter import TrackMeter  # noqa: E402
from perf.scores.syncnet.tracks import Track  # noqa: E402
from perf.scores.syncnet.video_tracks import find_video_tracks, frames_at_25  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.data.syncnet_goldens import speech  # noqa: E402
from tests.media_clips import burst, write_clip, write_sound  # noqa: E402
from tests.server.clips import head_frame, write_film, write_video  # noqa: E402

SILENCE = np.log(np.finfo(float).eps)  # of the first coefficient


class FakeTowers:
    """Embeds a window of frames as its brightness, and a window of sound as its first column."""

    def embed_lips(self, crops: np.ndarray) -> np.ndarray:
        levels = sliding_window_view(crops.mean(axis=(1, 2, 3), dtype=np.float32), 5).mean(axis=1)
        return np.repeat(levels[:, None], EMBEDDING, axis=1)

    def embed_sounds(self, windows: np.ndarray) -> np.ndarray:
        return np.repeat(windows[:, :1, 0], EMBEDDING, axis=1)


def loud_columns(sound: VideoSound, first: int = 0, count: int = 20) -> list[int]:
    """Return which columns of 10 ms after a frame hold more than silence."""
    windows = sound.open(first).windows(0, count)
    columns = np.concatenate([windows[:, 0, :4].reshape(-1), windows[-1, 0, 4:]])
    return np.flatnonzero(columns > SILENCE + 1).tolist()


@pytest.mark.parametrize("late_s", [0.0, 0.2])
def test_a_videos_sound_begins_where_the_file_says(tmp_path: Path, late_s: float) -> None:
    """A burst is heard at its own time, also where the sound begins after the pictures, and from any frame on."""
    film = write_film(tmp_path / "film.mkv", [head_frame()] * 30, burst(0.8, at=0.3), late_s=late_s)
    sound = VideoSound.of_video(VideoSource(film))
    begin = round(100 * (0.3 + late_s))  # the burst lasts 20 ms; a column looks 25 ms ahead and one sample back
    assert loud_columns(sound) == list(range(begin - 2, begin + 3))
    assert loud_columns(sound, first=5) == list(range(begin - 22, begin - 17))
    assert sound.sample_count == pytest.approx(16_000 * (0.8 + late_s), abs=16)


def test_another_sound_begins_with_the_first_frame(tmp_path: Path) -> None:
    """A file of its own has no other beginning; beyond it there is silence."""
    audio = AudioSource(write_sound(tmp_path / "a.wav", burst(0.5, at=0.1), codec="pcm_f32le"))
    assert loud_columns(VideoSound(audio)) == [8, 9, 10, 11, 12]
    assert not VideoSound(audio).is_silent
    assert VideoSound(AudioSource(write_sound(tmp_path / "b.wav", np.zeros(8000)))).is_silent


class Samples:
    """Stands for a TrackSound over samples in memory."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    def windows(self, first: int, end: int) -> np.ndarray:
        return audio_windows(self.samples)[first:end]


@pytest.mark.parametrize("count", [1, 10, 20])
@pytest.mark.parametrize("block", [1, 7, 24, 60])
def test_blocks_change_nothing(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of windows at once gives the distances of the whole."""
    monkeypatch.setattr("perf.scores.syncnet.track_meter.BLOCK_WINDOWS", block)
    crops = np.random.default_rng(2).integers(256, size=(count + 5, 6, 6, 3), dtype=np.uint8)
    towers = FakeTowers()
    meter = TrackMeter(towers, Samples(speech()), count)
    for crop in crops:
        meter.add(crop)
    lips = towers.embed_lips(crops)[:count]
    sounds = towers.embed_sounds(audio_windows(speech())[:count])
    whole = pair_distances(lips, np.pad(sounds, ((MAX_SHIFT, MAX_SHIFT), (0, 0))))
    assert_close(meter.distances(), whole, rel=1e-5)  # float32


def clip_of(path: Path, rate: int, count: int) -> Path:
    return write_video(path, [np.full((64, 64, 3), 8 * i, np.uint8) for i in range(count)], rate=rate)


@pytest.mark.parametrize(("rate", "count", "shown"), [(25, 6, 6), (30, 12, 10), (50, 12, 6), (10, 4, 10)])
def test_videos_are_shown_at_25_frames_per_second(tmp_path: Path, rate: int, count: int, shown: int) -> None:
    """Frames are left out or repeated by their time, not played faster or slower."""
    frames = list(frames_at_25(VideoSource(clip_of(tmp_path / "a.mp4", rate, count))))
    assert len(frames) == shown
    assert [frame.index for frame in frames] == [int(i / 25 * rate + 1e-6) for i in range(shown)]


def test_tracks_are_found_scene_by_scene(tmp_path: Path) -> None:
    """A cut ends a track; frame numbers go on."""
    bright, dark = np.full((60, 80, 3), 220, np.uint8), np.full((60, 80, 3), 20, np.uint8)
    source = VideoSource(write_video(tmp_path / "a.mp4", [*[bright] * 30, *[dark] * 25]))
    face = np.array([[0.0, 0, 150, 180]])

    def find(window: Sequence[TimelineFrame]) -> list[np.ndarray]:
        return [face] * len(window)

    tracks = find_video_tracks(source, find, 20, SilentProgress())
    assert [(track.first, track.end) for track in tracks] == [(0, 30), (30, 55)]
    assert [(track.first, track.end) for track in find_video_tracks(source, find, 27, SilentProgress())] == [(0, 30)]
    with pytest.raises(NoFaceError, match="got 55 of 55 frames with a face and no such track"):
        find_video_tracks(source, find, 30, SilentProgress())


def test_a_later_track_hears_its_own_sound(tmp_path: Path) -> None:
    """Two tracks at once and one later are measured in one pass, each with the sound of its own frames."""
    frames = [np.full((80, 80, 3), 40 + 3 * i, np.uint8) for i in range(40)]
    film = write_film(tmp_path / "film.mkv", frames, np.random.default_rng(3).uniform(-0.5, 0.5, 40 * 640))
    source = VideoSource(film)
    sound = VideoSound.of_video(source)
    boxes = np.tile([[20.0, 20, 60, 60]], (20, 1))
    tracks = [Track(0, boxes), Track(20, boxes), Track(20, boxes)]
    first, second, same = measure_tracks(FakeTowers(), source, sound, tracks, SilentProgress())
    assert (second.start_s, second.end_s) == (0.8, 1.6)
    assert second == same
    assert first.published.windows == second.published.windows == 15
    assert second.published.lse_d > first.published.lse_d  # the later frames are brighter
    late = [Track(30, boxes[:5])]
    with pytest.raises(MediaError, match="expected more than 5 frames with sound from 1.2 s on, got 5 frames"):
        measure_tracks(FakeTowers(), source, sound, late, SilentProgress())


def test_crops_are_rgb(tmp_path: Path) -> None:
    """A blue video has its light in the last channel, inside the frame; beyond it there is grey."""

    class Witness(FakeTowers):
        def embed_lips(self, crops: np.ndarray) -> np.ndarray:
            self.seen = crops
            return super().embed_lips(crops)

    film = write_film(tmp_path / "film.mkv", [np.full((80, 80, 3), (10, 60, 220), np.uint8)] * 8, np.ones(8 * 640) / 2)
    source, witness = VideoSource(film), Witness()
    track = Track(0, np.tile([[0.0, 0, 40, 40]], (13, 1))[:8])
    measure_tracks(witness, source, VideoSound.of_video(source), [track], SilentProgress())
    assert witness.seen.shape == (7, 224, 224, 3)
    assert np.abs(witness.seen[3, -1, -1] - np.array([10, 60, 220])).max() < 8  # the codec's colours
    assert (witness.seen[3, 0, 0] == 110).all()


def test_a_shorter_sound_ends_the_windows(tmp_path: Path) -> None:
    """As in the original; what lies beyond it is ignored."""
    clip = write_clip(tmp_path / "a.mp4", frames=30)
    sound = VideoSound(AudioSource(write_sound(tmp_path / "a.wav", np.ones(640 * 20 + 100) / 2)))
    (score,) = measure_tracks(
        FakeTowers(), VideoSource(clip), sound, [Track(0, np.tile([[8.0, 8, 40, 40]], (30, 1)))], SilentProgress()
    )
    assert score.published.windows == 15
