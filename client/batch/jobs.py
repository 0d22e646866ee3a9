"""Reads the jobs of a batch, a line at a time, so that a file may have any number of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import LipSyncError, MediaError, OutputError, UsageError
from client.job_files import AUDIO, PREPARED, SCRIPT, VIDEO, JobFiles, job_of
from client.job_options import JobOptions
from client.job_urls import StandIns
from client.options import RESUME
from client.prepared.clip import MANIFEST
from client.scene.files import is_path
from client.scene.written import digest, scene_as_json
from client.sound.options import BACKGROUND, SOUNDTRACK
from client.storage.urls import is_s3, is_url, recorded_url, tag_of

Stamp = list[int] | str | None
DIGEST_BYTES = 8  # two of a million outputs have the same digest once in thirty million batches
FILE_KEYS = tuple(field.name for field in dataclasses.fields(JobFiles))
OUTPUT_KEY = "output"


@dataclass(frozen=True)
class BatchJob:
    """One line of a batch.

    Attributes:
        number: the line's number, from 1.
        choices: the line's object, URLs as records have them; empty if it is none.
        options: the job; None if the line cannot be used.
        problem: what is wrong with the line; None if nothing is.
        urls: stand-in in the job -> URL of the file, see `client.job_urls`.
    """

    number: int
    choices: Mapping[str, object]
    options: JobOptions | None = None
    problem: LipSyncError | None = None
    urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call the job."""
        return str(self.choices.get(OUTPUT_KEY, f"line {self.number}"))

    def stamps(self, tags: Mapping[str, str | None] | None = None) -> dict[str, Stamp]:
        """Return what tells later whether the job is still done, but for files of the web, which are not asked for.

        That is size and time of paths, the tag of files in S3, and the hash of a script.

        Args:
            tags: the tags as the job found them; None to ask the storage.

        Raises:
            StorageUnavailable: the storage does not answer.
        """
        fields = _by_option_name(self.choices)
        places = {key: str(fields[key]) for key in FILE_KEYS if key in fields}
        if PREPARED in places:
            places[PREPARED] = str(Path(places[PREPARED]) / MANIFEST)
        script = None if self.options is None else self.options.script
        if script is not None:
            voices = (self.urls.get(str(path), str(path)) for path in script.files)
            places |= {f"voice {place}": place for place in voices}
        stamps = {key: _stamp(place, tags) for key, place in places.items() if is_s3(place) or not is_url(place)}
        return stamps if script is None else {**stamps, "scene": digest(scene_as_json(script))}


def count_jobs(path: Path) -> int:
    """Count the lines of a file that are jobs, without looking at them.

    Raises:
        UsageError: the file cannot be read.
    """
    return sum(1 for _ in _lines(path))


def read_jobs(path: Path, shared: Mapping[str, object]) -> Iterator[BatchJob]:
    """Read a file of jobs; a line that cannot be used becomes a job that fails.

    Raises:
        UsageError: the file cannot be read.
    """
    outputs: dict[int, int] = {}  # the first line of each, by its path's digest: all that is kept of a line
    for number, line in _lines(path):
        job = _read_job(number, line, shared)
        first = number if job.options is None else outputs.setdefault(_digest_of(job.options.output), number)
        if first != number:
            problem = UsageError(about="output", expected="a file of its own", got=f"that of line {first}")
            job = BatchJob(number, job.choices, problem=problem)
        yield job


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines that are not empty, each with its number."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "no text")
        raise UsageError(option="batch", expected="a readable file of JSON lines", got=f"{path} ({reason})") from error


