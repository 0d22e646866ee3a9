"""`lipsync web`: serves the page and the API; the same as `python -m client.web`."""

from __future__ import annotations

from collections.abc import Sequence

from client.errors import UsageError

EXTRA = "web"


def web_command(arguments: Sequence[str]) -> int:
    """Serve the page until interrupted; returns the exit code.

    Raises:
        UsageError: the packages of the web service are not installed.
    """
    try:
        from client.web.__main__ import main  # noqa: PLC0415  (its packages are optional)
    except ModuleNotFoundError as error:
        raise UsageError(
            about="web",
            expected="the packages of the web service",
            got=f"no {error.name}",
            advice=f"Install them with: pip install 'lipsync-triton[{EXTRA}]'",
        ) from error
    return main(arguments)
