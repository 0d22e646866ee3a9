"""Whether an interrupted job can continue, and what its finished parts depend on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from client.errors import OutputError, ref
from client.job_options import JobOptions
from client.options import OPTIONS, RESUME, WORK_DIR
from client.resume.work_folder import JOB_FILE, WorkFolder, default_work_dir, file_digest
from client.servers.calls import TritonCalls


def work_dir(options: JobOptions) -> Path:
    """Return the folder of the job's finished parts."""
    return options.values[WORK_DIR] or default_work_dir(options.output)


def wants_folder(options: JobOptions) -> bool:
    """Return whether finished parts are kept: as chosen, else if the pipeline does so or an earlier run left some."""
    chosen = options.values[RESUME]
    if chosen is not None:
        return chosen
    return options.values.has(WORK_DIR) or options.pipeline.keeps_parts or work_dir(options).is_dir()


def open_folder(options: JobOptions, triton: TritonCalls) -> WorkFolder:
    """Open the job's work folder, emptied where inputs, options or models differ from the run that left it.

    Raises:
        OutputError: the folder cannot be used.
    """
    return WorkFolder(work_dir(options), facts_of(options, triton))


def facts_of(options: JobOptions, triton: TritonCalls) -> dict[str, str]:
    """Return everything that the servers' answers depend on, options by their names."""
    facts = {"video": file_digest(options.video), "audio": file_digest(options.audio)}
    for option in OPTIONS:
        if option.changes_answers:
            facts[option.name] = repr(option.write(options.values[option]))
    facts["models on the server"] = " ".join(triton.identity(model) for model in options.needed_models)
    return facts


def changes_of(folder: WorkFolder) -> str:
    """Return what differs from the run that left a folder, for a warning; options by `ref`."""
    options = {option.name for option in OPTIONS}
    return ", ".join(ref(name) if name in options else name for name in folder.changed)


def drop_folder(path: Path) -> None:
    """Remove the folder that an earlier run left, unless it is in use or cannot be removed."""
    if (path / JOB_FILE).is_file():
        with suppress(OutputError):
            WorkFolder(path, {}).remove()
