"""Figures of streams from what their clients saw. Knows no server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perf.live.speaker import Observed, Seen

LATE_S = 0.04  # a picture that is later than this is behind the one after it
LOST_SHARE = 0.01  # of the pictures that may be held or left out in real time
PERCENTILES = (50, 95, 99)
WARM_UP_S = 3.0  # closed mouths are drawn for the first time meanwhile


def figures_of(observed: Sequence[Observed]) -> dict[str, float]:
    """Return the figures of all clients together.

    Returns:
        pictures: their number. held and left_out: those that the server could not draw in time, and that the client
        missed. skew_ms: largest distance between sound and picture.
    """
    pictures = [picture for one in observed for picture in one.seen]
    figures: dict[str, float] = {
        "pictures": len(pictures),
        "held": sum(picture.is_held for picture in pictures),
        "left_out": sum(picture.left_out for picture in pictures),
    }
    if pictures:
        figures["skew_ms"] = round(1000 * max(abs(picture.skew_s) for picture in pictures), 1)
    return figures


def times_of(observed: Sequence[Observed]) -> dict[str, float]:
    """Return the figures of clients that spoke in real time; those without a sample are left out.

    Returns:
        first_*_ms: from the first 200 ms of an utterance to the first picture whose mouth follows it. late_*_ms: delay
        of pictures beyond that of the stream's most punctual one. interrupt_*_ms: from an interruption to the first
        picture with a closed mouth. utterances and interruptions: their numbers.
    """
    figures: dict[str, float] = {
        "utterances": sum(len(one.heard) for one in observed),
        "interruptions": sum(len(one.interrupted) for one in observed),
    }
    figures |= percentiles("first", [delay for one in observed for delay in first_frames(one)])
    figures |= percentiles("late", [delay for one in observed for delay in lateness(one.seen)])
    figures |= percentiles("interrupt", [delay for one in observed for delay in interruptions(one)])
    return figures


def keeps_up(figures: dict[str, float]) -> bool:
    """Return whether streams with these figures ran in real time."""
    lost = figures["held"] + figures["left_out"]
    return bool(figures["pictures"]) and (
        lost <= LOST_SHARE * figures["pictures"] and figures.get("late_p95_ms", 0.0) <= 1000 * LATE_S
    )


def first_frames(observed: Observed) -> list[float]:
    """Return how long after the first 200 ms of each utterance its first frame came, in seconds."""
    found = []
    ends = [*observed.began[1:], float("inf")]
    for began, heard, end in zip(observed.began, observed.heard, ends, strict=False):
        first = _first_frame([picture for picture in observed.seen if began <= picture.at < end])
        if first is not None:
            found.append(first.at - heard)
    return found


def lateness(seen: Sequence[Seen]) -> list[float]:
    """Return by how much each picture after the warm-up is later than the most punctual one, in seconds."""
    delays = np.array([picture.at - picture.time_s for picture in seen if picture.time_s > WARM_UP_S])
    return list(delays - delays.min()) if len(delays) else []


def interruptions(observed: Observed) -> list[float]:
    """Return how long after each interruption of a moving mouth it was closed, in seconds."""
    found = []
    for moment in observed.interrupted:
        before = [picture for picture in observed.seen if picture.at <= moment]
        closed = next((one for one in observed.seen if one.at > moment and not one.speaks), None)
        if before and before[-1].speaks and closed is not None:
            found.append(closed.at - moment)
    return found


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles in milliseconds, by their names."""
    if not seconds:
        return {}
    values = np.percentile(np.array(seconds), PERCENTILES)
    return {
        f"{name}_p{percent}_ms": round(1000 * float(value), 1)
        for percent, value in zip(PERCENTILES, values, strict=True)
    }


def _first_frame(seen: Sequence[Seen]) -> Seen | None:
    """Return the first drawn picture that shows an utterance, after what is still shown of the one before it."""
    silent = next((index for index, picture in enumerate(seen) if not picture.has_voice), len(seen))
    shown = (picture for picture in seen[silent:] if picture.has_voice and picture.speaks and not picture.is_held)
    return next(shown, None)
