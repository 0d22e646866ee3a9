from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason="no scikit-image; run: make test")

from client.errors import MediaError
from client.live.stream import LivePicture
from client.media import VideoSource
from perf.__main__ import main
from perf.live.clip import FPS, SIDE, UTTERANCE_S, endless, utterances_of, write_clip
from perf.live.figures import figures_of, first_frames, interruptions, keeps_up, lateness, times_of
from perf.live.rows import Key, LiveResults, Row, load_live
from perf.live.speaker import Observed, Seen, SoundClock
from perf.reporting.live_part import beyond, live_blocks
from perf.reporting.page import as_markdown
from tests.media_clips import write_sound
from tests.perf_fakes import CONDITIONS
from tests.server.clips import SPEECH

RATE = 16_000


def stream(seconds: float, voices: list[tuple[float, float]], delay_s: float = 0.1) -> list[Seen]:
    """Pictures of a stream that began at 0, each so much after its time; the mouth moves while there is voice."""
    seen = []
    for number in range(round(seconds * FPS)):
        time_s = number / FPS
        speaks = any(start <= time_s < end for start, end in voices)
        seen.append(Seen(time_s + delay_s, time_s, 0.0, speaks, speaks, is_held=False, left_out=0))
    return seen


def picture(time_s: float, samples: int = 640, *, is_held: bool = False, left_out: int = 0) -> LivePicture:
    sound = np.ones(samples, np.float32)
    rgb = np.zeros((2, 2, 3), np.uint8)
    return LivePicture(round(time_s * FPS), time_s, 0.04, rgb, sound, True, is_held, 0.0, left_out)


def test_the_first_frame_of_each_utterance_counts_from_its_first_200_ms() -> None:
    """What is still shown of the utterance before it does not count, nor a picture that was held."""
    observed = Observed(stream(8, [(1.0, 2.0), (4.4, 6.0)]), began=[0.5, 2.0], heard=[0.7, 2.2])
    assert first_frames(observed) == pytest.approx([1.1 - 0.7, 4.5 - 2.2])
    first = next(index for index, one in enumerate(observed.seen) if one.time_s == 1.0)
    observed.seen[first] = Seen(1.1, 1.0, 0.0, True, True, is_held=True, left_out=0)
    assert first_frames(observed)[0] == pytest.approx(1.14 - 0.7)
    assert first_frames(Observed(stream(3, []), began=[0.5], heard=[0.7])) == []


def test_lateness_is_beyond_the_most_punctual_picture() -> None:
    """Pictures of the warm-up do not count."""
    seen = stream(6, [])
    seen[10] = Seen(99.0, seen[10].time_s, 0.0, False, False, is_held=False, left_out=0)
    assert lateness(seen) == pytest.approx([0.0] * 74)
    seen[100] = Seen(seen[100].at + 0.2, seen[100].time_s, 0.0, False, False, is_held=False, left_out=0)
    assert max(lateness(seen)) == pytest.approx(0.2)


def test_an_interruption_lasts_until_the_mouth_is_closed() -> None:
    """One that meets a closed mouth tells nothing."""
    seen = stream(4, [(1.0, 2.04)])
    assert interruptions(Observed(seen, interrupted=[2.05])) == pytest.approx([2.14 - 2.05])
    assert interruptions(Observed(seen, interrupted=[0.5])) == []


def test_sound_without_its_picture_is_skew() -> None:
    """A held picture is as far from the sound as it is old; sound that was lost with its picture is not."""
    clock = SoundClock(RATE)
    pictures = [picture(0.0), picture(0.04, is_held=True), picture(0.08, is_held=True), picture(0.28, left_out=4)]
    assert [clock.note(one, 0.0).skew_s for one in pictures] == pytest.approx([0, 0.04, 0.08, 0])
    short = SoundClock(RATE)
    assert [short.note(picture(number * 0.04, 600), 0.0).skew_s for number in (0, 1, 2)] == pytest.approx(
        [0, -0.0025, -0.005]
    )


def test_streams_fall_behind_by_lost_and_by_late_pictures() -> None:
    """One in a hundred may be lost; a stream without a picture does not keep up."""
    figures = {"pictures": 200.0, "held": 1.0, "left_out": 1.0, "late_p95_ms": 40.0}
    assert keeps_up(figures)
    for worse in ({"held": 2.0}, {"late_p95_ms": 41.0}, {"pictures": 0.0}):
        assert not keeps_up({**figures, **worse})
    assert not keeps_up(figures_of([Observed()]))


def test_figures_are_of_all_clients_together() -> None:
    """Numbers add up, and the largest skew counts."""
    one = Observed(stream(8, [(1.0, 2.0)]), began=[0.5], heard=[0.7])
    two = Observed([Seen(1, 0.0, -0.03, False, False, is_held=True, left_out=3)])
    figures = figures_of([one, two])
    assert (figures["pictures"], figures["held"], figures["left_out"]) == (201, 1, 3)
    assert figures["skew_ms"] == 30
    assert times_of([one, two])["first_p95_ms"] == pytest.approx(400)


def test_utterances_begin_with_a_sound_and_are_told_from_silence(tmp_path: Path) -> None:
    """No sample is zero; another speaker begins with another one."""
    found = utterances_of(SPEECH)
    assert len(found) >= 3
    assert {len(one) for one in found} == {round(UTTERANCE_S * RATE)}
    assert all(np.abs(one[0]) > 0.01 and one.all() for one in found)
    assert next(endless(found, 1)) is found[1]
    with pytest.raises(MediaError, match=r"expected at least 2.6 s of speech, got less"):
        utterances_of(write_sound(tmp_path / "short.wav", found[0][:RATE]))


def test_the_clip_is_square_and_has_25_pictures_per_second(tmp_path: Path) -> None:
    """The portrait, and a video of another size."""
    portrait = write_clip(None, tmp_path / "portrait.mp4")
    again = write_clip(portrait, tmp_path / "again.mp4")
    for path in (portrait, again):
        video = VideoSource(path)
        assert (video.width, video.height, video.rate) == (SIDE, SIDE, FPS)
        assert sum(1 for _ in video.frames()) == 100


def test_rows_are_kept_and_reported(tmp_path: Path) -> None:
    """With their conditions; a figure beyond what is wanted is named."""
    figures = {"first_p95_ms": 510.0, "skew_ms": 0.0, "pictures": 100.0}
    row = Row(Key("a-pipeline", "real_time", 2), "in real time", "2026", "", figures, ((0.0, 100.0),))
    LiveResults({**CONDITIONS}, {row.key: row}).save(tmp_path / "live")
    results = load_live(tmp_path / "live")
    assert list(results.rows.values()) == [row]
    assert beyond(row) == "first_p95_ms 510 > 500"
    text = as_markdown("", live_blocks(results))
    assert "| a-pipeline | real_time | 2 | 510 | 100 | 0 | in real time | first_p95_ms 510 > 500 |" in text
    assert main(["report", str(tmp_path / "live"), "--output", str(tmp_path / "report")]) == 0
    assert "Live streams" in (tmp_path / "report" / "report.md").read_text()


def test_a_report_without_a_measured_row_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how to measure."""
    row = Row(Key("a-pipeline", "fast", 2), "failed", "2026", "no such clip")
    LiveResults({**CONDITIONS}, {row.key: row}).save(tmp_path)
    assert main(["report", str(tmp_path)]) != 0
    assert "expected at least one measured row, got none. Run: python -m perf live" in capsys.readouterr().err