def _read_job(number: int, line: str, shared: Mapping[str, object]) -> BatchJob:
    choices: Mapping[str, object] = {}
    stand_ins = StandIns()
    try:
        read = _read_object(line)
        choices = _recorded(read)
        fields = _by_option_name(read)
        _check_files(fields)
        files = {key: _path(key, str(fields.pop(key)), stand_ins) for key in FILE_KEYS if key in fields}
        given = _with_stand_ins({RESUME.name: True, **shared, **fields}, stand_ins)
        options = job_of(JobFiles(**files), given, "batch", stand_ins)
        return BatchJob(number, choices, options, urls=stand_ins.urls)
    except (UsageError, MediaError, OutputError) as error:
        stand_ins.name_in(error)
        error.about = ", ".join(filter(None, [error.about, f"line {number}"]))
        return BatchJob(number, choices, problem=error)


def _recorded(choices: Mapping[str, object]) -> dict[str, object]:
    """Return choices with their URLs as records have them, without what may grant access."""
    return {
        name: recorded_url(value) if isinstance(value, str) and is_url(value) else value
        for name, value in choices.items()
    }


def _path(key: str, text: str, stand_ins: StandIns) -> Path:
    """Return the path of a file that a line names, or the stand-in of its URL.

    Raises:
        UsageError: it cannot be named so.
        AddressRefused: it is no address of the public web.
    """
    if key == OUTPUT_KEY:
        return stand_ins.result(text)
    if key in (VIDEO, AUDIO):
        return stand_ins.input(text)
    if is_url(text):
        raise UsageError(about=key, expected="a path", got="a URL")
    return Path(text)


def _with_stand_ins(given: Mapping[str, object], stand_ins: StandIns) -> dict[str, object]:
    """Return options with stand-ins for the sounds that URLs name.

    Raises:
        UsageError: a URL cannot be used.
        AddressRefused: it is no address of the public web.
    """
    named = {name: str(given.get(name, "")) for name in (SOUNDTRACK.name, BACKGROUND.name)}
    return {**given, **{name: str(stand_ins.input(text)) for name, text in named.items() if is_url(text)}}


def _read_object(line: str) -> Mapping[str, object]:
    """Return a line's object.

    Raises:
        UsageError: the line holds something else.
    """
    try:
        choices = json.loads(line)
    except (ValueError, RecursionError):
        choices = None
    if not isinstance(choices, dict):
        raise UsageError(expected="a JSON object", got=repr(line[:80]))
    return choices


def _by_option_name(choices: Mapping[str, object]) -> dict[str, object]:
    """Return a line's fields by the names of options, which the command line spells with dashes."""
    return {name.replace("-", "_"): value for name, value in choices.items()}


def _check_files(fields: Mapping[str, object]) -> None:
    """Check that a line names the files that it needs.

    Raises:
        UsageError: it does not, or no file can have such a name.
    """
    named = [key for key in FILE_KEYS if key in fields]
    required = _required_keys(fields)
    missing = [key for key in (*required, *named) if not isinstance(fields.get(key), str)]
    if missing:
        raise UsageError(expected=", ".join(dict.fromkeys([*required, *missing])), got=f"no {missing[0]}")
    if not all(is_path(str(fields[key])) for key in named):
        raise UsageError(expected="paths that files can have", got="NUL or characters that cannot be encoded")


def _required_keys(fields: Mapping[str, object]) -> tuple[str, str, str]:
    """Return the names of the files that a line needs: the picture's source, what is said, the output.

    Raises:
        UsageError: the line gives both a video and a prepared clip.
    """
    if PREPARED in fields and VIDEO in fields:
        raise UsageError(expected=f"{VIDEO} or {PREPARED}", got="both")
    return PREPARED if PREPARED in fields else VIDEO, SCRIPT if SCRIPT in fields else AUDIO, OUTPUT_KEY


def _digest_of(output: Path) -> int:
    real = os.fsencode(os.path.realpath(output))
    return int.from_bytes(hashlib.blake2b(real, digest_size=DIGEST_BYTES).digest())


def _stamp(place: str, tags: Mapping[str, str | None] | None) -> Stamp:
    if is_s3(place):
        return tag_of(place) if tags is None else tags.get(place)
    try:
        status = Path(place).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
