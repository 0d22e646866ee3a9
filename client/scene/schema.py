"""The JSON schema of scripts, made from the option table. A rule's title is what messages expect."""

from __future__ import annotations

from functools import cache
from typing import Any

from client.errors import by_name, spelled
from client.option import Option
from client.option_kinds import Text
from client.options import FACE, MAX_SECONDS, help_of
from client.scene.limits import (
    MAX_CHANNEL,
    MAX_COORDINATE,
    MAX_FACE_INDEX,
    MAX_NAME_LENGTH,
    MAX_PATH_LENGTH,
    MAX_SEGMENTS,
    MAX_SPANS,
    MAX_SPEAKERS,
)
from client.scene.options import VOICE_CHANNELS
from client.scene.overrides import OVERRIDES

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NO_FACE = "none"
TIME: Schema = {"type": "number", "minimum": 0, "maximum": MAX_SECONDS, "title": f"a time from 0 to {MAX_SECONDS} s"}
PIXELS: Schema = {"type": "number", "minimum": -MAX_COORDINATE, "maximum": MAX_COORDINATE}
FILE: Schema = {"minLength": 1, "maxLength": MAX_PATH_LENGTH}


@cache
def scene_schema() -> Schema:
    """Return the schema of a script; do not change it."""
    properties = {
        "$schema": {"type": "string", "title": "the address of this schema", "description": "For editors alone."},
        "voice": _ref("voice", "The voice of all speakers that have none of their own."),
        "speakers": _list(_ref("speaker"), MAX_SPEAKERS, "speakers", "Later ones are drawn over earlier ones."),
        "unchanged": _list(_span(), MAX_SPANS, "spans [start, end]", "When pictures and sound stay the source's."),
        "diarization": {
            **_list(_ref("turn"), MAX_SEGMENTS, "turns {speaker, start, end}, or an RTTM or JSON file of them"),
            **FILE,
            "type": ["string", "array"],
            "description": "Who speaks when in the voice.",
        },
        "speaker_boxes": {
            "type": "string",
            **FILE,
            "title": "a file of speaker data as NVIDIA's LipSync NIM reads it",
            "description": "Where the speakers' faces are, frame by frame.",
        },
    }
    return {
        "$schema": DIALECT,
        "title": "an object with speakers, or with a voice and a diarization or speaker_boxes",
        "description": "Who speaks when in a video: the script of a scene.",
        **_object(properties),
        "anyOf": [{"required": [name]} for name in ("speakers", "diarization", "speaker_boxes")],
        "$defs": {
            "time": TIME,
            "face": _face(),
            "voice": _voice(),
            "options": _options(),
            "segment": _segment(),
            "speaker": _speaker(),
            "turn": _turn(),
        },
    }


def _speaker() -> Schema:
    properties = {
        "name": _name(
            "A name for messages and the report; that of a diarization or of speaker_boxes where there is one."
        ),
        "voice": _ref("voice", "What is said."),
        "face": _ref("face", "Whose lips say it; by default the largest face of the only speaker, of several auto."),
        "segments": _list(
            _ref("segment"), MAX_SEGMENTS, "segments in order", "When; without them the speaker speaks from 0 s on."
        ),
        "options": _ref("options", "Options that differ from the job's."),
    }
    return {"title": "a speaker {name, voice, face, segments, options}", **_object(properties, "name")}


def _segment() -> Schema:
    properties = {
        "start": _ref("time", "When it starts, in seconds of the result."),
        "end": _ref("time", "When it ends; may be missing from the last one, for the end of the video."),
        "face": _ref("face", "Another face than the speaker's."),
        "options": _ref("options", "Options that differ from the speaker's and the job's."),
    }
    return {"title": "a segment {start, end, face, options}", **_object(properties, "start")}


def _turn() -> Schema:
    properties = {
        "speaker": _name("The speaker's name."),
        "start": _ref("time", "When the turn starts, in seconds of the voice's file."),
        "end": _ref("time", "When it ends."),
    }
    return {"title": "a turn {speaker, start, end}", **_object(properties, *properties)}


def _voice() -> Schema:
    file = {"type": "string", **FILE, "title": "a file", "description": "An audio file, or a video with sound."}
    sides = "|".join(VOICE_CHANNELS)
    channel = {
        "type": ["string", "integer"],
        "pattern": f"^({sides})$",
        "minimum": 0,
        "maximum": MAX_CHANNEL,
        "title": f"{', '.join(VOICE_CHANNELS)}, or a channel's number from 0 to {MAX_CHANNEL}",
        "description": "The channel that is used; all are mixed by default.",
    }
    offset = {"type": "number", "minimum": -MAX_SECONDS, "maximum": MAX_SECONDS}
    offset |= {"title": f"a number of seconds from -{MAX_SECONDS} to {MAX_SECONDS}"}
    properties = {
        "file": file,
        "channel": channel,
        "start": _ref("time", "Start of the used part of the file, in seconds."),
        "end": _ref("time", "End of the used part; by default that of the file."),
        "offset": {**offset, "description": "When the used part starts in the result, in seconds; 0 by default."},
    }
    part = _object(properties, "file")
    return {**part, **FILE, "type": ["string", "object"], "title": "a file, or {file, channel, start, end, offset}"}


def _face() -> Schema:
    return {
        "type": ["string", "integer", "array", "null"],
        "pattern": f"^({NO_FACE}|{FACE.kind.schema()['pattern'].removeprefix('^').removesuffix('$')})$",
        "minimum": 0,
        "maximum": MAX_FACE_INDEX,
        "items": {**PIXELS, "title": "a number of pixels"},
        "minItems": 2,
        "maxItems": 4,
        "not": {"type": "array", "minItems": 3, "maxItems": 3},
        "title": f"auto, largest, left, right, {NO_FACE}, an index from the left, [x, y] or [x1, y1, x2, y2] in pixels",
    }


def _options() -> Schema:
    return {
        "title": "an object of options by their names",
        **_object({option.name: _option(option) for option in OVERRIDES}),
    }


def _option(option: Option[Any]) -> Schema:
    schema = option.kind.schema()
    if isinstance(option.kind, Text):  # several numbers may be a list
        schema |= {"type": ["string", "array"], "items": {"type": "number", "title": "a number"}}
    return {**schema, "title": option.kind.expected, "description": spelled(help_of(option), by_name)}


def _name(description: str) -> Schema:
    title = f"a name of 1 to {MAX_NAME_LENGTH} characters"
    return {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH, "title": title, "description": description}


def _span() -> Schema:
    return {
        "type": "array",
        "prefixItems": [_ref("time"), {**TIME, "type": ["number", "null"]}],
        "minItems": 2,
        "maxItems": 2,
        "title": "a span [start, end] in seconds; null is the end of the video",
    }


def _list(items: Schema, most: int, of: str, description: str = "") -> Schema:
    found = {"type": "array", "items": items, "minItems": 1, "maxItems": most, "title": f"a list of 1 to {most} {of}"}
    return {**found, "description": description} if description else found


def _object(properties: Schema, *required: str) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _ref(name: str, description: str = "") -> Schema:
    found = {"$ref": f"#/$defs/{name}"}
    return {**found, "description": description} if description else found
