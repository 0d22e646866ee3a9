"""The page's form: every option of the table that the page shows, with its control, in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from client.media import CONTAINERS
from client.media.codecs import codecs_in
from client.option import Option
from client.options import CODEC, CONTAINER, END, START, options_for_front_end, pipelines_of
from client.web.views import OptionGroup, OptionList, OptionView, OutputFormat


def option_list() -> OptionList:
    """Return the options of the page's form in the order of the table."""
    shown = options_for_front_end("page")
    groups = [
        OptionGroup(title=title, options=[option_view(option) for option in shown if belongs(option)])
        for title, belongs in GROUPS.items()
    ]
    return OptionList(groups=groups, preview_at=START.name, preview_until=END.name)


def output_formats() -> list[OutputFormat]:
    """Return the formats of results, with the codecs that go with each."""
    return [
        OutputFormat(container=str(container), codecs=[CODEC.default, *(codec.name for codec in codecs_in(known))])
        for container in CONTAINER.kind.schema()["enum"]
        if (known := CONTAINERS[f".{container}"])
    ]


def option_view(option: Option[Any]) -> OptionView:
    """Return what a form needs to know of an option."""
    return OptionView.model_validate(
        {
            "name": option.name,
            "label": option.label,
            "explanation": option.explanation,
            "default": option.write(option.default),
            "default_text": option.default_words,
            "control": option.kind.control(),
            "models": [pipeline.name for pipeline in pipelines_of(option)],
        }
    )


def _is_of_some_models(option: Option[Any]) -> bool:
    return bool(pipelines_of(option))


def _is_of_the_file(option: Option[Any]) -> bool:
    return not (option.changes_answers or pipelines_of(option))


def _is_of_the_media(option: Option[Any]) -> bool:
    return option.changes_answers and not pipelines_of(option)


GROUPS: dict[str, Callable[[Option[Any]], bool]] = {  # in the form's order; each option belongs to one
    "Video and audio": _is_of_the_media,
    "Model settings": _is_of_some_models,
    "Result file": _is_of_the_file,
}
