"""The job of the files that a command or a line of a batch names: a speech, or a script of who speaks when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.errors import UsageError, ref
from client.job_options import FACE_OPTIONS, JobOptions, faces_named_already
from client.job_urls import StandIns
from client.media import check_output
from client.option import FrontEnd, OptionValues
from client.options import read_options
from client.prepared.options import prepared_job
from client.scene.files import checked_path, files_beside
from client.scene.options import VOICE_CHANNEL
from client.scene.scene import Scene
from client.scene.script import read_script, scene_of

AUDIO, SCRIPT, DIARIZATION, SPEAKER_BOXES = "audio", "script", "diarization", "speaker_boxes"
PREPARED, VIDEO = "prepared", "video"


@dataclass(frozen=True)
class JobFiles:
    """The files of a job.

    Attributes:
        output: the file to write.
        video: the video or still image; None for a prepared clip.
        prepared: the prepared clip in its place.
        audio: the speech; None for a script.
        script: who speaks when, in its place.
        diarization: who speaks when in the audio, as RTTM or JSON.
        speaker_boxes: where the faces of those who speak are, as NVIDIA's LipSync NIM reads it.
    """

    output: Path
    video: Path | None = None
    prepared: Path | None = None
    audio: Path | None = None
    script: Path | None = None
    diarization: Path | None = None
    speaker_boxes: Path | None = None

    @property
    def who_speaks(self) -> tuple[Path, ...]:
        """The files that say who speaks when."""
        named = (self.script, self.diarization, self.speaker_boxes)
        return tuple(path for path in named if path is not None)

    @property
    def says_who_speaks(self) -> str:
        """Name of the file that says who speaks when, as an option; empty for one speech of one face."""
        named = {SCRIPT: self.script, DIARIZATION: self.diarization, SPEAKER_BOXES: self.speaker_boxes}
        return next((name for name, path in named.items() if path is not None), "")


def job_of(
    files: JobFiles,
    given: Mapping[str, object],
    front_end: FrontEnd | None = None,
    stand_ins: StandIns | None = None,
) -> JobOptions:
    """Return the job of some files.

    Args:
        files: the files.
        given: options by their names, as texts or JSON values.
        front_end: where they come from; None for any.
        stand_ins: the files that URLs name, among which those of a script are put; None where paths alone are taken.

    Raises:
        UsageError: files or options do not go together, or a value or a script cannot be used.
        MediaError: the folder is no prepared clip.
        OutputError: the output would replace the file that says who speaks, or cannot be written.
    """
    _check_voice(files)
    if files.says_who_speaks:
        return _job_of_scene(files, given, front_end, stand_ins)
    assert files.audio is not None
    if files.prepared is not None:
        return prepared_job(files.prepared, files.audio, files.output, given, front_end)
    assert files.video is not None
    return JobOptions(files.video, files.audio, files.output, read_options(given, front_end))


def _job_of_scene(
    files: JobFiles, given: Mapping[str, object], front_end: FrontEnd | None, stand_ins: StandIns | None
) -> JobOptions:
    name = files.says_who_speaks
    if stand_ins is None or files.output != stand_ins.output:
        check_output(files.output, files.who_speaks)
    if files.video is None:
        expected, advice = f"{ref(VIDEO)} beside {ref(name)}", "Prepared clips are made for one face"
        raise UsageError(expected=expected, got=ref(PREPARED), advice=advice)
    for option in FACE_OPTIONS:
        if option.name in given:
            raise faces_named_already(option, name)
    if files.script is not None and VOICE_CHANNEL.name in given:
        raise channels_named_already()
    values = read_options(given, front_end)
    return JobOptions(files.video, None, files.output, values, script=read_scene(files, values, stand_ins))


def channels_named_already() -> UsageError:
    """Return the error of a channel for all voices, where a script names those of each."""
    advice = "Give the channel of each voice in the script"
    return UsageError(expected=f"no {ref(VOICE_CHANNEL.name)} beside {ref(SCRIPT)}", got="both", advice=advice)


def read_scene(files: JobFiles, values: OptionValues, stand_ins: StandIns | None = None) -> Scene:
    """Read who speaks when from a script, or from a diarization or boxes that belong to the audio.

    Raises:
        UsageError: the script, or a file that it names, cannot be read or breaks a rule.
    """
    if files.script is not None:
        return read_script(files.script, files_beside if stand_ins is None else stand_ins.beside)
    document: dict[str, object] = {"voice": {"file": str(files.audio), "channel": values[VOICE_CHANNEL]}}
    for name, path in ((DIARIZATION, files.diarization), (SPEAKER_BOXES, files.speaker_boxes)):
        if path is not None:
            document[name] = str(path)
    return scene_of(document, files.says_who_speaks, checked_path)


def _check_voice(files: JobFiles) -> None:
    """Check that the files say in one way what is said, and who says it.

    Raises:
        UsageError: they do not.
    """
    if files.audio is not None and files.script is not None:
        advice = "The script names the voices"
        raise UsageError(expected=f"{ref(AUDIO)} or {ref(SCRIPT)}", got="both", advice=advice)
    for name, path in ((DIARIZATION, files.diarization), (SPEAKER_BOXES, files.speaker_boxes)):
        if path is not None and files.script is not None:
            advice = "Name the file in the script"
            raise UsageError(expected=f"{ref(AUDIO)} beside {ref(name)}", got=ref(SCRIPT), advice=advice)
    if files.diarization is not None and files.speaker_boxes is not None:
        raise UsageError(expected=f"{ref(DIARIZATION)} or {ref(SPEAKER_BOXES)}", got="both")
    if files.audio is None and files.script is None:
        raise UsageError(expected=f"{ref(AUDIO)} or {ref(SCRIPT)}", got="neither")
