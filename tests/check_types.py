"""Runs mypy over the packages, then over every model.py by itself, since modules of one name cannot share a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Return 0 when all is well typed, else 1."""
    mypy = [sys.executable, "-m", "mypy"]
    models = sorted(
        [*ROOT.glob("model_repository/*/1/model.py"), *ROOT.glob("lipsync_core/serving/backends/*/model.py")]
    )
    runs = [mypy, *([*mypy, "--config-file=pyproject.toml", "--exclude=^$", str(path)] for path in models)]
    failed = False
    for run in runs:
        result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            failed = True
            print(result.stdout + result.stderr, file=sys.stderr)
    print(f"types checked: {len(runs)} runs, {'errors above' if failed else 'no errors'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
