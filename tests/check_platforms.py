"""Checks that the client's dependencies have wheels for every system and Python it is meant for. Needs the network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Linux wheels carry the tag of the oldest glibc they run on: pip takes the tags it is given literally.
GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
PLATFORMS = {
    "Linux x86-64": [f"{glibc}_x86_64" for glibc in GLIBC],
    "Linux ARM": [f"{glibc}_aarch64" for glibc in GLIBC],
    "macOS ARM": ["macosx_14_0_arm64"],
    "macOS x86-64": ["macosx_14_0_x86_64"],
    "Windows x86-64": ["win_amd64"],
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def main() -> int:
    """Return 0 when pip resolves every combination to wheels, else 1."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    failed = False
    for name, platforms in PLATFORMS.items():
        for python in PYTHONS:
            problem = resolve(dependencies, python, platforms)
            print(f"{name}, Python {python}: {problem or 'wheels for everything'}", flush=True)
            failed = failed or bool(problem)
    return int(failed)


def resolve(dependencies: list[str], python: str, platforms: list[str]) -> str:
    """Ask pip to resolve dependencies for another system; returns what went wrong, nothing where all is well."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--target", target, "--only-binary=:all:", "--python-version", python]
        command += ["--implementation", "cp", *(f"--platform={platform}" for platform in platforms)]
        done = subprocess.run([*command, *dependencies], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "; ".join(errors or [done.stderr[-500:]]) if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
