"""Links the faces of a video to its speakers: for each speaker and frame, the speaker's face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from client.tracking.appearance import MAYBE_SAME_PERSON
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import Face, FaceChoice
from client.tracking.finder import FoundFrame, IndexedFrame
from client.tracking.follow import MAX_GAP_FRAMES, MIN_OVERLAP, CutDetector, FaceLinker, Observation
from client.tracking.identity import PeopleTracker, SeenPerson

Frame = TypeVar("Frame", bound=IndexedFrame)
Linked = tuple[Face | None, int]  # a speaker's face in a frame, and the number of its track


def link_people(
    found: Iterable[FoundFrame[Frame]],
    faces: Sequence[FaceChoice | FaceBoxes],
    wanted: Callable[[Frame], Sequence[bool]] | None = None,
) -> Iterator[tuple[Observation[Frame], ...]]:
    """Yield one observation per speaker for each frame, in the speakers' order; gaps are not bridged.

    A single choice is followed by overlap alone, and made again at every cut: see `FaceLinker`. With several speakers,
    a face belongs to at most one of them:

    - Boxes come first: a speaker with boxes has the face that its box means, as long as there is one.
    - A choice is made at the first sight: in the first frame with a face that fits it and is no other speaker's. From
      then on the speaker is that person, in crossings and in later shots, recognised by appearance.
    - Where none of the chosen people is in view, as far as they are recognised, people who were not seen before may be
      them: if there are as many as chosen speakers, the choices are made again; if fewer, each goes to the speaker who
      is most like them, unless they are like nobody. Strangers beside a recognised speaker are left alone.

    What appearance can and cannot tell: `client.tracking.appearance`. Nothing but the frames so far decides, so that a
    job that is continued links the same faces as one that ran through.

    Args:
        found: frames in order, with all their faces.
        faces: how each speaker's face is given.
        wanted: which of these faces a frame needs; a choice is made in the first one that needs it, and a face that is
            not needed is nobody's. None if all frames need all faces.
    """
    if len(faces) == 1 and isinstance(faces[0], FaceChoice) and wanted is None:
        yield from _link_one(found, faces[0])
        return
    links = SpeakerLinks(faces)
    for item in found:
        linked = links.next(item, None if wanted is None else wanted(item.frame))
        yield tuple(Observation(item.frame, face, track) for face, track in linked)


def _link_one(found: Iterable[FoundFrame[Frame]], choice: FaceChoice) -> Iterator[tuple[Observation[Frame], ...]]:
    cuts, linker = CutDetector(), FaceLinker(choice)
    for item in found:
        face, track = linker.link(item.faces, cuts.is_cut(item.thumbnail))
        yield (Observation(item.frame, face, track),)


class SpeakerLinks:
    """Links several speakers, frame by frame; see `link_people`."""

    def __init__(self, faces: Sequence[FaceChoice | FaceBoxes], *, sparse: bool = False) -> None:
        """Start before the first frame.

        Args:
            faces: how each speaker's face is given.
            sparse: whether frames are samples, in which only appearance tells who is who.
        """
        self._order = [_BoxLink(face) if isinstance(face, FaceBoxes) else _ChoiceLink(face) for face in faces]
        self._boxed = [link for link in self._order if isinstance(link, _BoxLink)]
        self._chosen = [link for link in self._order if isinstance(link, _ChoiceLink)]
        self._tracker = PeopleTracker(sparse=sparse)
        self._newest = 0  # the newest person when one of the speakers was last in view

    def next(self, item: FoundFrame[Frame], wanted: Sequence[bool] | None = None) -> list[Linked]:
        """Take the next frame, and return each speaker's face in it, and the number of its track."""
        for i, link in enumerate(self._order):
            link.wanted = wanted is None or wanted[i]
        shot, seen = self._tracker.shot, self._tracker.follow(item)
        taken: list[Face] = []
        for boxed in self._boxed:
            boxed.link(item.frame.index, _without(item.faces, taken), seen, cut=self._tracker.shot != shot)
            taken += [] if boxed.face is None else [boxed.face]
        if any(link.wanted for link in self._chosen):
            self._link_chosen(seen, taken)
        return [(link.face if link.wanted else None, link.track) for link in self._order]

    def _link_chosen(self, seen: list[SeenPerson], taken: list[Face]) -> None:
        free = [person for person in seen if not any(person.face is face for face in taken)]
        chosen = [link for link in self._chosen if link.wanted]
        for link in chosen:
            link.find(free, self._tracker)
            free = [person for person in free if person is not link.seen]
        theirs = {number for link in chosen for number in link.people}
        self._choose(chosen, seen, [person for person in free if person.number not in theirs])
        for link in chosen:
            link.finish()

    def _choose(self, chosen: list[_ChoiceLink], seen: list[SeenPerson], free: list[SeenPerson]) -> None:
        """Give people who are nobody to speakers who were not seen yet, or else to those who are not recognised."""
        for link in chosen:
            if not link.people:
                free = _without_person(free, link.choose(seen, free))
        if not all(link.people and all(map(self._tracker.is_away, link.people)) for link in chosen):
            self._newest = self._tracker.count
            return
        strangers = [person for person in free if person.number > self._newest]
        if len(strangers) < len(chosen):
            self._give_to_most_alike(chosen, strangers)
            return
        for link in chosen:
            strangers = _without_person(strangers, link.choose(seen, strangers))

    def _give_to_most_alike(self, chosen: list[_ChoiceLink], strangers: list[SeenPerson]) -> None:
        pairs = [
            (max(self._tracker.likeness(person.number, known) for known in link.people), i, j)
            for i, link in enumerate(chosen)
            for j, person in enumerate(strangers)
        ]
        for likeness, i, j in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
            is_free = all(link.seen is not strangers[j] for link in chosen)
            if likeness >= MAYBE_SAME_PERSON and chosen[i].seen is None and is_free:
                chosen[i].take(strangers[j])


