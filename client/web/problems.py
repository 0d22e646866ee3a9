"""Errors of the API as RFC 9457 problem details, for programs and for people; without anything of this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.errors import LipSyncError, UsageError, by_name, spelled
from client.storage import AddressRefused, DiskFull, FileMissing, FileTooLarge, StorageUnavailable
from client.web.job_settings import SettingError
from client.web.labels import for_user
from client.web.problem_kinds import (
    ADDRESS_REFUSED,
    DEFECT,
    DISK_FULL,
    FILE_GONE,
    KINDS,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    RETRY_AFTER_S,
    STANDARD,
    TOO_LARGE,
    UNAVAILABLE,
    UNUSABLE,
    WRONG_OPTION,
    ProblemKind,
)

logger = logging.getLogger("client.web")
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "Retry-After"
MAX_NAMED = 5  # errors that the detail of a problem repeats
DETAILS: dict[int, LipSyncError] = {
    404: LipSyncError(expected="a path that GET /openapi.json lists"),
    405: LipSyncError(expected="another method", advice="See GET /openapi.json"),
    500: LipSyncError("The service has a defect", advice="Its log says more to whoever runs it"),
}
ARRIVAL_ERRORS = (AddressRefused, FileTooLarge, DiskFull)  # why files of jobs cannot be had
OUTSIDE_NAMES = {"body", "query", "path", "header"}  # where FastAPI found a field; no part of the field's name


class FieldProblem(BaseModel):
    """One error, and the field that it is about."""

    name: str = Field(default="", description="Name of the field; absent if the error is about the whole request.")
    detail: str = Field(description="The error in one line, without the name.")
    expected: str = Field(default="", description="The rule that was broken.")
    got: str = Field(default="", description="What was found instead.")
    advice: str = Field(default="", description="What to do.")


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": WRONG_OPTION.type,
                    "title": WRONG_OPTION.title,
                    "status": 422,
                    "detail": "crf: expected a whole number from 0 to 51, got '99'",
                    "user_message": "Quality: Needed: a whole number from 0 to 51. Found: '99'.",
                    "errors": [
                        {
                            "name": "crf",
                            "detail": "expected a whole number from 0 to 51, got '99'",
                            "expected": "a whole number from 0 to 51",
                            "got": "'99'",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field(
        description="Identifies the kind of error, for programs; GET it for a description. GET /problems lists all."
    )
    title: str = Field(description="The kind of error, for people.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was wrong and what to do; options have their names in the API.")
    user_message: str = Field(description="The same in sentences for people; options have their labels on the page.")
    errors: list[FieldProblem] = Field(default=[], description="The errors one by one.")


class ProblemKindView(BaseModel):
    """A kind of problem."""

    type: str = Field(description="The `type` of such problems.", examples=[WRONG_OPTION.type])
    title: str
    status: int
    advice: str = Field(description="What a program, or whoever wrote it, can do about it.")

    @classmethod
    def of(cls, kind: ProblemKind) -> ProblemKindView:
        """Describe a kind."""
        return cls(type=kind.type, title=kind.title, status=kind.status, advice=kind.advice)


class ProblemKindList(BaseModel):
    """All kinds of problems, by status."""

    problems: list[ProblemKindView]


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        kind: ProblemKind,
        message: str = "",
        *,
        name: str = "",
        expected: str = "",
        got: str = "",
        advice: str = "",
        title: str = "",
        people: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Describe one error.

        Args:
            kind: the kind of problem.
            message: the whole statement, if the error is no mismatch of expected and found.
            name: the field at fault; empty for the whole request.
            expected: the rule that was broken, as a noun phrase.
            got: what was found instead.
            advice: what to do.
            title: replaces the kind's own title.
            people: whole sentences for people; without them the other texts are put into sentences.
            headers: further headers of the answer.
        """
        error = LipSyncError(message, option=name or (), expected=expected, got=got, advice=advice)
        self._describe(kind, [error], title, headers)
        self.problem.user_message = people or self.problem.user_message

    @classmethod
    def of(
        cls, kind: ProblemKind, errors: Sequence[LipSyncError], *, headers: dict[str, str] | None = None
    ) -> ProblemError:
        """Make a problem of the client's errors."""
        made = cls(kind)
        made._describe(kind, errors, "", headers)
        return made

    def _describe(
        self, kind: ProblemKind, errors: Sequence[LipSyncError], title: str, headers: dict[str, str] | None
    ) -> None:
        detail = "; ".join(str(error) for error in errors[:MAX_NAMED])
        self.args = (detail,)
        wait = {RETRY_AFTER: str(RETRY_AFTER_S[kind.status])} if kind.status in RETRY_AFTER_S else {}
        self.headers = {**wait, **(headers or {})}
        self.problem = Problem(
            type=kind.type,
            title=title or kind.title,
            status=kind.status,
            detail=detail,
            user_message=" ".join(for_user(error) for error in errors[:MAX_NAMED]),
            errors=[_field_problem(error) for error in errors],
        )

    def response(self) -> Response:
        """Return the HTTP answer."""
        content = self.problem.model_dump(exclude_defaults=True)
        return JSONResponse(content, self.problem.status, headers=self.headers, media_type=MEDIA_TYPE)


