"""`lipsync web`: serves the page and the API; the same as `python -m client.web`."""

from __future__ import annotations

from collections.abc import Sequence


def web_command(arguments: Sequence[str]) -> int:
    """Serve the page until interrupted; returns the exit code.

    Raises:
        SystemExit: the packages of the web service are not installed.
    """
    from client.web.__main__ import main  # noqa: PLC0415  (its packages are optional)

    return main(arguments)
