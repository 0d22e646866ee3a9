from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.media import AudioSource, SourceFrame, TimelineFrame, VideoSource, timeline
from perf.scores.frame_pairs import pair_frames
from perf.scores.speech_curves import audio_curves, speech_curves
from tests.media_clips import write_clip, write_sound
from tests.unit.test_audio import frame_times, syllables


def shown(rate: float, count: int) -> list[TimelineFrame]:
    return [TimelineFrame(None, i, 1, i, i / rate, 1 / rate) for i in range(count)]  # type: ignore[arg-type]


def results(times: list[float]) -> list[SourceFrame]:
    return [SourceFrame(None, 0, 1, i, time) for i, time in enumerate(times)]  # type: ignore[arg-type]


def indices(rate: float, count: int, times: list[float]) -> list[int | None]:
    pairs = pair_frames(iter(shown(rate, count)), results(times))
    return [None if pair.source is None else pair.source.index for pair in pairs]


def test_frames_are_paired_by_time() -> None:
    """Rounded timestamps keep their frame; other rates get the nearest; beyond the source there is none."""
    assert indices(25, 5, [0.0, 0.041, 0.079, 0.12, 0.16]) == [0, 1, 2, 3, 4]
    assert indices(30, 6, [0.0, 0.04, 0.08, 0.12, 0.16]) == [0, 1, 2, 4, 5]
    assert indices(25, 2, [0.0, 0.02, 0.04, 0.06, 0.08]) == [0, 1, 1, None, None]


def test_a_longer_result_is_paired_with_the_source_as_it_was_repeated(tmp_path: Path) -> None:
    """Back and forth, as the job does by default."""
    source = VideoSource(write_clip(tmp_path / "a.mp4", frames=4))
    pairs = pair_frames(timeline(source, 1e6, "bounce"), results([i / 25 for i in range(9)]))
    assert [pair.source.index for pair in pairs if pair.source is not None] == [0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("seconds", [7.0, 130.0])
def test_a_long_speech_is_heard_in_pieces(tmp_path: Path, seconds: float) -> None:
    """Levels are those of the whole speech; the intended opening is judged by its surroundings, much the same."""
    samples = syllables(seconds) * np.repeat(np.float32([1, 0.3]), int(seconds * 8000))
    audio = AudioSource(write_sound(tmp_path / "a.wav", samples, codec="pcm_f32le"))
    times = frame_times(seconds + 2)  # the video goes on after the speech
    whole, pieces = speech_curves(samples, times), audio_curves(audio, times)
    spoken = times < seconds - 0.1  # what follows is silence in one, the last level in the other
    for name in ("log_mel", "vocal"):
        assert np.abs(whole[name] - pieces[name])[spoken].max() < 0.01  # dB; float32 samples
    assert np.corrcoef(whole["intended"], pieces["intended"])[0, 1] > 0.98
