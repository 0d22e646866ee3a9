"""Runs a job again with its lips moved, where its check finds them early or late and the user wants that corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from client.errors import ref
from client.job import Job
from client.job_options import JobOptions
from client.quality.job import LipsOffError
from client.quality.options import FIX_OFFSET
from client.quality.report import QualityReport
from client.report import Report


def run_corrected(options: JobOptions, run: Callable[[Job], Report]) -> Report:
    """Run a job, and once more with corrected lips if need be; nothing is written under its name before the end.

    The report counts the time of both runs. It warns if the check does not find the second result better.

    Args:
        options: the job.
        run: runs an opened job.

    Raises:
        LipSyncError: whatever `run` raises.
    """
    try:
        with Job(options) as job:
            return run(job)
    except LipsOffError as found:
        first, seconds = found.quality, found.seconds
    assert first.audio_offset_s is not None
    with Job(options, first.audio_offset_s) as job:
        report = run(job)
    report.add_run(seconds)
    if report.quality is not None:
        report.warnings += _doubts(first, report.quality)
        report.quality = replace(report.quality, seconds=round(report.quality.seconds + first.seconds, 3))
    return report


def _doubts(before: QualityReport, after: QualityReport) -> list[str]:
    """Return a warning if the correction was no improvement, or cannot be judged."""
    moved = f"the lips were moved by {-after.fixed_offset_s:+.2f} s"
    advice = f"Compare with a result without {ref(FIX_OFFSET.name)}"
    if after.failure is not None:
        return [f"{moved}, but whether that is better could not be checked: {after.failure}. {advice}"]
    follows, followed = _mean_following(after), _mean_following(before)
    is_nearer = abs(after.audio_offset_s or 0.0) < abs(before.audio_offset_s or 0.0)
    if is_nearer and follows >= followed:
        return []
    return [f"{moved}, but the check finds them no better: {follows:.2f} in place of {followed:.2f}. {advice}"]


def _mean_following(found: QualityReport) -> float:
    """Return how well the mouths follow the speech, on average; 0 if it is not known."""
    values = [speaker.follows.value for speaker in found.speakers if speaker.follows.value is not None]
    return float(np.mean(values)) if values else 0.0
