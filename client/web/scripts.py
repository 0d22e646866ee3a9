"""The script of a job in the API: its voices name uploaded parts, never paths or addresses. Opens no media."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from client.errors import UsageError
from client.options import MODEL
from client.scene.diarization import DIARIZATION
from client.scene.documents import parse_json, shown
from client.scene.scene import Scene, Voice
from client.scene.script import SPEAKER_BOXES, scene_of
from client.storage.disk import DiskGuard
from client.web.job_settings import AUDIO_FILE, SCRIPT_FILE, VOICE_FILES
from client.web.media_probe import MediaFacts
from client.web.problem_kinds import UNUSABLE, WRONG_SCRIPT
from client.web.problems import ProblemError

SCRIPT = "script"  # the field of a request
MAX_SCRIPT_BYTES = 1_000_000
VOICES = (AUDIO_FILE, *VOICE_FILES)  # parts that a script may name
FILES_OF_A_SCRIPT = {  # property -> what it has to be here
    DIARIZATION: "a list of turns {speaker, start, end}",
    SPEAKER_BOXES: "no file of boxes in the API",
}


@dataclass(frozen=True)
class WebScript:
    """A script that was sent.

    Attributes:
        text: the document.
        scene: what it says; the paths of voices are names of parts.
    """

    text: str
    scene: Scene

    @property
    def voices(self) -> tuple[str, ...]:
        """The parts that it names, each once."""
        return tuple(map(str, self.scene.files))

    @property
    def models(self) -> tuple[str, ...]:
        """The pipelines that speakers and segments choose themselves, each once."""
        speakers = self.scene.speakers
        chosen = [speaker.options for speaker in speakers]
        chosen += [segment.options for speaker in speakers for segment in speaker.segments]
        return tuple(dict.fromkeys(options[MODEL] for options in chosen if MODEL.name in options.chosen))


def read_script(text: str) -> WebScript:
    """Read a script that was sent.

    Raises:
        ProblemError: 422, it breaks a rule, or names a path or an address; the place is named.
    """
    try:
        return parse_script(text)
    except UsageError as error:
        raise ProblemError.of(WRONG_SCRIPT, [error]) from error


def parse_script(text: str) -> WebScript:
    """Read a script.

    Raises:
        UsageError: it breaks a rule, or names a path or an address; the place is named.
    """
    document = parse_json(text, SCRIPT)
    if isinstance(document, dict):
        for name, expected in FILES_OF_A_SCRIPT.items():
            if isinstance(document.get(name), str):
                advice = f"Write the turns of {DIARIZATION} into the script"
                raise UsageError(about=name, expected=expected, got="the name of a file", advice=advice)
    return WebScript(text, scene_of(document, SCRIPT, _part_named))


def store_script(script: WebScript, folder: Path, disk: DiskGuard) -> None:
    """Write a script into a job's folder, so that it survives a power cut.

    Raises:
        DiskFull: there is no room for it.
    """
    with disk.writing(), (folder / SCRIPT_FILE).open("x", encoding="utf-8") as file:
        file.write(script.text)
        file.flush()
        os.fsync(file.fileno())


def stored_script(folder: Path) -> WebScript | None:
    """Return the script in a job's folder; None if it has none."""
    file = folder / SCRIPT_FILE
    return parse_script(file.read_text(encoding="utf-8")) if file.is_file() else None


def check_parts(script: WebScript | None, given: Collection[str], prefix: str = "") -> None:
    """Check that the voices that a script names were sent, and no others.

    Args:
        script: the script; None for a job with `audio` alone.
        given: the parts that were sent, among others.
        prefix: what the request calls the parts, before their names.

    Raises:
        ProblemError: 422, one is missing, or is not named.
    """
    named = (AUDIO_FILE,) if script is None else script.voices
    for name in named:
        if name not in given:
            people = f"The script names the part {name}, which is missing. Add it."
            expected = "a file, which the script names"
            raise ProblemError(
                UNUSABLE, name=prefix + name, expected=expected, got="none", advice="Add it", people=people
            )
    for name in VOICES:
        if name in given and name not in named:
            advice = "Name it in the script, or leave it out"
            expected = "a script that names it" if script is None else "no file, as the script does not name it"
            raise ProblemError(UNUSABLE, name=prefix + name, expected=expected, got="one without", advice=advice)


def spoken_until_s(scene: Scene, facts: dict[str, MediaFacts]) -> tuple[str, float | None]:
    """Return the voice that ends last, and when that is in the result; None where no length is known.

    Args:
        scene: the script's scene.
        facts: part -> what is known of its file.
    """
    ends = [(name, end_s) for speaker in scene.speakers for name, end_s in [_end_of(speaker.voice, facts)]]
    known = [(end_s, name) for name, end_s in ends if end_s is not None]
    end_s, name = max(known, default=(None, ends[0][0]))
    return name, end_s


def _end_of(voice: Voice, facts: dict[str, MediaFacts]) -> tuple[str, float | None]:
    name = str(voice.path)
    length_s = facts[name].length_s
    ends = [end_s for end_s in (length_s, voice.end_s) if end_s is not None]
    return name, max(min(ends) - voice.start_s + voice.offset_s, 0.0) if ends else None


def _part_named(name: str) -> Path:
    if name not in VOICES:
        expected = f"the name of an uploaded part ({AUDIO_FILE}, {VOICE_FILES[0]} ...)"
        raise UsageError(expected=expected, got=shown(name))
    return Path(name)
