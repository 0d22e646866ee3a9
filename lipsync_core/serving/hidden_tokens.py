"""Takes the tokens from a tritonserver's arguments, where `ps` shows them, once the server has read them; on Linux."""

from __future__ import annotations

from pathlib import Path

from lipsync_core.serving.access import RESTRICTING_OPTIONS

ARGUMENTS_FIELD = 48  # of /proc/PID/stat: where the arguments begin, and next to it where they end; source: man 5 proc
HIDDEN = b"*"


def hide_tokens(pid: int) -> None:
    """Overwrite the tokens among the arguments of a child process.

    Args:
        pid: A process of the same user, which has read its arguments and does not read them again.

    Raises:
        OSError: The process has ended, or the system does not let its parent do this.
    """
    process = Path(f"/proc/{pid}")
    fields = process.joinpath("stat").read_text().rpartition(")")[2].split()
    begin, end = map(int, fields[ARGUMENTS_FIELD - 3 : ARGUMENTS_FIELD - 1])  # the first two stand before the split
    with process.joinpath("mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        arguments = memory.read(end - begin)
        memory.seek(begin)
        memory.write(b"\0".join(map(_without_token, arguments.split(b"\0"))))


def _without_token(argument: bytes) -> bytes:
    """Return an argument of the same length, its token overwritten if it has one."""
    if not argument.startswith(tuple(option.encode() for option in RESTRICTING_OPTIONS)):
        return argument
    calls, separator, header = argument.partition(b":")
    name, equals, token = header.partition(b"=")
    return calls + separator + name + equals + HIDDEN * len(token)
