"""Runs mypy once over the packages and every model.py."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("model_repository/*/1/model.py", "lipsync_core/serving/backends/*/model.py")
PACKAGE = "served"


def main() -> int:
    """Return 0 if mypy finds no error, else its exit status."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    with tempfile.TemporaryDirectory() as folder:
        links = link_models(Path(folder) / PACKAGE)
        command = [sys.executable, "-m", "mypy", *(f"--package={name}" for name in (*packages, PACKAGE))]
        environment = os.environ | {"MYPYPATH": folder}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = result.stdout + result.stderr
    for link, model in links.items():
        said = said.replace(os.path.relpath(link, ROOT), str(model)).replace(str(link), str(model))
    print(said, end="")
    return result.returncode


def link_models(package: Path) -> dict[Path, Path]:
    """Give every model.py a name of its own, since two modules of one name cannot share a run.

    Args:
        package: folder to create, with one link for each model.

    Returns:
        link -> model.py, relative to the checkout.
    """
    package.mkdir()
    (package / "__init__.py").touch()
    links = {}
    for model in sorted(path for pattern in MODELS for path in ROOT.glob(pattern)):
        link = package / f"{model.relative_to(ROOT).parts[-3 if model.parent.name == '1' else -2]}.py"
        link.symlink_to(model)
        links[link] = model.relative_to(ROOT)
    return links


if __name__ == "__main__":
    sys.exit(main())
