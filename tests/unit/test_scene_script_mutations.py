from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.errors import UsageError
from client.scene.scene import Scene
from client.scene.script import parse_script
from client.scene.written import scene_as_json
from tests.scene_scripts import WHOLE, scene_of


@st.composite
def mutations(draw: st.DrawFn) -> object:
    """A valid script with one thing replaced, removed or added somewhere."""
    document = json.loads(json.dumps(WHOLE))
    holder, key = draw(st.sampled_from(list(_places(document))))
    values = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 10**30), st.floats(allow_nan=False), st.text(max_size=9),
        st.just([]), st.just({}), st.just([[1, 2]]), st.just({"start": 3}), st.just([0, 0, 9, 9]),
    )  # fmt: skip
    how = draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "remove":
        del holder[key]
    elif how == "replace":
        holder[key] = draw(values)
    elif isinstance(holder, list):
        holder.insert(key, draw(values))
    else:
        holder[draw(st.text(max_size=9))] = draw(values)
    return document


def _places(value: Any) -> Any:
    """Yield each list or object with each of its keys."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def read(document: object) -> tuple[Scene | None, str]:
    """Return a script's scene, or the line in which it is refused."""
    try:
        return scene_of(document), ""
    except UsageError as error:
        return None, str(error)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(mutations())
def test_every_mutation_is_a_scene_or_one_line(document: object) -> None:
    """No script raises anything else, whatever is wrong with it."""
    scene, line = read(document)
    assert scene is None or scene_of(scene_as_json(scene)) == scene
    assert line.isprintable()
    assert len(line) < 600


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_scene_or_one_line(content: bytes) -> None:
    """Files that are no scripts fail in one line too."""
    with pytest.raises(UsageError) as caught:
        parse_script(content, "scene.json", Path)
    assert len(str(caught.value).splitlines()) == 1
