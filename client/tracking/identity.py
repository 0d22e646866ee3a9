"""Follows all people in view: by overlap from frame to frame, by appearance through crossings and across cuts.

Works frame by frame; memory grows with neither frames nor people. Descriptors of faces stay in it, and go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from client.media import Picture
from client.tracking.appearance import SAME_PERSON, Looks, describe_face
from client.tracking.faces import MIN_CHOSEN_SCORE, Face
from client.tracking.finder import FoundFrame, Frame
from client.tracking.follow import MAX_GAP_FRAMES, MIN_OVERLAP, CutDetector

REFRESH_FRAMES = 25  # between two looks at a person who is followed by overlap
CHANGED = 2.0  # mean grey-level difference of two thumbnails; in GRID's clips frames that follow differ by less than 1
MOST_PEOPLE = 64  # who are remembered; those unseen for longest are forgotten


@dataclass(frozen=True)
class SeenPerson:
    """A person in one frame.

    Attributes:
        number: the person's, from 1, the same in all shots.
        face: the face.
        track: number that changes when the person comes back after a cut or a long gap.
    """

    number: int
    face: Face
    track: int


@dataclass(eq=False)
class _Person:
    number: int
    track: int
    face: Face | None  # where it was last; None out of view
    looks: Looks = field(default_factory=Looks)
    missing: int = 0  # frames since it was seen
    since_look: int = 0
    position: int = 0  # of the face among those of the last frame


class PeopleTracker:
    """Tells the people of a video apart, from its first frame on.

    A face continues the person whom it overlaps in the previous frame; where several people or faces come into
    question, appearance decides too. A face that overlaps nobody is a known person who is out of view and looks like
    it, or else somebody new. Somebody new who is recognised later, say after turning to the camera, takes the known
    number then.

    A cut from one person to another in the same place before the same wall is hard to see in the whole picture. So
    where the picture changes much, a face continues a person only if it looks like that person's in the frame before.

    Attributes:
        shot: number of cuts so far.
        count: number of people who were told apart so far.
    """

    def __init__(self, *, sparse: bool = False) -> None:
        """Start before the first frame; `sparse` if frames are samples, in which only appearance tells who is who."""
        self._sparse = sparse
        self._cuts = CutDetector()
        self._people: list[_Person] = []
        self._same: dict[int, int] = {}
        self._before: tuple[_View, np.ndarray] | None = None  # the last frame and its thumbnail
        self.count = 0
        self.shot = 0

    def follow(self, found: FoundFrame[Frame]) -> list[SeenPerson]:
        """Take the next frame, and return who is in it, in the order of its faces; doubtful faces may be left out."""
        if self._cuts.is_cut(found.thumbnail) or self._sparse:
            self.shot += 1
            for person in self._people:
                person.face = None
        view = _View(found.frame.picture, found.faces)
        self._part_from(view, found.thumbnail)
        owners = self._continued(view)
        self._miss(owners)
        self._recognise(view, owners)
        self._look(view, owners)
        return [SeenPerson(owners[i].number, face, owners[i].track) for i, face in enumerate(view.faces) if i in owners]

    def current(self, number: int) -> int:
        """Return the number that a person has now: another one, if it turned out to be a known person."""
        while number in self._same:
            number = self._same[number]
        return number

    def is_away(self, number: int) -> bool:
        """Return whether a person is out of view, not only missed for some frames."""
        return all(person.face is None for person in self._people if person.number == number)

    def likeness(self, number: int, other: int) -> float:
        """Return how like another person somebody looks now, about 0 to 1."""
        by_number = {person.number: person for person in self._people}
        if number not in by_number or other not in by_number:
            return 0.0
        return by_number[number].looks.likeness_to(by_number[other].looks)

    def _part_from(self, view: _View, thumbnail: np.ndarray) -> None:
        """Put people out of view whose place shows somebody else all at once; a hidden cut begins a shot."""
        before, self._before = self._before, (view, thumbnail)
        if before is None or float(np.abs(thumbnail - before[1]).mean()) < CHANGED:
            return
        gone = [person for person in self._people if self._is_replaced(person, before[0], view)]
        for person in gone:
            person.face = None
        self.shot += bool(gone)

    def _is_replaced(self, person: _Person, before: _View, view: _View) -> bool:
        if person.face is None or person.missing:
            return False
        overlaps = [person.face.overlap(face) for face in view.faces]
        if max(overlaps, default=0.0) < MIN_OVERLAP:
            return False
        was, now = before.descriptor(person.position), view.descriptor(int(np.argmax(overlaps)))
        return was is not None and now is not None and float(was @ now) < SAME_PERSON

    def _continued(self, view: _View) -> dict[int, _Person]:
        """Match faces with people in view, best pairs first: position of the face -> person."""
        pairs = []
        for person in self._people:
            for i, face in enumerate(view.faces):
                overlap = 0.0 if person.face is None else person.face.overlap(face)
                if overlap >= MIN_OVERLAP:
                    pairs.append((overlap, i, person))
        contested = len({i for _, i, _ in pairs}) < len(pairs) or len({p.number for *_, p in pairs}) < len(pairs)
        if contested:
            pairs = [(overlap + self._likeness(view, i, person), i, person) for overlap, i, person in pairs]
        return _best_pairs(pairs)

    def _miss(self, owners: dict[int, _Person]) -> None:
        """Count the frames without the people who are missing; those missing for long are out of view."""
        seen = {person.number for person in owners.values()}
        for person in self._people:
            person.missing = 0 if person.number in seen else person.missing + 1
            if person.missing > MAX_GAP_FRAMES:
                person.face = None

    def _recognise(self, view: _View, owners: dict[int, _Person]) -> None:
        """Find out who the other faces are."""
        seen = {person.number for person in owners.values()}
        away = [person for person in self._people if person.number not in seen]
        new = [i for i, face in enumerate(view.faces) if i not in owners and face.score >= MIN_CHOSEN_SCORE]
        pairs = [(self._likeness(view, i, person), i, person) for i in new for person in away]
        known = _best_pairs([pair for pair in pairs if pair[0] >= SAME_PERSON])
        for i in new:
            person = known.get(i) or self._add_person()
            if person.face is None or person.face.overlap(view.faces[i]) < MIN_OVERLAP:
                person.track += 1
            person.since_look = REFRESH_FRAMES
            owners[i] = person

    def _look(self, view: _View, owners: dict[int, _Person]) -> None:
        """Note where people are, and now and then how they look."""
        for i, person in list(owners.items()):
            person.face, person.position, person.missing = view.faces[i], i, 0
            person.since_look += 1
            if person.since_look < REFRESH_FRAMES or view.is_crossed(i):
                continue
            descriptor = view.descriptor(i)
            person.since_look = 0
            if descriptor is None:
                continue
            person.looks.add(descriptor)
            known = self._known_before(person, descriptor, owners)
            if known is not None:
                self._unite(known, person)
                owners[i] = known

    def _known_before(self, person: _Person, descriptor: np.ndarray, owners: dict[int, _Person]) -> _Person | None:
        """Return whom somebody newer turns out to be, if that person is out of view."""
        seen = {other.number for other in owners.values()}
        away = [other for other in self._people if other.number < person.number and other.number not in seen]
        alike = [(other.looks.likeness(descriptor), -other.number, other) for other in away]
        likeness, _, known = max(alike, default=(0.0, 0, None), key=lambda item: item[:2])
        return known if likeness >= SAME_PERSON else None

    def _unite(self, known: _Person, newer: _Person) -> None:
        self._same[newer.number] = known.number
        known.face, known.position, known.missing, known.since_look = newer.face, newer.position, 0, 0
        known.track += 1
        known.looks.add_all(newer.looks)
        self._people.remove(newer)

    def _add_person(self) -> _Person:
        if len(self._people) >= MOST_PEOPLE:
            self._people.remove(max(self._people, key=lambda person: person.missing))
        self.count += 1
        self._people.append(_Person(self.count, 0, None))
        return self._people[-1]

    def _likeness(self, view: _View, position: int, person: _Person) -> float:
        descriptor = view.descriptor(position)
        return 0.0 if descriptor is None else person.looks.likeness(descriptor)


class _View:
    """The faces of a frame; each is described at most once, and only if it is asked for."""

    def __init__(self, picture: Picture, faces: Sequence[Face]) -> None:
        self._picture = picture
        self.faces = faces
        self._described: dict[int, np.ndarray | None] = {}

    def descriptor(self, position: int) -> np.ndarray | None:
        if position not in self._described:
            self._described[position] = describe_face(self._picture, self.faces[position])
        return self._described[position]

    def is_crossed(self, position: int) -> bool:
        """Return whether another face covers a part of this one, or is covered by it."""
        face = self.faces[position]
        return any(other is not face and face.overlap(other) > 0 for other in self.faces)


def _best_pairs(pairs: list[tuple[float, int, _Person]]) -> dict[int, _Person]:
    """Match positions with people, each once, the best pairs first."""
    matched: dict[int, _Person] = {}
    taken: set[int] = set()
    for _, position, person in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2].number)):
        if position not in matched and person.number not in taken:
            matched[position] = person
            taken.add(person.number)
    return matched
