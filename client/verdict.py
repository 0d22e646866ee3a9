"""Whether a job did what it was asked for, judged by what became of its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from client.errors import NoFaceError, ref
from client.job_options import JobOptions
from client.lanes.lane import LanePlan
from client.options import FACE
from client.pipelines.silence_options import IN_SILENCE
from client.report import Report
from lipsync_core.reasons import Reason

AS_ASKED = {Reason.NOT_SPEAKING.key, Reason.LEFT_ALONE.key}


def check_result(report: Report, options: JobOptions, lanes: Sequence[LanePlan], *, found_speech: bool) -> None:
    """Check that a job did something, and warn where it rightly did nothing.

    Without speech, unless the model is to draw then too, unchanged frames are right. So are frames in which nobody was
    to be lip-synced.

    Raises:
        NoFaceError: no frame was changed although there is speech.
    """
    is_silent = not found_speech and all(lane.values[IN_SILENCE] != "model" for lane in lanes)
    unchanged = set(report.unchanged)
    if not report.frames_synced:
        if not (unchanged <= AS_ASKED or (is_silent and Reason.SILENCE.key in unchanged)):
            raise _nothing_changed(report, options)
        if unchanged <= AS_ASKED:
            report.warnings.append(f"nothing was lip-synced: {report.reasons()}")
            return
    report.warnings += _never_seen(report, lanes)
    if is_silent:
        report.warnings.append(_no_speech(options))


def _nothing_changed(report: Report, options: JobOptions) -> NoFaceError:
    if list(report.unchanged) == [Reason.NO_FACE.key]:
        where = f"with {ref(FACE.name)}" if options.script is None else "in the script"
        statement = f"no usable face in any of {report.frames} frames"
        advice = f"Check that a face is at least 64 pixels high, or choose another one {where}"
    else:
        statement = f"nothing could be changed in {report.frames} frames: {report.reasons()}"
        advice = "Check that the mouth is in the picture, uncovered, and turned towards the camera"
    return NoFaceError(statement, about=options.video, advice=advice)


def _never_seen(report: Report, lanes: Sequence[LanePlan]) -> Iterator[str]:
    """Name those of several speakers who have a face that no frame shows while they speak."""
    for position, speaker in enumerate(report.speakers):
        has_face = any(lane.speaker == position for lane in lanes)
        if has_face and set(speaker.unchanged) - AS_ASKED == {Reason.NO_FACE.key} and not speaker.frames_synced:
            yield f"{speaker.name}: nothing was lip-synced, as no frame shows this speaker's face"


def _no_speech(options: JobOptions) -> str:
    voices = ", ".join(path.name for path in options.scene.files)
    return (
        f"{voices}: no speech was found, so that the mouth does not move; for singing, set {ref(IN_SILENCE.name)} to"
        " model"
    )
