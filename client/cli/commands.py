"""The commands of `lipsync`, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from client.cli.batch import batch_command
from client.cli.credentials import credentials_command
from client.cli.live import live_command
from client.cli.models import models_command
from client.cli.plan import plan_command
from client.cli.prepare import prepare_command
from client.cli.run import build_parser, run_command
from client.cli.serve import serve_command
from client.cli.verify import verify_command
from client.cli.web import web_command


@dataclass(frozen=True)
class Command:
    """A command: what it does in a line, the function that runs it, and whether its result is what it prints."""

    summary: str
    run: Callable[[Sequence[str]], int]
    only_prints: bool = False


COMMANDS: Mapping[str, Command] = {
    "run": Command("lip-sync one video; the default if no command is given", lambda arguments: _run(arguments)),
    "plan": Command("say what a job would do, without doing it", plan_command),
    "prepare": Command("analyse a clip once, so that further speech costs less", prepare_command),
    "live": Command("show a prepared clip that says what is still being spoken", live_command),
    "batch": Command("run many jobs from a file", batch_command),
    "serve": Command("keep a server running for many jobs with --url", serve_command),
    "web": Command("serve the web page and its API", web_command),
    "models": Command("list the pipelines, and what a server lacks for them", models_command, only_prints=True),
    "verify": Command("say what can be known of a video's origin", verify_command, only_prints=True),
    "credentials": Command("make a certificate that signs results", credentials_command),
}
DEFAULT_COMMAND = "run"
BATCH_FLAG = "--batch"  # `lipsync --batch FILE` is short for `lipsync batch --batch FILE`


def choose_command(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command that arguments ask for, and its own arguments."""
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]], list(arguments[1:])
    is_batch = any(argument.partition("=")[0] == BATCH_FLAG for argument in arguments)
    return COMMANDS["batch" if is_batch else DEFAULT_COMMAND], list(arguments)


def other_commands() -> str:
    """Return the part of the help that lists the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  lipsync {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["", "commands (see lipsync COMMAND --help):", *lines, ""])


def _run(arguments: Sequence[str]) -> int:
    return run_command(arguments, build_parser(other_commands()))
