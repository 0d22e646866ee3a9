"""Whether a job can go on where an earlier run of it ended, and what its kept answers depend on."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from client.errors import OutputError
from client.resume.work_folder import JOB_FILE, WorkFolder, default_work_dir, file_digest
from client.servers.calls import TritonCalls

if TYPE_CHECKING:
    from client.job import JobOptions

DEAR_MODELS = ("latentsync",)  # a chunk takes seconds to minutes: worth keeping from the first run on
# What may change without changing any answer: where the result goes, how it is encoded, and these choices themselves.
FREE_OPTIONS = frozenset(
    ("video", "audio", "output", "codec", "crf", "preset", "lossless", "resume", "work_dir", "job_id")
)


def work_dir(options: JobOptions) -> Path:
    """Return the folder that the options mean."""
    return options.work_dir or default_work_dir(options.output)


def wants_folder(options: JobOptions) -> bool:
    """Say whether answers are kept: as asked for, else where an earlier run left some or the model is dear."""
    if options.resume is not None:
        return options.resume
    return options.work_dir is not None or options.model in DEAR_MODELS or work_dir(options).is_dir()


def open_folder(options: JobOptions, triton: TritonCalls) -> WorkFolder:
    """Open the job's work folder, emptied where inputs, options or models differ from the run that left it.

    Raises:
        OutputError: the folder cannot be used.
    """
    return WorkFolder(work_dir(options), facts_of(options, triton))


def facts_of(options: JobOptions, triton: TritonCalls) -> dict[str, str]:
    """Write down all that the answers depend on, by names for people."""
    facts = {"video": file_digest(options.video), "audio": file_digest(options.audio)}
    for field in dataclasses.fields(options):
        if field.name not in FREE_OPTIONS:
            facts[field.name.removesuffix("_s").replace("_", "-")] = repr(getattr(options, field.name))
    facts["models on the server"] = " ".join(triton.identity(model) for model in options.needed_models)
    return facts


def drop_folder(path: Path) -> None:
    """Remove what an earlier run left and nobody needs any more; what is in use or cannot be removed stays."""
    if (path / JOB_FILE).is_file():
        with suppress(OutputError):
            WorkFolder(path, {}).remove()
