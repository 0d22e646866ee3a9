from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.audio.speaking import ENDS_LATE_S, FADE_S, FOUND_LATE_S, PAUSE_S, WINDOW_S, SpeechSpans


def spans_of(*probs: float) -> SpeechSpans:
    spans = SpeechSpans()
    spans.add(np.array(probs, np.float32))
    return spans


def test_speech_ends_only_when_the_probability_is_low() -> None:
    """It begins at 0.5 and ends below 0.35."""
    spans = spans_of(0.4, 0.6, 0.4, 0.36, 0.3, 0.4, 0.9)
    np.testing.assert_allclose(spans.spans_s, np.array([(1, 4), (6, 7)]) * WINDOW_S)
    assert spans.covered_s == pytest.approx(7 * WINDOW_S)


def test_the_mouth_fades_at_both_ends() -> None:
    """From full in speech to nothing within 8 frames of 25 per second, without a jump and slowly at both ends."""
    spans = spans_of(*[0.0] * 50, *[1.0] * 10, *[0.0] * 50)
    ((found, last),) = spans.spans_s
    start, end = found - FOUND_LATE_S, last + ENDS_LATE_S
    times = [0.0, start - FADE_S, start - FADE_S / 2, start, end, end + FADE_S / 2, end + FADE_S]
    np.testing.assert_allclose(spans.weights(np.array(times)), [0, 0, 0.5, 1, 1, 0.5, 0], atol=1e-6)
    steps = np.abs(np.diff(spans.weights(end + np.linspace(0, FADE_S, 9))))
    assert steps.max() <= 1.5 / 8
    assert max(steps[0], steps[-1]) <= 0.5 / 8


def test_short_pauses_are_not_silence() -> None:
    """Between two words the mouth goes on; in a longer pause it closes as far as there is time."""
    late_s = FOUND_LATE_S + ENDS_LATE_S
    windows = int((PAUSE_S + late_s) / WINDOW_S)
    short = spans_of(*[1.0] * 10, *[0.0] * windows, *[1.0] * 10)
    assert short.weights(np.linspace(0, (20 + windows) * WINDOW_S, 50)).min() == 1
    windows += 5
    longer = spans_of(*[1.0] * 10, *[0.0] * windows, *[1.0] * 10)
    pause_s = windows * WINDOW_S - late_s
    middle_s = 10 * WINDOW_S + ENDS_LATE_S + pause_s / 2
    assert 0 < longer.weights(np.array([middle_s])).item() < 0.5


def test_pieces_give_the_spans_of_the_whole() -> None:
    """Wherever the probabilities are cut."""
    probs = np.random.default_rng(1).random(300).astype(np.float32) ** 2
    whole, pieces = spans_of(*probs.tolist()), SpeechSpans()
    for start in range(0, 300, 7):
        pieces.add(probs[start : start + 7])
    times = np.linspace(-1, 11, 400)
    assert pieces.spans_s == whole.spans_s
    np.testing.assert_array_equal(pieces.weights(times), whole.weights(times))


def test_no_speech_is_silence_everywhere() -> None:
    """Before anything is known, too."""
    assert not SpeechSpans().weights(np.array([0.0, 1.0])).any()
    assert not spans_of(*[0.2] * 40).weights(np.array([0.0, 1.0])).any()
