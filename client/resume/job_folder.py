"""Whether an interrupted job can continue, and what its finished parts depend on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from client.errors import OutputError, ref
from client.job_options import JobOptions
from client.options import OPTIONS, RESUME, WORK_DIR
from client.resume.job_part import FOLDER, JobPart
from client.resume.work_folder import JOB_FILE, WorkFolder, default_work_dir, file_digest
from client.scene.written import speaker_facts
from client.servers.calls import TritonCalls


def work_dir(options: JobOptions) -> Path:
    """Return the folder of the job's finished parts."""
    return options.values[WORK_DIR] or default_work_dir(options.output)


def wants_folder(options: JobOptions) -> bool:
    """Return whether finished parts are kept: as chosen, else if the pipeline does so or an earlier run left some."""
    chosen = options.values[RESUME]
    if chosen is not None:
        return chosen
    keeps_parts = any(pipeline.keeps_parts for pipeline in options.pipelines)
    return options.values.has(WORK_DIR) or keeps_parts or work_dir(options).is_dir()


def open_folder(options: JobOptions, triton: TritonCalls, part: JobPart | None = None) -> WorkFolder:
    """Open the job's work folder, emptied where inputs, options or models differ from the run that left it.

    It takes over what was drawn in parts; the folder of a part finds there what all parts need.

    Raises:
        OutputError: the folder cannot be used.
    """
    path, facts = work_dir(options), facts_of(options, triton)
    if part is not None and part.index is not None:
        return WorkFolder(part.folder(path), facts, beside=path)
    folder = WorkFolder(path, facts)
    for drawn in sorted(path.glob(f"{FOLDER}*")):
        with WorkFolder(drawn, facts) as other:
            folder.take_over(other)
    return folder


def facts_of(options: JobOptions, triton: TritonCalls) -> dict[str, str]:
    """Return everything that the servers' answers depend on, options by their names."""
    facts = {"video": file_digest(options.video), **_facts_of_voices(options)}
    for option in OPTIONS:
        if option.changes_answers:
            facts[option.name] = repr(option.write(options.values[option]))
    facts["models on the server"] = " ".join(triton.identity(model) for model in options.needed_models)
    return facts


def _facts_of_voices(options: JobOptions) -> dict[str, str]:
    if options.script is None:
        assert options.audio is not None
        return {"audio": file_digest(options.audio)}
    digests = {path: file_digest(path) for path in options.script.files}
    voices = {f"the voice of {speaker.name}": digests[speaker.voice.path] for speaker in options.script.speakers}
    return {**voices, **speaker_facts(options.script)}


def changes_of(folder: WorkFolder) -> str:
    """Return what differs from the run that left a folder, for a warning; options by `ref`."""
    options = {option.name for option in OPTIONS}
    return ", ".join(ref(name) if name in options else name for name in folder.changed)


def drop_folder(path: Path) -> None:
    """Remove the folder that an earlier run left, unless it is in use or cannot be removed."""
    for part in path.glob(f"{FOLDER}*"):
        drop_folder(part)
    if (path / JOB_FILE).is_file():
        with suppress(OutputError):
            WorkFolder(path, {}).remove()
