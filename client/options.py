"""The table of all options of a job. Every front end is made from it: the command line, batch files, the API, the page.

To add an option, add one `Option` here, or to the module of the one pipeline that understands it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from client.errors import UsageError, ref
from client.media import DEFAULT_CRF, DEFAULT_PRESET, PRESETS
from client.media.codecs import AUTOMATIC, CODECS, MAX_CRF
from client.media.decoders import DecoderKind
from client.media.nvenc import EncoderKind
from client.media.progressive import OPTION as PROGRESSIVE_OPTION
from client.media.progressive import SUFFIX as PROGRESSIVE_SUFFIX
from client.media.progressive import check_held
from client.option import COMMAND_LINE, WEB, WITHOUT_FORM, FrontEnd, Option, OptionValues
from client.option_kinds import PATH, Choice, Number, Switch, Text
from client.pipeline import Pipeline
from client.pipelines import DEFAULT_PIPELINE, PIPELINES, pipeline_named
from client.pipelines.face_options import COORDINATE, DETECTOR
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from client.pipelines.live_options import LIVE_WINDOWS
from client.pipelines.silence_options import IN_SILENCE
from client.provenance.options import PROVENANCE_OPTIONS
from client.quality.options import QUALITY_OPTIONS, check_quality
from client.scene.options import SPEAKING, SYNC_ONLY, VOICE_CHANNEL
from client.sound.options import SOUND_OPTIONS, check_sound
from client.tracking.faces import LARGEST, FaceChoice, parse_face_choice, show_face_choice

MAX_FPS = 240
MAX_SECONDS = 1_000_000


def _read_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except ZeroDivisionError:
        raise ValueError from None
    if not 1 <= rate <= MAX_FPS:
        raise ValueError
    return rate


MODEL: Option[str] = Option(
    "model",
    Choice({pipeline.name: pipeline.title for pipeline in PIPELINES}),
    DEFAULT_PIPELINE.name,
    "Pipeline that generates the mouth.",
    "Model",
)
FACE: Option[FaceChoice] = Option(
    "face",
    Text(
        parse_face_choice,
        "auto, largest, left, right, a number counted from the left, X,Y or X1,Y1,X2,Y2 in pixels",
        "largest|auto|left|right|INDEX|X,Y|X1,Y1,X2,Y2",
        rf"(auto|largest|left|right|[0-9]{{1,2}}|{COORDINATE},{COORDINATE}(,{COORDINATE},{COORDINATE})?)",
        "640,210",
        show_face_choice,
        suggestions=("largest", "auto", "left", "right"),
    ),
    LARGEST,
    "Which of several faces: the largest, by position from the left (INDEX 0 is the leftmost), nearest to a point, in a"
    " box, or whoever speaks in the video at the time (auto).",
    "Which face",
    "With several faces: auto, largest, left, right, a number counted from the left, X,Y or X1,Y1,X2,Y2 in pixels.",
)
START: Option[float] = Option(
    "start",
    Number(0, MAX_SECONDS, step=0.1, unit="seconds", placeholder="S"),
    0.0,
    "Start of the part of the video that is used, in seconds.",
    "Start at (seconds)",
)
END: Option[float | None] = Option(
    "end",
    Number(0, MAX_SECONDS, step=0.1, unit="seconds", placeholder="S"),
    None,
    "End of the part of the video that is used, in seconds.",
    "End at (seconds)",
    default_text="the end of the video",
)
FPS: Option[Fraction | None] = Option(
    "fps",
    Text(
        _read_rate,
        f"1 to {MAX_FPS} frames per second, such as 25 or 30000/1001",
        "N",
        r"[0-9]{1,6}(/[0-9]{1,6}|\.[0-9]{1,6})?",
        "30000/1001",
    ),
    None,
    "Constant frame rate of the output, such as 25 or 30000/1001.",
    "Frame rate",
    "Frames per second, such as 25 or 30000/1001.",
    default_text="the source's own timestamps",
)
CONTAINER: Option[str] = Option(
    "container",
    Choice({"mp4": "MP4", "mov": "MOV", "mkv": "MKV", "webm": "WebM"}),
    "mp4",
    "File format of the result.",
    "File format",
    changes_answers=False,
    front_ends=WEB,
)
CODEC: Option[str] = Option(
    "codec",
    Choice({AUTOMATIC: "Automatic", **{codec.name: codec.title for codec in CODECS}}),
    AUTOMATIC,
    "Video codec; auto is h264, hevc for sources of more than 8 bits, vp9 in webm.",
    "Video codec",
    changes_answers=False,
)
CRF: Option[int] = Option(
    "crf",
    Number(0, MAX_CRF, integer=True),
    DEFAULT_CRF,
    "Quality (constant rate factor): lower is better and larger.",
    "Quality",
    f"0 is best and largest, {MAX_CRF} worst; {DEFAULT_CRF} looks like the source.",
    changes_answers=False,
)
PRESET: Option[str] = Option(
    "preset",
    Choice({preset: preset for preset in PRESETS}),
    DEFAULT_PRESET,
    "Encoder preset: slower presets make smaller files.",
    "Encoder preset",
    "Slower presets make smaller files.",
    changes_answers=False,
)
ENCODER: Option[EncoderKind] = Option(
    "encoder",
    Choice({"software": "The processor", "auto": "A graphics card if there is one", "nvenc": "A graphics card"}),
    "software",
    "What encodes: the processor (software), an NVIDIA graphics card if it can (auto), or nothing but such a card"
    " (nvenc). Cards encode h264, hevc and av1 of 8 bits; A100, H100 and H200 encode nothing.",
    "What encodes",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
DECODER: Option[DecoderKind] = Option(
    "decoder",
    Choice({"cpu": "The processor", "auto": "A graphics card if there is one", "nvdec": "A graphics card"}),
    "cpu",
    "What decodes the video: the processor (cpu), an NVIDIA graphics card if one gives the same frames (auto), or"
    " nothing but such a card (nvdec).",
    "What decodes",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
LOSSLESS: Option[bool] = Option(
    "lossless",
    Switch(),
    default=False,
    help="Encode without loss.",
    label="Lossless",
    changes_answers=False,
)
NO_METADATA: Option[bool] = Option(
    "no_metadata",
    Switch(),
    default=False,
    help="Leave out what the video says about itself: title, date, place, device, chapters, cover, attached files and"
    " data. Subtitles and further sounds stay.",
    label="No metadata",
    explanation="Leave out title, date, place, device, chapters and cover.",
    changes_answers=False,
)
PROGRESSIVE: Option[bool | None] = Option(
    PROGRESSIVE_OPTION,
    Switch(),
    None,
    f"While the result is made, write what is ready of it into OUTPUT{PROGRESSIVE_SUFFIX}, which can be played while it"
    " grows and is removed at the end of the job.",
    "Watch while it is made",
    default_text="off; the web service decides for its own jobs, where the format allows it",
    changes_answers=False,
    front_ends=WITHOUT_FORM,
)
RESUME: Option[bool | None] = Option(
    "resume",
    Switch(),
    None,
    "Keep finished parts in a hidden folder beside the output until the job is complete, and continue from those of an"
    " interrupted run.",
    "Resume",
    default_text="enabled for "
    + ", ".join(pipeline.name for pipeline in PIPELINES if pipeline.keeps_parts)
    + ", and if such a folder exists",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)
WORK_DIR: Option[Path | None] = Option(
    "work_dir",
    PATH,
    None,
    f"Folder for finished parts; implies {ref(RESUME.name)}.",
    "Work folder",
    default_text=".OUTPUT.work beside the output",
    changes_answers=False,
    front_ends=COMMAND_LINE,
)


def options_of_pipelines(pipelines: tuple[Pipeline, ...]) -> tuple[Option[Any], ...]:
    """Return the options that belong to one or some of these pipelines, each once."""
    return tuple({option.name: option for pipeline in pipelines for option in pipeline.options}.values())


OPTIONS: tuple[Option[Any], ...] = (
    MODEL,
    FACE,
    SPEAKING,
    START,
    END,
    VOICE_CHANNEL,
    SYNC_ONLY,
    FPS,
    IF_AUDIO_LONGER,
    IF_AUDIO_SHORTER,
    *SOUND_OPTIONS,
    IN_SILENCE,
    LIVE_WINDOWS,
    *options_of_pipelines(PIPELINES),
    CONTAINER,
    CODEC,
    CRF,
    PRESET,
    ENCODER,
    DECODER,
    LOSSLESS,
    NO_METADATA,
    *PROVENANCE_OPTIONS,
    *QUALITY_OPTIONS,
    PROGRESSIVE,
    RESUME,
    WORK_DIR,
)


def options_for_front_end(front_end: FrontEnd) -> tuple[Option[Any], ...]:
    """Return the options that a front end shows, in the order of the table."""
    return tuple(option.shown_in(front_end) for option in OPTIONS if front_end in option.front_ends)


def pipelines_of(option: Option[Any]) -> tuple[Pipeline, ...]:
    """Return the pipelines that an option belongs to; empty for options of all pipelines."""
    return tuple(pipeline for pipeline in PIPELINES if option in pipeline.options)


def understands(pipeline: Pipeline, option: Option[Any], value: object) -> bool:
    """Return whether a pipeline accepts a value of an option; False for values that belong to other pipelines."""
    if option is DETECTOR:
        return value in {detector.name for detector in pipeline.detectors}
    owners = owners_of_choice(option, value)
    return not owners or pipeline in owners


def owners_of_choice(option: Option[Any], value: object) -> tuple[Pipeline, ...]:
    """Return the pipelines that a choice of a common option belongs to; empty for choices of all pipelines."""
    return tuple(pipeline for pipeline in PIPELINES if value in pipeline.own_choices.get(option.name, ()))


def choices_for(pipeline: Pipeline, option: Option[Any]) -> tuple[str | int, ...]:
    """Return the choices of an option that a pipeline accepts; empty for options that are not a choice."""
    values = option.kind.values if isinstance(option.kind, Choice) else ()
    return tuple(value for value in values if understands(pipeline, option, value))


def live_pipelines() -> tuple[Pipeline, ...]:
    """Return the pipelines that can draw speech that is still being spoken."""
    return tuple(pipeline for pipeline in PIPELINES if pipeline.live is not None)


def help_of(option: Option[Any]) -> str:
    """Return an option's help; it says which choices belong to some pipelines only."""
    values = option.kind.values if isinstance(option.kind, Choice) else ()
    owned = {value: owners_of_choice(option, value) for value in values}
    notes = [f" {value}: {names_of(owners)} only." for value, owners in owned.items() if owners]
    return option.help + "".join(notes)


