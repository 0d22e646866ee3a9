"""Picks the lines of a Triton log that tell why it did not start or why it ended. Knows nothing of processes."""

from __future__ import annotations

import re

LOG_LINES_SHOWN, LOG_WIDTH = 8, 400
OTHER_VERSION = re.compile(r"(?:ImportError|ModuleNotFoundError): (?P<what>[^\n]*?\blipsync_core\b[^(\\\n]*)")
BACKTRACE_LINE = re.compile(r" *\d+# ")


def relevant_lines(log: str, limit: int) -> str:
    """Pick the lines of a Triton log that say what went wrong: errors first, else its last lines."""
    lines = [line[:LOG_WIDTH] for line in log.splitlines() if line.strip() and line[0] not in "I+|"]
    lines = [line for line in lines if not BACKTRACE_LINE.match(line)]
    harmless = (
        "NVML",
        "DCGM",
        "CUDA driver version",
        "pinned memory pool",
        "CUDA memory pool",
        "No CUDA",
        "CudaDriverHelper",
    )
    telling = [line for line in lines if not any(mark in line for mark in harmless)]
    errors = [line for line in telling if "rror" in line or line.startswith("E") or "failed" in line]
    return "\n".join((errors or telling)[-limit:])


def asked_of_another_version(log: str) -> str | None:
    """Return the import from lipsync_core that failed, if that is why a model was not loaded."""
    match = OTHER_VERSION.search(log)
    return None if match is None else match["what"].strip(' "')
