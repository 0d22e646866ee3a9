"""Whether a scene can be: names, faces and times that go together. Needs no media."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from client.errors import UsageError
from client.scene.documents import seconds, shown
from client.scene.limits import MAX_NAME_LENGTH, MAX_SEGMENTS, MAX_SPEAKERS
from client.scene.scene import FaceOfSpeaker, Scene, TimeSpan
from client.tracking.faces import FaceChoice, show_face_choice

ALWAYS = TimeSpan(0.0)


def check_scene(scene: Scene) -> None:
    """Check that names are unique, that somebody has a face, and that no two speakers have one face at a time.

    Raises:
        UsageError: something of this is not so.
    """
    _check_counts(scene)
    _check_names(scene)
    if not any(_faces_of(scene)):
        advice = "Leave out face, or name one"
        raise UsageError(about="speakers", expected="somebody with a face", got="narrators alone", advice=advice)
    _check_faces(scene)


def _check_counts(scene: Scene) -> None:
    if not 0 < len(scene.speakers) <= MAX_SPEAKERS:
        got = len(scene.speakers) or "nobody who speaks in the used part of the voice"
        raise UsageError(about="speakers", expected=f"1 to {MAX_SPEAKERS} speakers", got=got)
    segments = sum(len(speaker.segments) for speaker in scene.speakers)
    if segments > MAX_SEGMENTS:
        expected = f"at most {MAX_SEGMENTS} segments of all speakers together"
        raise UsageError(about="speakers", expected=expected, got=segments)


def _check_names(scene: Scene) -> None:
    first: dict[str, int] = {}
    for i, speaker in enumerate(scene.speakers):
        about = f"speakers[{i}].name"
        if not speaker.name.strip() or not speaker.name.isprintable():
            expected = f"a name of 1 to {MAX_NAME_LENGTH} characters that can be printed"
            raise UsageError(about=about, expected=expected, got=shown(speaker.name))
        if first.setdefault(speaker.name, i) != i:
            got = f"{shown(speaker.name)}, the name of speakers[{first[speaker.name]}]"
            raise UsageError(about=about, expected="a name of its own", got=got)


@dataclass(frozen=True)
class _Part:
    """One face of one speaker, for a while."""

    speaker: int
    place: str
    span: TimeSpan
    face: FaceChoice


def _check_faces(scene: Scene) -> None:
    by_face: dict[FaceChoice, list[_Part]] = {}
    for part in _parts(scene):
        by_face.setdefault(_normal(part.face), []).append(part)
    for parts in by_face.values():
        _check_turns(sorted(parts, key=lambda part: part.span.start_s))


def _check_turns(parts: list[_Part]) -> None:
    """Check that speakers have a face one after the other, given its parts by their starts."""
    latest: _Part | None = None
    for part in parts:
        if latest is not None and part.speaker != latest.speaker and part.span.overlaps(latest.span):
            later, earlier = sorted((part, latest), key=lambda part: part.speaker, reverse=True)
            got = f"{show_face_choice(later.face)}, that of {earlier.place} {_common(later.span, earlier.span)}"
            raise UsageError(
                about=later.place,
                expected="a face that no other speaker has at the time",
                got=got,
                advice="Name another face, or segments one after the other",
            )
        if latest is None or part.span.end_s > latest.span.end_s:
            latest = part


def _parts(scene: Scene) -> Iterator[_Part]:
    """Yield the faces that are chosen by a rule which means one face of a frame; that of `auto` changes."""
    for i, speaker in enumerate(scene.speakers):
        if not speaker.segments:
            found = [(f"speakers[{i}]", ALWAYS, speaker.face)]
        else:
            found = [
                (f"speakers[{i}].segments[{j}]", segment.span, segment.face or speaker.face)
                for j, segment in enumerate(speaker.segments)
            ]
        for place, span, face in found:
            if isinstance(face, FaceChoice) and face.rule != "auto":
                yield _Part(i, place, span, face)


def _faces_of(scene: Scene) -> Iterator[FaceOfSpeaker]:
    for speaker in scene.speakers:
        yield speaker.face
        yield from (segment.face for segment in speaker.segments)


def _normal(face: FaceChoice) -> FaceChoice:
    return FaceChoice("left") if face == FaceChoice("index", index=0) else face


def _common(one: TimeSpan, other: TimeSpan) -> str:
    start_s, end_s = max(one.start_s, other.start_s), min(one.end_s, other.end_s)
    return f"from {seconds(start_s)} on" if end_s == float("inf") else f"from {seconds(start_s)} to {seconds(end_s)}"
