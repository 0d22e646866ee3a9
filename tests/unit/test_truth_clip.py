from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import frontal_template, openings
from perf.truth.baselines import baselines
from perf.truth.belonging import Belonging
from perf.truth.clips import TruthClip
from perf.truth.command import as_text, conclusion
from perf.truth.drawing import speech_on_other_picture, write_speech
from perf.truth.judge import FAIR, OWN, judge_clip
from perf.truth.plot import draw_openings
from perf.truth.silence import open_shares, protocols
from tests.unit.mouth_samples import LANDMARKS
from tests.unit.test_audio import noise
from tests.unit.test_lip_shapes import REGRESSOR
from tests.unit.test_truth_figures import FPS, FRAMES, babble, lips_of

BELONGS = Belonging(r=0.6, lag_ms=0, chance=0.2)


@pytest.fixture
def clip(tmp_path: Path) -> TruthClip:
    """Somebody's lips with any speech, and phones beside it."""
    path = tmp_path / "clip.mp4"
    middles = np.flatnonzero(babble() < 0.02)[::3] / FPS
    phones = [["AA", 0, 0.2], *([name, t - 0.04, t + 0.08] for t in middles for name in ("M", "AA"))]
    path.with_name("clip.phones.json").write_text(json.dumps({"phones": phones}))
    speech = noise(FRAMES / FPS).astype(np.float32)
    return TruthClip(path, FPS, frontal_template(LANDMARKS[None]), lips_of(babble()), speech)


def draw_perfectly(clip: TruthClip, speech: np.ndarray, name: str) -> np.ndarray:
    """Draw what somebody would do who says this: the clip's lips at the time that the speech is from."""
    shift = next(k for k in (0, FRAMES // 2) if np.allclose(np.roll(clip.speech, -k * AUDIO_SAMPLE_RATE // 25), speech))
    return np.roll(clip.lips, -shift, axis=0)


def test_a_perfect_generator_is_perfect_in_both_ways(clip: TruthClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fair result is compared at the time of the speech, not of the picture."""
    monkeypatch.setattr("perf.truth.judge.fitted_regressor", lambda: REGRESSOR)
    figures = judge_clip(draw_perfectly, clip, BELONGS)
    for kind in (OWN, FAIR):
        assert figures.likeness[kind].r0 == pytest.approx(1)
        assert figures.likeness[kind].lmd == pytest.approx(0)
    assert figures.likeness["mouth of another time"].lmd > 0
    assert figures.likeness["bound: true opening and width"].lmd < figures.likeness["mean mouth"].lmd
    text = as_text(figures)
    assert "recall" in text
    assert conclusion([figures]).splitlines()[-1].startswith("r0 mean 1.00 min 1.00, lag 0 ms, LMD 0.0, closures found")
    json.dumps(figures.as_dict(), allow_nan=False)


def test_a_generator_that_copies_the_picture_is_found_out(clip: TruthClip) -> None:
    """Its own picture's lips fit; those of half a clip away do not."""
    drawn = speech_on_other_picture(lambda clip, speech, name: clip.lips, clip)
    assert abs(np.corrcoef(openings(drawn), clip.openings)[0, 1]) < 0.5


def test_baselines_need_no_regular_mouth(clip: TruthClip) -> None:
    """Each has the clip's frames, also where some have no face."""
    clip.lips[10:20] = np.nan
    made = baselines(clip, REGRESSOR)
    assert {lips.shape for lips in made.values()} == {(FRAMES, 40, 2)}
    assert np.isfinite(made["mouth kept shut"]).all()
    assert openings(made["mouth kept shut"])[0] < 0.2 * openings(made["mean mouth"])[0]


def test_sounds_have_their_levels(clip: TruthClip) -> None:
    """And last four seconds."""
    for name, protocol in protocols(clip).items():
        assert protocol.samples.shape == (4 * AUDIO_SAMPLE_RATE,)
        if name == "digital silence":
            assert not protocol.samples.any()
        elif "between" not in name:
            level = 10 * np.log10((protocol.samples.astype(float) ** 2).mean())
            assert level == pytest.approx(float(name.split(",")[1].split()[0]), abs=0.1)


def test_open_mouths_without_speech_are_counted(clip: TruthClip) -> None:
    """A generator that opens at any loud sound fails in music, and passes in silence."""

    def draw(clip: TruthClip, samples: np.ndarray, name: str) -> np.ndarray:
        return lips_of(np.full(FRAMES, 0.2 if (samples**2).mean() > 1e-3 else 0))

    shares = open_shares(draw, clip, protocols(clip))
    assert shares["digital silence"] == shares["breathing, -50 dB"] == 0
    assert shares["music, -20 dB"] == 1


def test_speech_is_written_with_its_length(tmp_path: Path) -> None:
    """16-bit mono at 16 kHz; what is too loud is clipped."""
    write_speech(tmp_path / "a.wav", np.array([0, 0.5, 2], np.float32))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, AUDIO_SAMPLE_RATE, 3)
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [0, 16384, 32767]


def test_openings_are_drawn(clip: TruthClip) -> None:
    """A picture with a row for each result."""
    picture = draw_openings(clip.times_s, clip.openings, {"a": babble(1), "b": babble(2)}, clip.energetic, "clip")
    assert picture.startswith(b"\x89PNG")
