"""Spans of the timeline: how they are written, and what lies between them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from client.job_options import JobOptions
from client.scene.scene import TimeSpan
from client.scene.spans import between, joined, parse_spans, show_spans


def test_spans_are_written_as_they_are_read() -> None:
    """A span may end with the video; what is shown parses to the same spans."""
    spans = parse_spans("12.5-31,60-75, 80-")
    assert spans == (TimeSpan(12.5, 31), TimeSpan(60, 75), TimeSpan(80))
    assert parse_spans(show_spans(spans)) == spans


@pytest.mark.parametrize("text", ["", "5", "5-5", "6-5", "-1-5", "1-3,2-4", "4-5,1-2", "a-b", "1-inf", "nan-2"])
def test_spans_out_of_order_fail(text: str) -> None:
    """Spans end after they start, in order, and do not overlap."""
    with pytest.raises(ValueError):
        parse_spans(text)


def test_all_but_some_spans() -> None:
    """What lies between spans touches them, and reaches from 0 s to the end of the video."""
    assert between(parse_spans("2-3,5-8")) == (TimeSpan(0, 2), TimeSpan(3, 5), TimeSpan(8, math.inf))
    assert between(parse_spans("0-3,4-")) == (TimeSpan(3, 4),)
    assert between(()) == (TimeSpan(0),)


def test_union_of_spans() -> None:
    """Spans that touch or overlap become one."""
    assert joined(parse_spans("1-2,6-7"), parse_spans("2-3,6.5-9")) == (TimeSpan(1, 3), TimeSpan(6, 9))


def test_parts_of_a_video_leave_the_rest_alone() -> None:
    """sync_only leaves alone what lies outside its spans."""
    job = JobOptions.read(Path("v.mp4"), Path("a.wav"), Path("o.mp4"), {"sync_only": "2-3"})
    assert job.scene.unchanged == (TimeSpan(0, 2), TimeSpan(3))
