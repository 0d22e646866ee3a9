"""What a job is to do: its files, and its options as the table of client.options has them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.errors import UsageError, ref
from client.media.progressive import Progressive
from client.option import Option, OptionValues
from client.options import FACE, MODEL, OPTIONS, PROGRESSIVE, check_options, read_each, read_options
from client.pipeline import Pipeline
from client.pipelines import pipeline_named
from client.pipelines.face_options import DETECTOR, FACE_BOX
from client.pipelines.silence_options import IN_SILENCE
from client.quality.options import ALIGNMENT, check_of
from client.scene.options import SYNC_ONLY, VOICE_CHANNEL, VOICE_CHANNELS
from client.scene.overrides import all_values, values_of
from client.scene.scene import Scene, Segment, Speaker, simple_scene
from client.scene.spans import between, joined
from client.scene.written import scene_as_json, scene_from_json
from client.silence import silence_models
from client.tracking.finder import MEDIAPIPE, Detector, detector_named

FACE_OPTIONS: tuple[Option[Any], ...] = (FACE, FACE_BOX)  # for one face; a script names them all


def new_job_id() -> str:
    """Return a random job id, which the server's logs show with each request."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class JobOptions:
    """A job: its files and the options of their lip-sync.

    Attributes:
        video: the video or still image that shows the speakers.
        audio: the speech, or a video whose sound is used; None if a script says who speaks when.
        output: the file to write.
        values: the options; `JobOptions.read` makes them of texts and plain values.
        job_id: names the job in requests and logs.
        prepared: the prepared clip that the video belongs to, if it was prepared; see `client.prepared`.
        script: who speaks when, in place of the audio.
        is_watched: write a progressive file where the format allows it, unless the option says otherwise.
    """

    video: Path
    audio: Path | None
    output: Path
    values: OptionValues = field(default_factory=OptionValues)
    job_id: str = field(default_factory=new_job_id)
    prepared: Path | None = None
    script: Scene | None = None
    is_watched: bool = False

    def __post_init__(self) -> None:
        """Check that the options go together, those of each speaker too.

        Raises:
            UsageError: they do not.
        """
        assert (self.audio is None) != (self.script is None)
        check_options(self.values)
        if self.script is not None:
            for option in FACE_OPTIONS:
                if self.values.has(option):
                    raise faces_named_already(option, "script")
            list(all_values(self.values, self.script))
            _check_alignment(self.values, self.script)

    @property
    def scene(self) -> Scene:
        """Who speaks when; the script's speakers, or one who says the audio. Spans left alone by option included."""
        if self.script is None:
            assert self.audio is not None
            scene = simple_scene(self.audio, self.values[FACE], VOICE_CHANNELS[self.values[VOICE_CHANNEL]])
        else:
            scene = self.script
        spans = self.values[SYNC_ONLY]
        return scene if spans is None else replace(scene, unchanged=joined(scene.unchanged, between(spans)))

    @classmethod
    def read(cls, video: Path, audio: Path, output: Path, given: Mapping[str, object]) -> JobOptions:
        """Make a job of its files and of options by their names, as texts or JSON values.

        Raises:
            UsageError: an option is unknown or its value cannot be used.
        """
        return cls(video, audio, output, read_options(given))

    def with_options(self, given: Mapping[str, object]) -> JobOptions:
        """Return the same job with some options chosen otherwise, as texts or JSON values.

        Raises:
            UsageError: an option is unknown or its value cannot be used.
        """
        return replace(self, values=OptionValues({**self.values.chosen, **read_each(given).chosen}))

    @property
    def pipeline(self) -> Pipeline:
        """The chosen pipeline."""
        return pipeline_named(self.values[MODEL])

    @property
    def detector(self) -> Detector:
        """The chosen face detector."""
        return detector_named(self.values[DETECTOR])

    @property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """The pipelines that speakers and segments choose, each once."""
        names = dict.fromkeys(values[MODEL] for values in all_values(self.values, self.scene))
        return tuple(map(pipeline_named, names))

    @property
    def needed_models(self) -> tuple[str, ...]:
        """Names of the models on the server that the job calls, each once."""
        finds_faces = self.values[FACE_BOX] is None and self.prepared is None
        models = [self.detector.model] if finds_faces else []
        for values in all_values(self.values, self.scene):
            pipeline = pipeline_named(values[MODEL])
            models += [*pipeline.models, *silence_models(values[IN_SILENCE], pipeline)]
        return tuple(dict.fromkeys(models))

    @property
    def progressive(self) -> Progressive:
        """Whether a progressive file is written."""
        if self.values[PROGRESSIVE] is None:
            return "if possible" if self.is_watched else "off"
        return "on" if self.values[PROGRESSIVE] else "off"

    @property
    def check_models(self) -> tuple[str, ...]:
        """Names of the models that the check of the result calls besides; where they are missing, it says so."""
        is_checked = check_of(self.values) != "off"
        return (MEDIAPIPE.model,) if is_checked and MEDIAPIPE.model not in self.needed_models else ()

    @property
    def is_checked_in_full(self) -> bool:
        """Whether the check looks at all frames, as SyncNet needs them."""
        return check_of(self.values) == "full"

    def values_of(self, speaker: Speaker, segment: Segment | None = None) -> OptionValues:
        """Return the options of a speaker's segment: its own, else the speaker's, else the job's."""
        return values_of(self.values, speaker, segment)

    def as_json(self) -> dict[str, object]:
        """Return the job as JSON, with absolute paths, for `job_from_json` in another process."""
        return {
            "video": str(self.video.absolute()),
            "audio": None if self.audio is None else str(self.audio.absolute()),
            "output": str(self.output.absolute()),
            "options": self.values.chosen_as_json(OPTIONS),
            "job_id": self.job_id,
            "prepared": None if self.prepared is None else str(self.prepared.absolute()),
            "script": None if self.script is None else scene_as_json(self.script),
            "is_watched": self.is_watched,
        }


def job_from_json(fields: Mapping[str, Any]) -> JobOptions:
    """Rebuild a job from `JobOptions.as_json`."""
    paths = {name: None if fields[name] is None else Path(fields[name]) for name in ("audio", "prepared")}
    return JobOptions(
        Path(fields["video"]),
        paths["audio"],
        Path(fields["output"]),
        read_options(fields["options"]),
        fields["job_id"],
        paths["prepared"],
        None if fields["script"] is None else scene_from_json(fields["script"]),
        fields["is_watched"],
    )


def _check_alignment(values: OptionValues, script: Scene) -> None:
    """Check that an alignment belongs to what all speakers say.

    Raises:
        UsageError: they say different recordings.
    """
    recordings = {(speaker.voice.path, speaker.voice.channel) for speaker in script.speakers}
    if values[ALIGNMENT] is not None and len(recordings) > 1:
        raise UsageError(
            option=ALIGNMENT.name,
            expected="speakers of one recording",
            got=f"{len(recordings)} recordings or channels",
            advice="Leave it out",
        )


def faces_named_already(option: Option[Any], source: str) -> UsageError:
    """Return the error of an option that chooses one face for all, where something else names the faces."""
    advice = "Name the face of each speaker in a script"
    return UsageError(option=option.name, expected=f"no value beside {ref(source)}", got="one", advice=advice)
