"""What is to be prepared, and what a job on a prepared clip may still choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import MediaError, UsageError
from client.job_options import JobOptions
from client.option import FrontEnd, Option, OptionValues
from client.option_kinds import Json
from client.options import END, FACE, MODEL, OPTIONS, START, check_options, read_each, read_options
from client.pipeline import FaceAnalysis, Pipeline
from client.pipelines import PIPELINES, pipeline_named
from client.pipelines.face_options import DETECTOR, FACE_BOX
from client.prepared.clip import AGAIN, PreparedClip
from client.servers.calls import TritonCalls
from client.tracking.finder import MEDIAPIPE, Detector, detector_named

FOLDER_SUFFIX = ".prepared"


@dataclass(frozen=True)
class PreparationOptions:
    """A clip to prepare.

    Attributes:
        video: the video or still image.
        folder: the folder to write.
        values: the options that the preparation depends on.
    """

    video: Path
    folder: Path
    values: OptionValues

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that it is prepared for."""
        return pipeline_named(self.values[MODEL])

    @property
    def detector(self) -> Detector:
        """The face detector."""
        return detector_named(self.values[DETECTOR])

    @property
    def kept_values(self) -> dict[str, Json]:
        """Option name -> value, of all options that the preparation depends on, defaults included."""
        return self.values.as_json(clip_options(self.pipeline))

    @property
    def needed_models(self) -> tuple[str, ...]:
        """Names of the models on the server that are asked."""
        return _asked_models(self.values)

    def make_analysis(self, triton: TritonCalls) -> FaceAnalysis | None:
        """Return what the pipeline asks about each face; None where it asks nothing."""
        make = self.pipeline.make_analysis
        return None if make is None else make(triton, self.values)


def clip_options(pipeline: Pipeline) -> tuple[Option[Any], ...]:
    """Return the options that a clip's preparation for a pipeline depends on."""
    return (MODEL, FACE, START, END, *pipeline.clip_options)


def all_clip_options() -> tuple[Option[Any], ...]:
    """Return the options that the preparation for any pipeline depends on, in the order of the table."""
    names = {option.name for pipeline in PIPELINES for option in clip_options(pipeline)}
    return tuple(option for option in OPTIONS if option.name in names)


def asked_models(clip: PreparedClip) -> tuple[str, ...]:
    """Return the names of the models that were asked about a clip.

    Raises:
        MediaError: it was prepared with options that are not known here.
    """
    return _asked_models(kept_values(clip))


def kept_values(clip: PreparedClip) -> OptionValues:
    """Return the options that a clip was prepared with.

    Raises:
        MediaError: they are not known here.
    """
    try:
        return read_each(clip.manifest.options)
    except UsageError as error:
        raise MediaError(about=clip.folder, expected="options of this version", got=error, advice=AGAIN) from error


def _asked_models(values: OptionValues) -> tuple[str, ...]:
    found = () if values[FACE_BOX] is not None else (detector_named(values[DETECTOR]).model,)
    return tuple(dict.fromkeys([MEDIAPIPE.model, *found, *pipeline_named(values[MODEL]).analysis_models]))


def read_preparation(video: Path, folder: Path, given: Mapping[str, object]) -> PreparationOptions:
    """Read what is to be prepared from options by their names, as texts.

    Raises:
        UsageError: an option is unknown, its value cannot be used, or the preparation does not depend on it.
    """
    values = read_options(given)
    pipeline = pipeline_named(values[MODEL])
    kept = {option.name for option in clip_options(pipeline)}
    for name in given:
        if name not in kept:
            raise UsageError(
                option=name,
                expected=f"an option that the analysis for {pipeline.name} depends on",
                got="another one",
                advice="Leave it out here; the jobs may choose it",
            )
    if values[FACE].rule == "auto":
        raise UsageError(
            option=FACE.name,
            expected="a face that does not depend on who speaks",
            got="auto",
            advice="Choose one, such as largest",
        )
    return PreparationOptions(video, folder, values)


def prepared_job(
    folder: Path, audio: Path, output: Path, given: Mapping[str, object], front_end: FrontEnd | None = None
) -> JobOptions:
    """Make a job on a prepared clip.

    Args:
        folder: the prepared clip.
        audio: the speech.
        output: the file to write.
        given: options by their names, as texts or JSON values.
        front_end: where they come from; None for any.

    Raises:
        MediaError: the folder is no prepared clip.
        UsageError: an option cannot be used, or differs from what the clip was prepared with.
    """
    clip = PreparedClip(folder)
    return JobOptions(clip.video, audio, output, values_for(clip, given, front_end), prepared=folder)


def values_for(clip: PreparedClip, given: Mapping[str, object], front_end: FrontEnd | None = None) -> OptionValues:
    """Return the options of what is made of a clip.

    Args:
        clip: the prepared clip.
        given: options by their names, as texts or JSON values.
        front_end: where they come from; None for any.

    Raises:
        MediaError: the clip was prepared with options that are not known here.
        UsageError: an option cannot be used, or differs from what the clip was prepared with.
    """
    chosen, fixed = read_each(given, front_end), kept_values(clip)
    for option in OPTIONS:
        held, asked = option.write(fixed[option]), option.write(chosen[option])
        if option.name in chosen.chosen and option.name in fixed.chosen and asked != held:
            raise UsageError(
                option=option.name,
                expected=f"{option.default_text if held is None else held}, which the clip was prepared with",
                got=option.default_text if asked is None else asked,
                advice="Leave it out, or prepare the clip again",
            )
    values = OptionValues({**chosen.chosen, **fixed.chosen})
    check_options(values)
    return values
