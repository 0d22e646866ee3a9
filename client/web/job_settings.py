"""What people may choose for a job, checked, and turned into the client's options. The defaults are the client's."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from client.cli.arguments import MAX_FPS, MAX_SECONDS
from client.errors import OutputError, UsageError
from client.job import DetectorName, JobOptions, Model
from client.media import CONTAINERS, MAX_CRF, PRESETS, IfAudioLonger, IfAudioShorter, VideoCodec
from client.media.codecs import codecs_in
from client.pipelines.wav2lip import Blend
from client.tracking.faces import parse_face_choice
from lipsync_core.latentsync.options import MAX_SEED, MAX_STEPS, RESOLUTIONS, SCHEDULERS, SPEEDS, options_for
from lipsync_core.wav2lip.boxes import Pads

VIDEO_FILE, AUDIO_FILE = "video", "audio"  # in a job's folder, whatever the user calls them
PARTS_FOLDER = "parts"  # of an unfinished job, beside them
Container = Literal["mp4", "mov", "mkv", "webm"]
NUMBER = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
MAX_GUIDANCE = 100.0


@dataclass(frozen=True)
class _OneOf:
    """A rule: the value is one of these, which the client lists."""

    known: tuple[str, ...] | tuple[int, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.chain_schema([handler(source), core_schema.literal_schema(list(self.known))])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.known)}


def _check_face(text: str) -> str:
    parse_face_choice(text)
    return text


def _check_rate(text: str) -> str:
    try:
        rate = Fraction(text)
    except ZeroDivisionError:
        rate = Fraction(0)
    if not 1 <= rate <= MAX_FPS:
        raise ValueError(f"expected 1 to {MAX_FPS} frames per second, got {text!r}")
    return text


class JobSettings(BaseModel):
    """The choices for one job; all have defaults."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Model = Field(JobOptions.model, description="Which generator draws the mouth; see GET /models.")
    face: Annotated[str, AfterValidator(_check_face)] = Field(
        "largest",
        pattern=rf"^(largest|left|right|[0-9]{{1,2}}|{NUMBER},{NUMBER})$",
        description="Which of several faces: a rule, a number from the left (0 first), or a point X,Y in pixels.",
        examples=["largest", "640,210"],
    )
    start: float = Field(JobOptions.start_s, ge=0, le=MAX_SECONDS, description="Begin the video at this second.")
    end: float | None = Field(
        None, gt=0, le=MAX_SECONDS, description="End the video at this second; its end if absent."
    )
    fps: Annotated[str, AfterValidator(_check_rate)] | None = Field(
        None,
        pattern=r"^[0-9]{1,6}(/[0-9]{1,6}|\.[0-9]{1,6})?$",
        description="Show the video at this constant rate; the source's own times if absent.",
        examples=["25", "30000/1001"],
    )
    if_audio_longer: IfAudioLonger = Field(
        JobOptions.if_audio_longer,
        description="Speech longer than the video: play the video back and forth, from its start again, hold its last"
        " frame, or cut the speech.",
    )
    if_audio_shorter: IfAudioShorter = Field(
        JobOptions.if_audio_shorter,
        description="Speech shorter than the video: keep the whole video, its mouth closed, or cut the video.",
    )
    container: Container = Field("mp4", description="Format of the result's file.")
    codec: VideoCodec = Field(
        JobOptions.codec, description="auto: h264, hevc for sources of more than 8 bits, vp9 in webm."
    )
    crf: int = Field(JobOptions.crf, ge=0, le=MAX_CRF, description="Quality: less is better and larger.")
    preset: Annotated[str, _OneOf(PRESETS)] = Field(JobOptions.preset, description="The encoder's time against size.")
    lossless: bool = Field(JobOptions.lossless, description="Encode without any loss.")
    detector: DetectorName = Field(
        JobOptions.detector, description="wav2lip only: what finds faces; s3fd is the original's, far slower."
    )
    face_box: str | None = Field(
        None,
        pattern=rf"^{NUMBER}(,{NUMBER}){{3}}$",
        description="wav2lip only: X1,Y1,X2,Y2 of the face in every frame, in pixels, instead of looking for it.",
        examples=["120,80,360,400"],
    )
    pads: str = Field(
        ",".join(map(str, JobOptions.pads)),
        pattern=r"^-?[0-9]{1,4}(,-?[0-9]{1,4}){3}$",
        description="wav2lip only: how far found boxes are moved outwards, TOP,BOTTOM,LEFT,RIGHT in pixels.",
    )
    blend: Blend = Field(
        JobOptions.blend, description="wav2lip only: soft, without a visible edge, or the original's whole box."
    )
    speed: Annotated[str, _OneOf(SPEEDS)] = Field(
        JobOptions.diffusion.speed,
        description="latentsync only: exact as the original, or fewer and lighter steps.",
    )
    steps: int | None = Field(None, ge=1, le=MAX_STEPS, description="latentsync only: of diffusion; the speed's own.")
    guidance: float = Field(
        JobOptions.diffusion.guidance_scale, ge=1, le=MAX_GUIDANCE, description="latentsync only: weight of the speech."
    )
    scheduler: Annotated[str, _OneOf(SCHEDULERS)] | None = Field(
        None, description="latentsync only: the speed's own if absent."
    )
    resolution: Annotated[int, _OneOf(tuple(RESOLUTIONS.values()))] | None = Field(
        None,
        description="latentsync only: edge of the drawn face in pixels; what the weights were trained on if absent.",
    )
    seed: int = Field(JobOptions.diffusion.seed, ge=0, le=MAX_SEED, description="latentsync only: of all noise.")

    @model_validator(mode="after")
    def _check_together(self) -> JobSettings:
        """Refuse what does not go together, in the client's own words where it has them."""
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end: expected a time after start ({self.start:g} s), got {self.end:g} s")
        allowed = {codec.name for codec in codecs_in(CONTAINERS[f".{self.container}"])}
        if self.codec not in {"auto", *allowed}:
            raise ValueError(f"codec: expected one that {self.container} holds ({', '.join(sorted(allowed))})")
        try:
            self.job_options(Path())
        except (UsageError, OutputError) as error:
            raise ValueError(in_api_words(str(error))) from error
        return self

    def job_options(self, folder: Path, job_id: str = "") -> JobOptions:
        """Turn the choices into the client's, for the files of a job's folder; finished parts are kept there too."""
        return JobOptions(
            video=folder / VIDEO_FILE,
            audio=folder / AUDIO_FILE,
            output=folder / result_file(self.container),
            model=self.model,
            face=parse_face_choice(self.face),
            detector=self.detector,
            face_box=None if self.face_box is None else _four(self.face_box),
            pads=Pads(*map(int, self.pads.split(","))),
            blend=self.blend,
            diffusion=options_for(self.speed, self.steps, self.scheduler, self.guidance, self.seed),
            resolution=self.resolution,
            start_s=self.start,
            end_s=self.end,
            fps=None if self.fps is None else Fraction(self.fps),
            if_audio_longer=self.if_audio_longer,
            if_audio_shorter=self.if_audio_shorter,
            codec=self.codec,
            crf=self.crf,
            preset=self.preset,
            lossless=self.lossless,
            resume=True,
            work_dir=folder / PARTS_FOLDER,
            job_id=job_id,
        )


SETTING_NAMES = frozenset(JobSettings.model_fields)


def result_file(container: Container) -> str:
    """Name the result in a job's folder."""
    return f"result.{container}"


def in_api_words(text: str) -> str:
    """Turn the command line's names of options into the API's: --if-audio-longer into if_audio_longer."""
    for name in sorted(SETTING_NAMES, key=len, reverse=True):
        option = "--" + name.replace("_", "-")
        text = text.replace(f"with {option}", f"with the option {name}").replace(option, name)
    return text


def _four(text: str) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, text.split(","))
    return x1, y1, x2, y2