def validation_problem(found: Sequence[Any]) -> ProblemError:
    """Make a problem of pydantic's errors; only values that the client itself refused are repeated."""
    errors = [_client_error(error) for error in found]
    are_settings = any(isinstance(error, UsageError) for error in errors)
    return ProblemError.of(WRONG_OPTION if are_settings else UNUSABLE, errors)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route for the OpenAPI document; where a token is asked for, attempts are limited."""
    throttled = {429} if 401 in statuses else set()
    return {status: _problem_response(status) for status in sorted({*statuses, *throttled})}


def _problem_response(status: int) -> dict[str, Any]:
    kinds = [kind for kind in KINDS.values() if kind.status == status]
    standard = kinds[0]
    example = {
        "type": standard.type,
        "title": standard.title,
        "status": status,
        "detail": str(_standard_error(status)),
        "user_message": for_user(_standard_error(status)),
    }
    described: dict[str, Any] = {
        "description": " or ".join(f"{kind.title} (`{kind.type}`)" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in RETRY_AFTER_S:
        schema = {"type": "integer", "minimum": 1}
        described["headers"] = {RETRY_AFTER: {"description": "Seconds to wait.", "schema": schema}}
    return described


def file_is_gone(what: str) -> ProblemError:
    """Return the problem of a job's file that is not there any more."""
    people = f"The {what} is not here any more. It may have been removed."
    return ProblemError(FILE_GONE, expected=f"a job whose {what} is still here", got="none", people=people)


def arrival_problem(error: LipSyncError) -> ProblemError:
    """Return the problem of a file that cannot be had: one of ARRIVAL_ERRORS."""
    if not isinstance(error, DiskFull):
        return ProblemError.of(TOO_LARGE if isinstance(error, FileTooLarge) else ADDRESS_REFUSED, [error])
    expected = "room for the files on the server's disk"
    people = "There is too little room for your files on the server's disk. Try again later, or remove old videos."
    return ProblemError(DISK_FULL, expected=expected, got="too little", advice="Try again later", people=people)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error of the app into a problem."""

    @app.exception_handler(ProblemError)
    async def _problem(_request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(StorageUnavailable)
    @app.exception_handler(OperationalError)
    async def _unavailable(_request: Request, error: Exception) -> Response:
        logger.warning("a request cannot be answered: %s", type(getattr(error, "orig", error)).__name__)
        people = "The service cannot reach its records or files at the moment. Nothing is lost. Try again in a moment."
        return ProblemError(
            UNAVAILABLE, expected="records and files within reach", got="no answer", people=people
        ).response()

    @app.exception_handler(FileMissing)
    async def _missing(_request: Request, _error: FileMissing) -> Response:
        return file_is_gone("file").response()  # it went while the answer was made

    @app.exception_handler(AddressRefused)
    @app.exception_handler(FileTooLarge)
    @app.exception_handler(DiskFull)
    async def _arrival(_request: Request, error: LipSyncError) -> Response:
        return arrival_problem(error).response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return validation_problem(list(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = STANDARD.get(error.status_code, MALFORMED)
        headers = dict(error.headers or {})
        if kind is METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed_methods(request))
        return ProblemError.of(kind, [_standard_error(kind.status)], headers=headers).response()


class DefectMiddleware:
    """Answers 500 as a problem where the app has a defect; outer middleware adds its headers to that answer too."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; a defect is raised again once it is answered, for the log."""
        has_begun = False

        async def noted_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except Exception:
            if scope["type"] == "http" and not has_begun:
                await ProblemError.of(DEFECT, [_standard_error(500)]).response()(scope, receive, send)
            raise


def _allowed_methods(request: Request) -> list[str]:
    """Return all methods of an address; each of its routes knows only its own, and mounted files have none."""
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))  # a mount has changed root_path
    scope = {**request.scope, "root_path": root}
    matching = [route for route in request.app.state.routes if route.matches(scope)[0] is not Match.NONE]
    methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
    methods |= {"GET"} if any(isinstance(route, Mount) for route in matching) else set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _standard_error(status: int) -> LipSyncError:
    """Return the error of a status that the web framework raised without saying more."""
    return DETAILS.get(status) or LipSyncError(STANDARD[status].title)


def _client_error(found: Any) -> LipSyncError:
    """Return the client's own error behind one of pydantic's, or one with pydantic's message."""
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):
        return cause.error
    name = ".".join(part for part in found["loc"] if isinstance(part, str) and part not in OUTSIDE_NAMES)
    return LipSyncError(found["msg"], option=name or ())


def _field_problem(error: LipSyncError) -> FieldProblem:
    """Return the fields of an error, options in them by their names in the API."""
    nameless = copy(error)
    nameless.options, nameless.about = (), ""
    expected, got, advice = (spelled(text, by_name) for text in (error.expected, error.got, error.advice))
    name = (*error.options, error.about)[0]
    return FieldProblem(name=name, detail=str(nameless), expected=expected, got=got, advice=advice)
