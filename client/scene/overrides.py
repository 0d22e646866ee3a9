"""The options that speakers and segments of a scene choose for themselves, beside the job's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from client.errors import UsageError, by_name, spelled
from client.option import Option, OptionValues
from client.options import MODEL, check_options, options_of_pipelines, pipelines_of
from client.pipelines import PIPELINES, pipeline_named
from client.pipelines.face_options import DETECTOR, FACE_BOX
from client.pipelines.silence_options import IN_SILENCE
from client.scene.scene import Scene, Segment, Speaker

NONE = OptionValues()
OF_THE_JOB = (DETECTOR, FACE_BOX)  # faces are found once, for all speakers
OVERRIDES: tuple[Option[Any], ...] = (
    MODEL,
    IN_SILENCE,
    *(option for option in options_of_pipelines(PIPELINES) if option not in OF_THE_JOB),
)


def values_of(job: OptionValues, speaker: Speaker, segment: Segment | None = None) -> OptionValues:
    """Return the options of a speaker's segment: its own, else the speaker's, else the job's.

    Where one of them chooses another pipeline, the options of the former pipeline alone no longer count.
    """
    values = job
    for level in (speaker.options, NONE if segment is None else segment.options):
        values = _overridden(values, level)
    return values


def all_values(job: OptionValues, scene: Scene) -> Iterator[OptionValues]:
    """Yield the options of everybody whose face is changed, each combination once.

    Raises:
        UsageError: options do not go together.
    """
    seen = set()
    for i, speaker in enumerate(scene.speakers):
        for j, segment in enumerate(speaker.segments or (None,)):
            if speaker.face is None and (segment is None or segment.face is None):
                continue
            own = NONE if segment is None else segment.options
            key = frozenset(speaker.options.chosen.items()), frozenset(own.chosen.items())
            if key not in seen:
                seen.add(key)
                values = values_of(job, speaker, segment)
                _check(values, [(f"speakers[{i}].segments[{j}]", own), (f"speakers[{i}]", speaker.options)])
                yield values


def _overridden(values: OptionValues, level: OptionValues) -> OptionValues:
    if not level.chosen:
        return values
    kept = dict(values.chosen)
    if MODEL.name in level.chosen:
        others = _options_of_others(level[MODEL])
        kept = {name: value for name, value in kept.items() if name not in others}
    return OptionValues({**kept, **level.chosen})


def _options_of_others(model: str) -> set[str]:
    pipeline = pipeline_named(model)
    owned = (option for option in OVERRIDES if pipelines_of(option))
    return {option.name for option in owned if pipeline not in pipelines_of(option)}


def _check(values: OptionValues, places: Iterable[tuple[str, OptionValues]]) -> None:
    """Check that options go together; the error names the place in the script that chose them."""
    names = {option.name for option in (*OVERRIDES, *OF_THE_JOB)}
    try:
        check_options(OptionValues({name: value for name, value in values.chosen.items() if name in names}))
    except UsageError as error:
        (name,) = error.options
        for place, level in places:
            if name in level.chosen:
                raise UsageError(
                    about=f"{place}.options.{name}",
                    expected=spelled(error.expected, by_name),
                    got=spelled(error.got, by_name),
                    advice=spelled(error.advice, by_name),
                ) from None
        raise