def names_of(pipelines: Iterable[Pipeline]) -> str:
    """Return the pipelines' names as people read them."""
    return " or ".join(pipeline.name for pipeline in pipelines)


def read_options(given: Mapping[str, object], front_end: FrontEnd | None = None) -> OptionValues:
    """Read options from texts or JSON by their names, and check that they go together.

    Args:
        given: option name -> text or JSON value.
        front_end: where they come from; None for any.

    Raises:
        UsageError: an unknown option, a value outside its limits, or options that exclude each other.
    """
    values = read_each(given, front_end)
    check_options(values)
    return values


def read_each(given: Mapping[str, object], front_end: FrontEnd | None = None) -> OptionValues:
    """Read options one by one, as `read_options` does without the check that they go together."""
    known = {option.name: option for option in (options_for_front_end(front_end) if front_end else OPTIONS)}
    for name in given:
        if name not in known:
            raise UsageError(about=name, expected="an option of a job", got="no such option")
    return OptionValues({name: known[name].read(value) for name, value in given.items()})


def check_options(values: OptionValues) -> None:
    """Check that options go together.

    Raises:
        UsageError: they do not.
    """
    pipeline = pipeline_named(values[MODEL])
    for option in OPTIONS:
        owners = pipelines_of(option)
        if owners and pipeline not in owners and values.has(option):
            names = names_of(owners)
            raise UsageError(
                option=option.name,
                expected=f"{ref(MODEL.name)} {names}",
                got=f"{ref(MODEL.name)} {pipeline.name}",
                advice=f"Leave it out, or choose {ref(MODEL.name)} {names}",
            )
        if not understands(pipeline, option, values[option]):
            known = ", ".join(map(str, choices_for(pipeline, option)))
            owners = owners_of_choice(option, values[option])
            raise UsageError(
                option=option.name,
                expected=f"one of {known} for {pipeline.name}",
                got=values[option],
                advice=f"Choose another one, or {ref(MODEL.name)} {names_of(owners)}" if owners else "",
            )
    if values[LIVE_WINDOWS] and pipeline.live is None:
        raise UsageError(
            option=LIVE_WINDOWS.name,
            expected=f"{ref(MODEL.name)} {names_of(live_pipelines())}",
            got=f"{ref(MODEL.name)} {pipeline.name}, which must hear the whole speech",
            advice=f"Leave it out, or choose another {ref(MODEL.name)}",
        )
    end = values[END]
    if end is not None and end <= values[START]:
        raise UsageError(
            option=END.name,
            expected=f"a time after {ref(START.name)} ({values[START]:g} s)",
            got=f"{end:g} s",
            advice="Swap them or leave one out",
        )
    if values[PROGRESSIVE] and values[CODEC] != AUTOMATIC:
        check_held(values[CODEC])
    check_sound(values)
    check_quality(values)
