"""Checks a document against the schema of scripts; the first thing that is wrong becomes one line."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from client.errors import UsageError
from client.scene.documents import place, shown
from client.scene.schema import Schema, scene_schema

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

SEEN_ERRORS = 100  # of a document, among which the one that is shown is chosen


def check_document(document: object, name: str, part: str = "") -> None:
    """Check a document.

    Args:
        document: the parsed JSON.
        name: what messages call the document where it is wrong as a whole.
        part: the property of a script that the document stands for; empty for a whole script.

    Raises:
        UsageError: it breaks a rule.
    """
    errors = list(itertools.islice(_validator(part).iter_errors(document), SEEN_ERRORS))
    if errors:
        raise _as_usage_error(_first(errors), name, (part,) if part else ())


@cache
def _validator(part: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  (jobs without a script do without it)

    schema = _without_references(scene_schema(), scene_schema()["$defs"])  # jsonschema is slow at following them
    return Draft202012Validator(schema["properties"][part] if part else schema)


def _without_references(rule: Any, definitions: dict[str, Schema]) -> Any:
    """Put what references lead to in their places; no rule refers to itself."""
    if isinstance(rule, list):
        return [_without_references(item, definitions) for item in rule]
    if not isinstance(rule, dict):
        return rule
    target = definitions[rule["$ref"].rpartition("/")[2]] if "$ref" in rule else {}
    own = {key: value for key, value in rule.items() if key not in ("$ref", "$defs")}
    return {key: _without_references(value, definitions) for key, value in {**target, **own}.items()}


def _first(errors: Iterable[ValidationError]) -> ValidationError:
    """Choose a misspelt key, which is why another is missing, else what is wrong first."""
    return min(errors, key=lambda error: error.validator != "additionalProperties")


def _as_usage_error(error: ValidationError, name: str, root: tuple[str, ...]) -> UsageError:
    path = (*root, *error.absolute_path)
    rule: Schema = error.schema
    if error.validator == "additionalProperties":
        return _unknown_key(error.instance, rule["properties"], path)
    if error.validator == "required":
        missing = next(key for key in rule["required"] if key not in error.instance)
        expected = rule["properties"][missing]["title"]
        return UsageError(about=place((*path, missing)), expected=expected, got="nothing")
    if error.validator == "anyOf":
        return UsageError(about=place(path) or name, expected=rule["title"], got=_keys(error.instance))
    return UsageError(about=place(path) or name, expected=rule["title"], got=shown(error.instance))


def _unknown_key(found: dict[str, Any], known: dict[str, Any], path: tuple[str | int, ...]) -> UsageError:
    key = next(key for key in found if key not in known)
    similar = difflib.get_close_matches(key[:100], known, n=1)
    return UsageError(
        about=place((*path, key[:100])),
        expected=f"one of {', '.join(known)}",
        got="an unknown key",
        advice=f"Did you mean {similar[0]}?" if similar else "",
    )


def _keys(found: dict[str, Any]) -> str:
    return ", ".join(map(shown, itertools.islice(found, 5))) or "an empty object"
