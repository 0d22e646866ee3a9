"""Break things on purpose: python -m tests.chaos, or make chaos.

Runs the real command on damaged media, and against servers, clients, disks and clocks that fail, each case with a
time limit. After each: the output is complete or as it was before, and no process, shared memory or temporary file is
left. Exits with 1 when any case differs from what was expected.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.case import Case, Result
from tests.chaos.cases import CASES
from tests.chaos.judge import play
from tests.chaos.report import print_table, write_csv, write_json
from tests.chaos.scene import Bench


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen cases; returns the exit code."""
    options = build_parser().parse_args(argv)
    cases = chosen(options.only)
    if options.list:
        print("\n".join(f"{case.name}: {case.expected}" for case in cases))
        return 0
    if not cases:
        print(f"chaos: --only: expected a part of a case's name, got {options.only}. See --list", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs, and so by servers
    started = time.monotonic()
    results = run_cases(cases, options.jobs)
    print_table(results)
    print(f"{time.monotonic() - started:.0f} s, {options.jobs} at once")
    for path, write in ((options.json, write_json), (options.csv, write_csv)):
        if path is not None:
            write(results, path)
    return int(any(result.verdict == "DIFFERS" for result in results))


def chosen(patterns: Sequence[str] | None) -> list[Case]:
    """Return the cases whose names contain one of the patterns; all without any."""
    return [case for case in CASES if not patterns or any(fnmatch.fnmatch(case.name, f"*{part}*") for part in patterns)]


def run_cases(cases: Sequence[Case], at_once: int) -> list[Result]:
    """Play cases, some at once; a line for each on stderr as it ends."""
    with tempfile.TemporaryDirectory(prefix="lipsync-chaos-") as folder, Bench(Path(folder)) as bench:

        def run(case: Case) -> Result:
            result = play(case, bench)
            print(f"{result.seconds:6.1f} s  {result.verdict:11}  {result.name}", file=sys.stderr, flush=True)
            return result

        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(run, cases))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="PATTERN", help="cases whose names contain this; * and ? work")
    parser.add_argument("--list", action="store_true", help="print the cases and what is expected of them")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cases at once (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the results there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
