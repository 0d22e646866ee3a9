"""Where a speech closes the lips, and whether a mouth does so there. Knows no files and no server.

The numbers were chosen on real mouths: perf/RESULTS.md, "Closures".
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from client.quality.alignment import Phone
from client.quality.judging import LEAST_RANGE, MouthSamples
from client.quality.options import CLOSURE_FRAMES
from client.quality.plan import SPREAD
from client.quality.report import Finding, Verdict

BILABIALS = frozenset("pbm")  # in ARPABET and IPA
POSITION = re.compile(r"_[BIES]$")  # in a word, as Kaldi writes it
MARKS = ("Mn", "Lm")  # such as those of aspirated, palatal and long sounds
SILENCES = frozenset({"", "sil", "sp", "spn", "silence", "pau", "<eps>", "<sil>", "<unk>", "h#", "#"})
GAP_S = 0.03  # between phones that follow each other; more is a pause
STEP_S = 0.06  # between the frames of a closure that a quick check looks at
LONGEST_GAP_S = 0.07  # of a closure that is not looked at
RANGE_PERCENTILE = 95  # of the openings in speech
CLOSED_SHARE = 0.20  # of the opening there
SURELY_CLOSED = 0.02  # distances of the outer eye corners, 2 mm: a quick check hardly sees how far the mouth opens
LEAST_CLOSURES = 6
CLOSES, LEAVES_OPEN = 0.80, 0.60  # shares of the closures
CANNOT_TELL = "cannot tell whether the lips close at p, b and m"


def closes_lips(name: str) -> bool:
    """Return whether a phone is p, b or m: in ARPABET or IPA, with or without stress, length and the like."""
    letters = unicodedata.normalize("NFD", POSITION.sub("", name))
    plain = "".join(c for c in letters if unicodedata.category(c) not in MARKS and not c.isdecimal())
    return plain.casefold() in BILABIALS


def closures_of(phones: Sequence[Phone]) -> np.ndarray:
    """Return where lips are closed between other sounds, float64 [C, 2], in seconds.

    Adjacent p, b and m are one closure. Those beside a pause are left out, as lips may rest closed there.

    Args:
        phones: those of the speech, in order.
    """
    parts = [list(part) for _, part in groupby(_with_pauses(phones), lambda phone: closes_lips(phone.name))]
    found = [
        (part[0].start_s, part[-1].end_s)
        for before, part, after in zip(parts, parts[1:], parts[2:], strict=False)
        if closes_lips(part[0].name) and not (_is_pause(before[-1]) or _is_pause(after[0]))
    ]
    return np.array(found, np.float64).reshape(-1, 2)


def frames_at_closures(closures: np.ndarray, shown: np.ndarray, rate: float) -> list[list[int]]:
    """Choose the frames by which a quick check sees closures that are spread over the result.

    Args:
        closures: float64 [C, 2], in seconds of the result.
        shown: bool [F], the frames that show the speaker.
        rate: frames per second.

    Returns:
        The numbers of the frames of each chosen closure, CLOSURE_FRAMES at most.
    """
    step = max(1, int(STEP_S * rate))
    chosen: list[list[int]] = []
    left = CLOSURE_FRAMES
    for start_s, end_s in closures[np.argsort(np.arange(len(closures)) * SPREAD % 1)].tolist():
        first, last = math.ceil(start_s * rate - 0.5), math.floor(end_s * rate - 0.5)
        if not 0 <= first <= last < len(shown) or not shown[first : last + 1].all():
            continue
        numbers = list(range(first, last + 1, step))
        left -= len(numbers)
        if left < 0:
            break
        chosen.append(numbers)
    return chosen


def closed_below(samples: MouthSamples) -> float:
    """Return the opening below which a mouth is closed; NaN for one that hardly moves in speech."""
    seen = samples.openings[samples.spoken]
    if not len(seen) or float(np.ptp(seen)) < LEAST_RANGE:
        return math.nan
    return max(CLOSED_SHARE * float(np.percentile(seen, RANGE_PERCENTILE)), SURELY_CLOSED)


class SeenClosures:
    """How far a mouth is open at the closures of what it says.

    Attributes:
        least: float64 [C], the smallest opening of each; NaN where the mouth was not seen throughout.
    """

    def __init__(self, closures: np.ndarray, times_s: np.ndarray, openings: np.ndarray, limit: float) -> None:
        """Look them up.

        Args:
            closures: float64 [C, 2], in seconds of the result.
            times_s: float64 [F], when the mouth was looked at.
            openings: float64 [F], NaN where it was not seen.
            limit: see `closed_below`.
        """
        self._middles_s = closures.mean(axis=1)
        self._limit = limit
        rows = np.flatnonzero(np.isfinite(openings))
        rows = rows[np.argsort(times_s[rows], kind="stable")]
        times_s, openings = times_s[rows], openings[rows]
        self.least = np.full(len(closures), np.nan)
        for i, (first, stop) in enumerate(np.searchsorted(times_s, closures).tolist()):
            gaps_s = np.diff(np.concatenate([closures[i, :1], times_s[first:stop], closures[i, 1:]]))
            if first < stop and gaps_s.max() <= LONGEST_GAP_S:
                self.least[i] = openings[first:stop].min()

    def judged(self, start_s: float = -math.inf, end_s: float = math.inf) -> Finding:
        """Tell whether the lips close where they should, in a part of the result."""
        if math.isnan(self._limit):
            return Finding("unknown", None, f"{CANNOT_TELL}: the mouth hardly moves")
        seen = self.least[(self._middles_s >= start_s) & (self._middles_s <= end_s) & np.isfinite(self.least)]
        return judge_closures(int((seen < self._limit).sum()), len(seen))


def judge_closures(closed: int, seen: int) -> Finding:
    """Tell whether the lips close where they should, in so many of the closures that were seen."""
    if seen < LEAST_CLOSURES:
        are = "closure that is seen is" if seen == 1 else "closures that are seen are"
        return Finding("unknown", None, f"{CANNOT_TELL}: {seen} {are} too few")
    share = closed / seen
    verdict: Verdict = "good" if share >= CLOSES else "doubtful" if share >= LEAVES_OPEN else "bad"
    few = "only " if verdict == "bad" else ""
    return Finding(verdict, round(share, 3), f"the lips close in {few}{closed} of {seen} closures")


def _with_pauses(phones: Sequence[Phone]) -> Iterator[Phone]:
    """Yield the phones with a pause before, behind, and where there is none in between."""
    end_s = -math.inf
    for phone in phones:
        if phone.start_s - end_s > GAP_S:
            yield Phone("", end_s, phone.start_s)
        yield phone
        end_s = phone.end_s
    yield Phone("", end_s, math.inf)


def _is_pause(phone: Phone) -> bool:
    return phone.name.casefold() in SILENCES
