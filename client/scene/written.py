"""Writes a scene as the script that describes it, for another process, a work folder, or people who edit it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from client.option import OptionValues
from client.scene.overrides import OVERRIDES
from client.scene.scene import FaceOfSpeaker, Scene, Segment, Speaker, Voice
from client.scene.script import build_scene
from client.tracking.face_boxes import FaceBoxes

Written = dict[str, Any]


def scene_as_json(scene: Scene) -> Written:
    """Return the script of a scene, with absolute paths.

    A face given frame by frame is {boxes: [[frame, x1, y1, x2, y2], ...]}, which `scene_from_json` alone reads.
    """
    written: Written = {"speakers": [_speaker(speaker) for speaker in scene.speakers]}
    if scene.unchanged:
        written["unchanged"] = _spans(scene)
    return written


def scene_from_json(document: Written) -> Scene:
    """Rebuild the scene that `scene_as_json` wrote."""
    return build_scene(document, Path)


def digest(written: object) -> str:
    """Return a hash of what was written, in hexadecimal."""
    return hashlib.blake2b(json.dumps(written, sort_keys=True).encode(), digest_size=16).hexdigest()


def speaker_facts(scene: Scene) -> dict[str, str]:
    """Return what the result depends on beside the voices' content, hashed, by a name for people."""
    facts = {}
    for speaker in scene.speakers:
        written = _speaker(speaker)
        del written["voice"]["file"]
        facts[f"speaker {speaker.name}"] = digest(written)
    order = [speaker.name for speaker in scene.speakers]
    return {**facts, "the order of the speakers": digest(order), "the unchanged spans": digest(_spans(scene))}


def _speaker(speaker: Speaker) -> Written:
    written = {"name": speaker.name, "voice": _voice(speaker.voice), "face": _face(speaker.face)}
    if speaker.segments:
        written["segments"] = [_segment(segment) for segment in speaker.segments]
    return written | options_as_json(speaker.options)


def _voice(voice: Voice) -> Written:
    written: Written = {"file": str(voice.path.absolute()), "start": voice.start_s, "offset": voice.offset_s}
    if voice.channel is not None:
        written["channel"] = voice.channel
    if voice.end_s is not None:
        written["end"] = voice.end_s
    return written


def _segment(segment: Segment) -> Written:
    written: Written = {"start": segment.span.start_s}
    if not math.isinf(segment.span.end_s):
        written["end"] = segment.span.end_s
    if segment.face is not None:
        written["face"] = _face(segment.face)
    return written | options_as_json(segment.options)


def _face(face: FaceOfSpeaker) -> Any:
    """Return a face, numbers unrounded."""
    if face is None:
        return None
    if isinstance(face, FaceBoxes):
        return {"boxes": [[frame, *map(float, box)] for frame, box in face.boxes.items()]}
    places: dict[str, Any] = {"index": face.index, "point": list(face.point), "box": list(face.box)}
    return places.get(face.rule, face.rule)


def options_as_json(options: OptionValues) -> Written:
    """Return the entry of a speaker's or segment's options; empty if there are none."""
    return {"options": options.chosen_as_json(OVERRIDES)} if options.chosen else {}


def _spans(scene: Scene) -> list[list[float | None]]:
    return [[span.start_s, None if math.isinf(span.end_s) else span.end_s] for span in scene.unchanged]
