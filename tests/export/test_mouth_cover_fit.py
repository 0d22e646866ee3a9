from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from export.faces.cover import COEFFICIENTS
from export.mouth_cover.command import as_npz
from export.mouth_cover.covers import COVERS
from export.mouth_cover.fit import CoverJudge, Sample, as_table, fit_judge, leave_one_out
from export.mouth_cover.samples import changed, open_features
from lipsync_core.mouth import mouth_windows
from tests.closeness import assert_close
from tests.unit.mouth_samples import astronaut

LIPS, EYES = (13, 14), (33, 263)
FEATURES = 48  # fewer than in life, for speed


def samples(speakers: str) -> list[Sample]:
    """Covered mouths, which differ in a few features, and others."""
    rng = np.random.default_rng(0)
    found = []
    for speaker in speakers:
        own = rng.normal(0, 0.3, FEATURES)
        for cover in ("", "", "hand", "mask"):
            for is_changed in (False, True, True):
                features = own + rng.normal(0, 0.3, FEATURES)
                features[:20] += 2.0 * bool(cover)
                found.append(Sample(speaker, cover, is_changed, features))
    return found


@pytest.mark.parametrize("cover", COVERS)
def test_a_cover_lies_on_the_mouth_alone(cover: str) -> None:
    """The lips are painted over, the eyes are not, and the same seed paints the same."""
    frame, landmarks = astronaut()
    drawn = COVERS[cover](frame, landmarks, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, COVERS[cover](frame, landmarks, np.random.default_rng(0)))
    difference = np.abs(drawn.astype(int) - frame).max(axis=2)
    for points, is_covered in ((LIPS, True), (EYES, False)):
        for x, y in landmarks[list(points), :2].round().astype(int):
            assert (difference[y - 2 : y + 3, x - 2 : x + 3].max() > 10) == is_covered
    assert (difference > 0).mean() < 0.15  # of the picture


def test_changes_leave_the_picture_recognisable() -> None:
    """They change levels everywhere, and not what is shown."""
    frame, _ = astronaut()
    for seed in range(3):
        other = changed(frame, np.random.default_rng(seed))
        assert other.shape == frame.shape
        assert other.dtype == np.uint8
        assert np.corrcoef(frame.ravel(), other.ravel())[0, 1] > 0.9


def test_speakers_are_judged_by_the_others() -> None:
    """Covered mouths are told from others, and the table counts what is not."""
    found = samples("abc")
    logits = leave_one_out(found)
    assert all((logit > 0) == bool(sample.cover) for sample, logit in zip(found, logits, strict=True))
    table = as_table(found, np.array([3.0 if sample.cover != "hand" else -1.0 for sample in found]))
    assert "not covered, as filmed: 6 of 6 refused" in table
    assert "hand, as filmed: 3 of 3 missed" in table
    assert "mask, light, blur, noise and compression changed: 0 of 6 missed" in table


def test_a_single_speaker_fails() -> None:
    """There is nobody to judge by."""
    with pytest.raises(ValueError, match="expected clips of at least two speakers, got 1"):
        leave_one_out(samples("a"))


def test_a_fit_is_the_same_file_every_time(tmp_path: Path) -> None:
    """It holds what the export reads."""
    assert as_npz(fit_judge(samples("ab"))) == as_npz(fit_judge(samples("ab")))
    (tmp_path / "fit.npz").write_bytes(as_npz(CoverJudge(np.zeros(512), 0.0)))
    with np.load(tmp_path / "fit.npz") as fitted, np.load(COEFFICIENTS) as used:
        assert {name: (fitted[name].shape, fitted[name].dtype) for name in fitted} == {
            name: (used[name].shape, used[name].dtype) for name in used
        }


def test_features_are_those_that_the_network_judges(model_repository: Path) -> None:
    """With the coefficients in use they give its own logit."""
    frame, landmarks = astronaut()
    with np.load(COEFFICIENTS) as used:
        judge = CoverJudge(used["weights"].astype(np.float64), float(used["bias"]))
    network = onnxruntime.InferenceSession(model_repository / "mouth_cover" / "1" / "model.onnx")
    images, places = mouth_windows(frame[None], landmarks[None])
    (expected,) = network.run(["cover_logits"], {"images": images, "places": places})
    found = judge.logits(open_features(model_repository)(frame, landmarks)[None])
    assert_close(found, expected[0], rel=1e-3)  # a float32 sum of 512 features


def test_fitting_without_the_network_fails(tmp_path: Path) -> None:
    """The command that exports it is named."""
    with pytest.raises(ValueError, match=r"expected the network mouth_cover, got none\. Run: python -m export faces"):
        open_features(tmp_path)
