"""Which lanes a scene needs, and what one is: a speaker's face, the generators that draw its mouth, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from client.lanes.times import LaneTimes
from client.option import OptionValues
from client.pipeline import Layer
from client.scene.overrides import values_of
from client.scene.scene import Scene, Speaker, TimeSpan
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice

LinkKey = tuple[int, FaceChoice | FaceBoxes]  # a speaker's position in the scene, and one of the speaker's faces


@dataclass(frozen=True)
class LanePlan:
    """A lane before its generators are made.

    Attributes:
        speaker: the speaker's position in the scene.
        face: the face that is drawn over.
        values: the job's options, with what the segments choose otherwise.
        spans: when, in order and without overlap; None for always.
    """

    speaker: int
    face: FaceChoice | FaceBoxes
    values: OptionValues
    spans: tuple[TimeSpan, ...] | None = None

    @property
    def link(self) -> LinkKey:
        """What lanes have in common that draw the same person."""
        return self.speaker, self.face


@dataclass(frozen=True, eq=False)
class Lane:
    """One speaker's mouth, as far as face and options stay the same.

    Attributes:
        speaker: the speaker's position in the scene.
        face: the face that is drawn over.
        layers: the generators; their mouths are mixed by their shares.
        times: when it is drawn.
    """

    speaker: int
    face: FaceChoice | FaceBoxes
    layers: Sequence[Layer]
    times: LaneTimes = field(default_factory=LaneTimes)

    @property
    def link(self) -> LinkKey:
        """What lanes have in common that draw the same person."""
        return self.speaker, self.face


def plan_lanes(scene: Scene, values: OptionValues) -> list[LanePlan]:
    """Return the lanes of a scene in the order in which they are drawn; a narrator needs none."""
    return [lane for i, speaker in enumerate(scene.speakers) for lane in _lanes_of(i, speaker, values)]


def times_of(plan: LanePlan, scene: Scene, plans: Sequence[LanePlan]) -> LaneTimes:
    """Return when a lane is drawn, among all lanes of its scene."""
    if plan.spans is None:
        return LaneTimes(unchanged=scene.unchanged)
    speaker = [span for other in plans if other.speaker == plan.speaker for span in other.spans or ()]
    return LaneTimes(plan.spans, speaker, scene.unchanged)


def _lanes_of(position: int, speaker: Speaker, job: OptionValues) -> Iterator[LanePlan]:
    if not speaker.segments:
        if speaker.face is not None:
            yield LanePlan(position, speaker.face, values_of(job, speaker))
        return
    plans: dict[tuple[object, ...], LanePlan] = {}
    spans: dict[tuple[object, ...], list[TimeSpan]] = {}
    for segment in speaker.segments:
        face = segment.face or speaker.face
        if face is not None:
            key: tuple[object, ...] = (face, frozenset(segment.options.chosen.items()))
            spans.setdefault(key, []).append(segment.span)
            if key not in plans:
                plans[key] = LanePlan(position, face, values_of(job, speaker, segment))
    for key, plan in plans.items():
        yield replace(plan, spans=tuple(spans[key]))