class _ChoiceLink:
    """A speaker whose face is chosen at the first sight."""

    def __init__(self, choice: FaceChoice) -> None:
        self._choice = choice
        self.people: list[int] = []  # who the speaker is; several if the person was not recognised in a later shot
        self.seen: SeenPerson | None = None
        self.wanted = True
        self.track = 0
        self._last: tuple[int, int] | None = None  # person and track

    @property
    def face(self) -> Face | None:
        return None if self.seen is None else self.seen.face

    def find(self, free: list[SeenPerson], tracker: PeopleTracker) -> None:
        """Find the speaker among people who are not taken."""
        self.people = list(dict.fromkeys(map(tracker.current, self.people)))
        known = [person for number in self.people for person in free if person.number == number]
        self.seen = known[0] if known else None

    def choose(self, seen: list[SeenPerson], free: list[SeenPerson]) -> SeenPerson | None:
        """Make the choice among all people in view, or among those who are free if it falls on somebody else's."""
        for candidates in (seen, [] if self._choice.rule == "index" else free):
            position = self._choice.pick([person.face for person in candidates])
            if position is not None and any(candidates[position] is person for person in free):
                self.take(candidates[position])
                break
        return self.seen

    def take(self, person: SeenPerson) -> None:
        """Be this person from now on, too."""
        self.people.append(person.number)
        self.seen = person

    def finish(self) -> None:
        """Number the track."""
        if self.seen is None:
            return
        now = self.seen.number, self.seen.track
        if now != self._last:
            self._last = now
            self.track += 1


class _BoxLink:
    """A speaker whose face is given by boxes."""

    def __init__(self, boxes: FaceBoxes) -> None:
        self._boxes = boxes
        self._before: Face | None = None
        self._person: tuple[int, int] | None = None  # and the track of the person
        self._missing = 0
        self.face: Face | None = None
        self.wanted = True
        self.track = 0

    def link(self, index: int, faces: list[Face], seen: list[SeenPerson], *, cut: bool) -> None:
        """Take the next frame.

        A track ends at a cut, where the face jumps, is another person's or is not listed, and in long gaps.
        """
        if cut or index not in self._boxes.boxes or self._missing > MAX_GAP_FRAMES:
            self._before = None
        self.face = face = self._boxes.pick(index, faces)
        self._missing = 0 if face is not None else self._missing + 1
        if face is None:
            return
        person = next(((person.number, person.track) for person in seen if person.face is face), self._person)
        if self._before is None or self._before.overlap(face) < MIN_OVERLAP or person != self._person:
            self.track += 1
        self._before, self._person = face, person


def _without(faces: list[Face], taken: list[Face]) -> list[Face]:
    return [face for face in faces if not any(face is other for other in taken)]


def _without_person(people: list[SeenPerson], taken: SeenPerson | None) -> list[SeenPerson]:
    return [person for person in people if person is not taken]
