"""Which frames of a speaker a check looks at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from client.quality.options import QUICK_FRAMES, Check

RUN = 3  # adjacent frames, in which flicker shows
RUNS = 6  # of so many frames in a quick check; the others are single ones
SPREAD = (np.sqrt(5) - 1) / 2  # uneven steps, as even ones might fall into the rhythm of speech


def shows_flicker(numbers: Sequence[int]) -> bool:
    """Return whether there are enough frames to see flicker in them, and they are adjacent."""
    return len(numbers) >= RUN and numbers[-1] - numbers[0] == len(numbers) - 1


def frames_to_check(check: Check, total: int, most: int = QUICK_FRAMES, runs: int = RUNS) -> Collection[int]:
    """Choose frames of a speaker.

    Args:
        check: how much is looked at.
        total: number of frames in which the speaker is drawn, as far as it is known beforehand.
        most: how many a quick check looks at.
        runs: how many runs of adjacent ones are among them.

    Returns:
        Their numbers, 0 to total - 1.
    """
    if check == "off":
        return ()
    if check == "full" or total <= most:
        return range(total)
    places = most - runs * (RUN - 1)
    step = total / places
    starts = [int(step * (place + (place * SPREAD) % 1)) for place in range(places)]
    with_run = {round((number + 0.5) * places / runs) for number in range(runs)}
    chosen = {min(start, total - 1) for start in starts}
    for place in with_run:
        chosen.update(min(starts[place] + further, total - 1) for further in range(RUN))
    return frozenset(sorted(chosen)[:most])
