"""What a job is to do: its files, and its options as the table of client.options has them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.option import OptionValues
from client.option_kinds import Json
from client.options import MODEL, OPTIONS, check_options, read_each, read_options
from client.pipeline import Pipeline
from client.pipelines import pipeline_named
from client.pipelines.face_options import DETECTOR, FACE_BOX
from client.pipelines.silence_options import IN_SILENCE
from client.silence import silence_models
from client.tracking.finder import Detector, detector_named


def new_job_id() -> str:
    """Return a random job id, which the server's logs show with each request."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class JobOptions:
    """A job: three files and the options of their lip-sync.

    Attributes:
        video: the video or still image that shows the speaker.
        audio: the speech, or a video whose sound is used.
        output: the file to write.
        values: the options; `JobOptions.read` makes them of texts and plain values.
        job_id: names the job in requests and logs.
        prepared: the prepared clip that the video belongs to, if it was prepared; see `client.prepared`.
    """

    video: Path
    audio: Path
    output: Path
    values: OptionValues = field(default_factory=OptionValues)
    job_id: str = field(default_factory=new_job_id)
    prepared: Path | None = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: they do not.
        """
        check_options(self.values)

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
    def needed_models(self) -> tuple[str, ...]:
        """Names of the models on the server that the job calls."""
        finds_faces = self.values[FACE_BOX] is None and self.prepared is None
        detector = (self.detector.model,) if finds_faces else ()
        return (*detector, *self.pipeline.models, *silence_models(self.values[IN_SILENCE], self.pipeline))

    def as_json(self) -> dict[str, Json | dict[str, Json]]:
        """Return the job as JSON, with absolute paths, for `job_from_json` in another process."""
        return {
            "video": str(self.video.absolute()),
            "audio": str(self.audio.absolute()),
            "output": str(self.output.absolute()),
            "options": self.values.chosen_as_json(OPTIONS),
            "job_id": self.job_id,
            "prepared": None if self.prepared is None else str(self.prepared.absolute()),
        }


def job_from_json(fields: Mapping[str, object]) -> JobOptions:
    """Rebuild a job from `JobOptions.as_json`."""
    video, audio, output = (Path(str(fields[name])) for name in ("video", "audio", "output"))
    options, prepared = fields["options"], fields["prepared"]
    assert isinstance(options, dict)
    folder = None if prepared is None else Path(str(prepared))
    return JobOptions(video, audio, output, read_options(options), str(fields["job_id"]), folder)
