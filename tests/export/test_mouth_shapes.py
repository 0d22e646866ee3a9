from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.mouth_shapes.command import as_json, without
from export.mouth_shapes.corpus import Speaker, SpokenClip, find_clips
from export.mouth_shapes.fit import fit_regressor
from export.mouth_shapes.phones import Phone, closed_phones, read_phones
from export.mouth_shapes.scores import as_table, leave_one_out
from lipsync_core.audio.lip_shapes import COEFFICIENTS, fitted_regressor, read_regressor
from lipsync_core.mouth.lips import LIPS, frontal_template
from tests.unit.mouth_samples import LANDMARKS
from tests.unit.test_audio import FPS, syllables

SECONDS = 3.0
LOWER = [LIPS.index(point) for point in (14, 17, 87, 317)]


def speaker(name: str, rate_hz: float, loudness: float) -> Speaker:
    """Somebody who opens the mouth with each syllable."""
    times = (np.arange(int(SECONDS * FPS)) + 0.5) / FPS
    lips = np.repeat(frontal_template(LANDMARKS[None])[None, list(LIPS), :2], len(times), axis=0)
    lips[:, LOWER, 1] += 0.2 * np.clip(np.sin(2 * np.pi * rate_hz * times), 0, 1)[:, None]
    clip = SpokenClip(Path("none.mp4"), lips, times, loudness * syllables(SECONDS, rate_hz))
    return Speaker(name, (clip,))


SPEAKERS = [speaker("a", 2.0, 1.0), speaker("b", 2.6, 0.1), speaker("c", 3.1, 0.5)]


def test_a_speaker_is_predicted_by_the_others() -> None:
    """However loud the voice is."""
    scores = leave_one_out(SPEAKERS)
    assert min(score.opening_always for score in scores) > 0.8
    assert [line.split()[0] for line in as_table(scores).splitlines()[1:]] == ["a", "b", "c", "mean"]


def test_a_fit_is_the_same_every_time() -> None:
    """Down to the text of its file, which holds all that is needed."""
    text = as_json(fit_regressor(SPEAKERS))
    assert text == as_json(fit_regressor(SPEAKERS))


def test_a_file_holds_the_fit(tmp_path: Path) -> None:
    """Five digits are enough."""
    regressor = fit_regressor(SPEAKERS)
    path = tmp_path / "fit.json"
    path.write_text(as_json(regressor))
    read = read_regressor(path)
    np.testing.assert_allclose(read.weights, regressor.weights, rtol=1e-4)
    np.testing.assert_allclose(read.basis, regressor.basis, rtol=1e-4)


def test_every_speaker_weighs_the_same() -> None:
    """Saying the same three times as long changes nothing."""
    once, other = SPEAKERS[:2]
    longer = replace(once, clips=once.clips * 3)
    np.testing.assert_allclose(fit_regressor([longer, other]).weights, fit_regressor([once, other]).weights, atol=1e-9)


def test_components_are_of_lips(tmp_path: Path) -> None:
    """The shipped basis is orthonormal, and its first components open the mouth."""
    basis = fitted_regressor().basis.reshape(6, -1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-3)
    assert COEFFICIENTS.stat().st_size < 40_000
    assert json.loads(COEFFICIENTS.read_text())


def test_clips_are_found_by_speaker(tmp_path: Path) -> None:
    """Alignments and notes between them are not clips."""
    for name in ("a/1.mpg", "a/1.phones.json", "b/2.mp4", "b/note.txt", "3.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_clips(tmp_path)
    assert {name: [path.name for path in paths] for name, paths in found.items()} == {"a": ["1.mpg"], "b": ["2.mp4"]}


def test_finding_clips_fails_on_one_speaker(tmp_path: Path) -> None:
    """Nobody would be left to judge on."""
    with pytest.raises(ValueError, match="expected clips of at least two speakers as SPEAKER/CLIP, got 0"):
        find_clips(tmp_path)


def test_leaving_out_fails_on_another_name() -> None:
    """The message lists the speakers."""
    assert [one.name for one in without(SPEAKERS, "b")] == ["a", "c"]
    with pytest.raises(ValueError, match="expected one of a, b, c, got d"):
        without(SPEAKERS, "d")


def test_phones_after_silence_close_nothing() -> None:
    """Lips rest before speech begins."""
    phones = [Phone("SIL", 0, 1), Phone("B", 1, 2), Phone("AA", 2, 3), Phone("M", 3, 4)]
    assert closed_phones(phones) == [Phone("M", 3, 4)]


def test_phones_are_read_beside_the_clip(tmp_path: Path) -> None:
    """A clip without them has none."""
    (tmp_path / "a.phones.json").write_text('{"phones": [["B", 0.1, 0.2]]}')
    assert read_phones(tmp_path / "a.mp4") == [Phone("B", 0.1, 0.2)]
    assert read_phones(tmp_path / "b.mp4") == []


def test_reading_phones_fails_on_another_file(tmp_path: Path) -> None:
    """The message names the file and the form."""
    (tmp_path / "a.phones.json").write_text('{"words": []}')
    with pytest.raises(ValueError, match=r'a.phones.json: expected \{"phones": \[\[name, start_s, end_s\], ...\]\}'):
        read_phones(tmp_path / "a.mp4")
