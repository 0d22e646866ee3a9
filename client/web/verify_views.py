"""What the API returns of a file's origin: the fields of client.provenance.findings, with the states in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client.provenance.findings import DO_NOT_HOLD, EXIT_CODES, MARK_ALONE, NOTHING, VALID, Findings
from client.provenance.reading import WHAT_STATES_MEAN, CredentialsFound, State

Outcome = Literal["valid", "not-valid", "mark-alone", "nothing"]
OUTCOMES: dict[int, Outcome] = {
    VALID: "valid", DO_NOT_HOLD: "not-valid", MARK_ALONE: "mark-alone", NOTHING: "nothing",
}  # fmt: skip


class StatedInput(BaseModel):
    """A file that the video was made from, as its signer says."""

    name: str = Field(description="Its name.")
    role: str = Field(description="`source` or `voice`.")
    sha256: str = Field(description="SHA-256 of its content, hexadecimal.")


class StatedJob(BaseModel):
    """What was done, as the signer says."""

    model_config = ConfigDict(allow_inf_nan=False)  # JSON has no such numbers

    pipeline: str = Field(description="The pipeline.")
    models: dict[str, str] = Field(description="Model on the server -> which version answered.")
    seed: int | None = Field(default=None, description="Seed of the random numbers; null where none were drawn.")
    inputs: list[StatedInput] = Field(default=[], description="The files that it was made from.")
    changed_spans: list[tuple[float, float]] = Field(description="Changed spans, in seconds.")
    changed_frames: int = Field(description="How many frames were changed.")
    frames: int = Field(description="Of how many.")
    marked: bool = Field(default=False, description="Whether the changed regions were marked.")


class IngredientView(BaseModel):
    """A file that the video was made from."""

    name: str = Field(description="Its name.")
    has_credentials: bool = Field(description="Whether it had credentials of its own, which are kept.")


class CredentialsView(BaseModel):
    """What the credentials of a file say, and whether they hold."""

    state: State = Field(
        description="; ".join(f"`{state}`: {meaning}" for state, meaning in WHAT_STATES_MEAN.items()) + "."
    )
    state_text: str = Field(description="The same in words.")
    signed_by: str | None = Field(description="Whom the certificate names; this service does not check that name.")
    signed_at: str | None = Field(description="When, as a timestamp authority says; null without a timestamp.")
    stated_time: str | None = Field(description="When, as the signer says.")
    program: str | None = Field(description="The program that wrote the credentials.")
    title: str | None = Field(description="The file's name when it was signed.")
    job: StatedJob | None = Field(description="What was done; null if another program signed it.")
    actions: list[str] = Field(description="What was done, as C2PA names it.")
    ingredients: list[IngredientView] = Field(description="The files that it was made from.")
    intact: float | None = Field(description="Share of the encoded pictures that are as signed; null if unknown.")
    problems: list[str] = Field(description="The failed checks, as C2PA names them.")

    @classmethod
    def of(cls, found: CredentialsFound) -> CredentialsView:
        """Describe what was found."""
        return cls(
            state=found.state,
            state_text=WHAT_STATES_MEAN[found.state],
            signed_by=found.signed_by,
            signed_at=found.signed_at,
            stated_time=found.stated_time,
            program=found.program,
            title=found.title,
            job=_stated_job(found.job),
            actions=list(found.actions),
            ingredients=[IngredientView.model_validate(item) for item in found.ingredients],
            intact=found.intact,
            problems=list(found.problems),
        )


class MarkView(BaseModel):
    """What the detector of the mark says."""

    is_found: bool = Field(description="Whether the mark is there.")
    score: float = Field(description="The detector's score.")
    threshold: float = Field(description="The score above which the mark counts as found.")
    false_alarms: float = Field(description="At most how probable such a score is without the mark.")
    spans: list[tuple[float, float]] = Field(description="Where it was found, in seconds.")


class VerificationView(BaseModel):
    """What can be known of a file's origin."""

    file: str = Field(description="The file's name.")
    outcome: Outcome = Field(
        description="; ".join(f"`{outcome}`: {EXIT_CODES[code]}" for code, outcome in OUTCOMES.items()) + "."
    )
    verdict: str = Field(description="The same in words.")
    credentials: CredentialsView | None = Field(description="Null if this service cannot read credentials.")
    mark: MarkView | None = Field(description="Null if the pictures cannot be read.")
    unknown: list[str] = Field(description="What the file does not tell.")

    @classmethod
    def of(cls, found: Findings) -> VerificationView:
        """Describe what was found."""
        credentials = None if found.credentials is None else CredentialsView.of(found.credentials)
        mark = None if found.mark is None else MarkView.model_validate(found.mark, from_attributes=True)
        return cls(
            file=found.file,
            outcome=OUTCOMES[found.exit_code],
            verdict=EXIT_CODES[found.exit_code],
            credentials=credentials,
            mark=mark,
            unknown=list(found.unknown()),
        )


def _stated_job(job: Mapping[str, Any]) -> StatedJob | None:
    """Return our assertion; None if there is none, or somebody wrote something else into it."""
    try:
        return StatedJob.model_validate(job)
    except ValidationError:
        return None
