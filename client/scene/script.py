"""Reads the script of a scene: a JSON document that says who speaks when. Opens no media."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.errors import UsageError
from client.scene.checking import check_document
from client.scene.consistency import check_scene
from client.scene.diarization import DIARIZATION, Turns, read_diarization, turns_of
from client.scene.documents import decoded, parse_json, read_content, shown
from client.scene.entries import (
    Entry,
    find,
    read_face,
    read_options,
    read_segments,
    read_spans,
    read_voice,
)
from client.scene.files import FindFile, files_beside
from client.scene.limits import MAX_SCRIPT_BYTES
from client.scene.scene import FaceOfSpeaker, Scene, Segment, Speaker, TimeSpan, Voice
from client.scene.speaker_boxes import read_speaker_boxes
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, FaceChoice

SPEAKER_BOXES = "speaker_boxes"  # the property of a script
AUTO = FaceChoice("auto")


def read_script(path: Path, find_files: Callable[[Path], FindFile] = files_beside) -> Scene:
    """Read a script's file.

    Args:
        path: the file.
        find_files: script -> what finds the files that it names: beside it, unless their paths are absolute.

    Raises:
        UsageError: the script, or a file that it names, cannot be read or breaks a rule; the place is named.
    """
    return parse_script(read_content(path, MAX_SCRIPT_BYTES), path.name, find_files(path))


def parse_script(content: bytes, name: str, find_file: FindFile) -> Scene:
    """Read a script.

    Args:
        content: the document.
        name: what messages call it.
        find_file: leads from what the script calls a file to the file.

    Raises:
        UsageError: it, or a file that it names, cannot be read or breaks a rule; the place is named.
    """
    if len(content) > MAX_SCRIPT_BYTES:
        raise UsageError(about=name, expected=f"at most {MAX_SCRIPT_BYTES} bytes", got=len(content))
    return scene_of(parse_json(decoded(content, name), name), name, find_file)


def scene_of(document: object, name: str, find_file: FindFile) -> Scene:
    """Return the scene that a document describes, checked in every way; see `parse_script`."""
    check_document(document, name)
    assert isinstance(document, dict)
    scene = build_scene(document, find_file)
    check_scene(scene)
    return scene


def build_scene(document: Entry, find_file: FindFile) -> Scene:
    """Return the scene of a document that keeps to the schema."""
    cast = _read_cast(document, find_file)
    entries = document.get("speakers", [])
    named = {entry["name"] for entry in entries}
    others = [name for name in (*cast.turns, *cast.boxes) if name not in named]
    default = LARGEST if len(entries) == 1 and not others else AUTO
    listed = [_read_speaker(entry, f"speakers[{i}]", cast, default) for i, entry in enumerate(entries)]
    unlisted = [speaker for name in others for speaker in _unlisted(name, cast)]
    return Scene((*listed, *unlisted), read_spans(document.get("unchanged", []), "unchanged"))


@dataclass(frozen=True)
class _Cast:
    """What a script says about all speakers, and other files about some.

    Attributes:
        voice: the voice of those who have none of their own.
        turns: when speakers speak in their voice, by name.
        boxes: where speakers' faces are, by name.
        source: the property that names the speakers of the turns or boxes.
        find_file: leads to the voices' files.
    """

    voice: Voice | None
    turns: Turns = field(default_factory=dict)
    boxes: Mapping[str, FaceBoxes] = field(default_factory=dict)
    source: str = ""
    find_file: FindFile = Path


def _read_cast(document: Entry, find_file: FindFile) -> _Cast:
    voice = read_voice(document["voice"], "voice", find_file) if "voice" in document else None
    cast = _Cast(voice, find_file=find_file)
    turns, boxes = document.get(DIARIZATION), document.get(SPEAKER_BOXES)
    if turns is not None and boxes is not None:
        advice = f"{SPEAKER_BOXES} says itself when each of its speakers speaks"
        expected = f"no diarization beside {SPEAKER_BOXES}"
        raise UsageError(about=DIARIZATION, expected=expected, got="both", advice=advice)
    if turns is not None:
        return replace(cast, turns=_read_turns(turns, find_file), source=DIARIZATION)
    if boxes is not None:
        found = read_speaker_boxes(find(boxes, SPEAKER_BOXES, find_file))
        return replace(cast, boxes=found, source=SPEAKER_BOXES)
    return cast


def _read_turns(value: Any, find_file: FindFile) -> Turns:
    return turns_of(value) if isinstance(value, list) else read_diarization(find(value, DIARIZATION, find_file))


def _read_speaker(entry: Entry, place: str, cast: _Cast, default: FaceChoice) -> Speaker:
    name = entry["name"]
    _check_known(entry, place, cast)
    voice = read_voice(entry["voice"], f"{place}.voice", cast.find_file) if "voice" in entry else cast.voice
    if voice is None:
        raise UsageError(about=f"{place}.voice", expected="a file, or a voice of all speakers", got="nothing")
    face: FaceOfSpeaker = cast.boxes.get(name, default)
    if "face" in entry:
        face = read_face(entry["face"], f"{place}.face")
    segments = read_segments(entry.get("segments", []), f"{place}.segments")
    if name in cast.turns:
        segments = _segments(cast.turns[name], voice)
        if not segments:
            expected = f"a speaker of {cast.source} who speaks in the used part of the voice"
            raise UsageError(about=f"{place}.name", expected=expected, got=shown(name))
    return Speaker(name, voice, face, segments, read_options(entry.get("options", {}), f"{place}.options"))


def _check_known(entry: Entry, place: str, cast: _Cast) -> None:
    """Check that a speaker is what the diarization or the boxes say, or says all for itself.

    Raises:
        UsageError: it is neither.
    """
    name, known = entry["name"], (*cast.turns, *cast.boxes)
    if not known:
        return
    if name not in known and "segments" not in entry and "voice" not in entry:
        expected = f"a speaker of {cast.source} ({', '.join(map(shown, known[:10]))})"
        advice = "Others need a voice or segments of their own"
        raise UsageError(about=f"{place}.name", expected=expected, got=shown(name), advice=advice)
    for taken, key in ((cast.turns, "segments"), (cast.boxes, "face")):
        if name in taken and key in entry:
            got, advice = "both", "Leave one of them out"
            expected = f"no {key} beside {cast.source}, which says so of {shown(name)}"
            raise UsageError(about=f"{place}.{key}", expected=expected, got=got, advice=advice)


def _unlisted(name: str, cast: _Cast) -> list[Speaker]:
    """Return a speaker of the diarization or the boxes that the script does not list; none who is never heard."""
    if cast.voice is None:
        expected = f"the voice of {shown(name)} and all other speakers of {cast.source}"
        raise UsageError(about="voice", expected=expected, got="nothing")
    if name in cast.boxes:
        return [Speaker(name, cast.voice, cast.boxes[name])]
    segments = _segments(cast.turns[name], cast.voice)
    return [Speaker(name, cast.voice, AUTO, segments)] if segments else []


def _segments(turns: tuple[TimeSpan, ...], voice: Voice) -> tuple[Segment, ...]:
    """Move turns from the time of a voice's file to that of the result; what is not used of the file is left out."""
    used_end_s = voice.end_s or float("inf")
    moved = []
    for turn in turns:
        start_s = max(turn.start_s, voice.start_s, voice.start_s - voice.offset_s)
        end_s = min(turn.end_s, used_end_s)
        if start_s < end_s:
            shift_s = voice.offset_s - voice.start_s
            moved.append(Segment(TimeSpan(start_s + shift_s, end_s + shift_s)))
    return tuple(moved)
