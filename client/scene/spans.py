"""Spans of the timeline as users write them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from client.scene.limits import MAX_SPANS
from client.scene.scene import TimeSpan


def parse_spans(text: str) -> tuple[TimeSpan, ...]:
    """Parse START-END in seconds, comma-separated, in order; an empty END is the end of the video.

    Raises:
        ValueError: the text is none of these, or spans are out of order or overlap.
    """
    spans = tuple(_parse_span(part) for part in text.split(","))
    if len(spans) > MAX_SPANS or any(later.start_s < span.end_s for span, later in itertools.pairwise(spans)):
        raise ValueError("expected spans in order, without overlap")
    return spans


def show_spans(spans: Sequence[TimeSpan]) -> str:
    """Format spans so that `parse_spans` can parse them."""
    return ",".join(f"{span.start_s:.10g}-{_shown_end(span)}" for span in spans)


def between(spans: Sequence[TimeSpan]) -> tuple[TimeSpan, ...]:
    """Return the spans that lie outside others, which are in order and do not overlap."""
    starts = [0.0, *(span.end_s for span in spans)]
    ends = [*(span.start_s for span in spans), math.inf]
    return tuple(TimeSpan(start, end) for start, end in zip(starts, ends, strict=True) if start < end)


def joined(*lists: Sequence[TimeSpan]) -> tuple[TimeSpan, ...]:
    """Return the union of spans, in order and without overlap."""
    union: list[TimeSpan] = []
    for span in sorted(itertools.chain(*lists), key=lambda span: span.start_s):
        if union and span.start_s <= union[-1].end_s:
            union[-1] = TimeSpan(union[-1].start_s, max(union[-1].end_s, span.end_s))
        else:
            union.append(span)
    return tuple(union)


def common(spans: Sequence[TimeSpan], others: Sequence[TimeSpan]) -> tuple[TimeSpan, ...]:
    """Return what lies in spans of both lists, each in order and without overlap."""
    found: list[TimeSpan] = []
    i = j = 0
    while i < len(spans) and j < len(others):
        start, end = max(spans[i].start_s, others[j].start_s), min(spans[i].end_s, others[j].end_s)
        if start < end:
            found.append(TimeSpan(start, end))
        i, j = (i + 1, j) if spans[i].end_s <= others[j].end_s else (i, j + 1)
    return tuple(found)


def _parse_span(text: str) -> TimeSpan:
    start, dash, end = text.strip().partition("-")
    span = TimeSpan(float(start), float(end) if end.strip() else math.inf)
    if not dash or not 0 <= span.start_s < span.end_s or (end.strip() and not math.isfinite(span.end_s)):
        raise ValueError(f"expected START-END in seconds, got {text!r}")
    return span


def _shown_end(span: TimeSpan) -> str:
    return "" if math.isinf(span.end_s) else f"{span.end_s:.10g}"
