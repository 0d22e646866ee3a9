"""LatentSync's own choice of a length: the original's number of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from client.media import VideoSource, stop_as_original, timeline
from client.options import choices_for, read_options
from client.pipelines import PIPELINES
from client.pipelines.latentsync import LATENTSYNC
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.whisper.mel import HOP
from tests.media_clips import write_clip

LENGTH_OPTIONS = (IF_AUDIO_LONGER, IF_AUDIO_SHORTER)
OTHERS = [pipeline for pipeline in PIPELINES if not pipeline.own_choices]


def test_as_many_frames_as_the_original(reference_dir: Path, tmp_path: Path) -> None:
    """Of a video that is longer and of one that is shorter, for its twenty lengths and their remainders."""
    goldens = np.load(reference_dir / "latentsync" / "windows.npz")
    source = VideoSource(write_clip(tmp_path / "short.mp4", frames=2))
    assert LATENTSYNC.original_end_s is not None
    for positions, count in zip(goldens["lengths"].tolist(), goldens["counts"].tolist(), strict=True):
        for samples in (2 * HOP * positions, 2 * HOP * (positions + 1) - 1):
            end_s = LATENTSYNC.original_end_s(samples / AUDIO_SAMPLE_RATE)
            if count > 60:  # the rule without decoding so many frames
                assert (count - 2) / 25 < end_s <= (count - 1) / 25
                continue
            shown = timeline(source, samples / AUDIO_SAMPLE_RATE, "original", "original")
            assert sum(1 for _ in stop_as_original(shown, end_s, "original")) == count


@pytest.mark.parametrize("pipeline", OTHERS, ids=lambda pipeline: pipeline.name)
@pytest.mark.parametrize("option", LENGTH_OPTIONS, ids=lambda option: option.name)
def test_other_pipelines_refuse_it(pipeline: object, option: object) -> None:
    """They have no such original."""
    name, model = option.name, pipeline.name  # type: ignore[attr-defined]
    assert "original" not in choices_for(pipeline, option)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"{name}: expected one of [a-z, ]+ for {model}, got original\. .*latentsync"):
        read_options({"model": model, name: "original"})
    read_options({"model": LATENTSYNC.name, name: "original"})


def test_a_pipeline_that_offers_a_length_knows_it() -> None:
    """No job ends in a length that nobody can compute."""
    for pipeline in PIPELINES:
        offered = any("original" in choices_for(pipeline, option) for option in LENGTH_OPTIONS)
        assert offered == (pipeline.original_end_s is not None)
