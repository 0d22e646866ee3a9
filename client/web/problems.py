"""Errors as the API says them: RFC 9457 problem details, in people's words, without anything of the machine."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

logger = logging.getLogger("client.web")
MEDIA_TYPE = "application/problem+json"
TITLES: dict[int, str] = {
    400: "The request is not understood",
    401: "A token is needed",
    403: "This is not allowed",
    404: "There is no such thing here",
    405: "This cannot be done here",
    408: "The upload stalled",
    409: "The job is not in the right state",
    411: "The length is missing",
    413: "The upload is too large",
    415: "This kind of content is not understood",
    416: "The file has no such part",
    421: "This name is not served here",
    422: "The request cannot be used",
    429: "Too many jobs",
    500: "Something went wrong",
    503: "Not ready",
    507: "The disk is full",
}
DETAILS: dict[int, str] = {
    404: "expected an address that GET /openapi.json lists",
    405: "expected another method, see GET /openapi.json",
    500: "This is a defect of the service; who runs it finds more in its log",
}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    name: str
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:lipsync:problem:422",
                    "title": TITLES[422],
                    "status": 422,
                    "detail": "crf: Input should be less than or equal to 51",
                    "errors": [{"name": "crf", "detail": "Input should be less than or equal to 51"}],
                }
            ]
        }
    )

    type: str = Field(description="Names the kind of error, for programs.")
    title: str = Field(description="The kind of error, for people.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What exactly was wrong, and what to do.")
    errors: list[FieldProblem] = Field(default=[], description="The fields at fault, if any.")


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        errors: list[FieldProblem] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Say what is wrong: `<name>: expected <rule>, got <value>. <what to do>`."""
        super().__init__(detail)
        self.problem = Problem(
            type=f"urn:lipsync:problem:{status}",
            title=title or TITLES[status],
            status=status,
            detail=detail,
            errors=errors or [],
        )
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the HTTP answer."""
        content = self.problem.model_dump(exclude_defaults=True)
        return JSONResponse(content, self.problem.status, headers=self.headers, media_type=MEDIA_TYPE)


def validation_problem(errors: list[Any]) -> ProblemError:
    """Say pydantic's findings; the values themselves are not repeated."""
    fields = [FieldProblem(name=_field_name(error["loc"]), detail=_said(error["msg"])) for error in errors]
    detail = "; ".join(f"{field.name}: {field.detail}" if field.name else field.detail for field in fields[:5])
    return ProblemError(422, detail or TITLES[422], errors=fields)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route for the OpenAPI document."""
    return {
        status: {
            "description": TITLES[status],
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": f"urn:lipsync:problem:{status}",
                        "title": TITLES[status],
                        "status": status,
                        "detail": DETAILS.get(status, TITLES[status]),
                    },
                }
            },
        }
        for status in statuses
    }


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem."""

    @app.exception_handler(ProblemError)
    async def _problem(_request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return validation_problem(list(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in TITLES else 400
        headers = dict(error.headers or {})
        if status == 405:
            headers["Allow"] = ", ".join(_allowed_methods(request))
        return ProblemError(status, DETAILS.get(status, TITLES[status]), headers=headers).response()

    @app.exception_handler(Exception)
    async def _defect(_request: Request, _error: Exception) -> Response:
        return ProblemError(500, DETAILS[500]).response()


def _allowed_methods(request: Request) -> list[str]:
    """Return all methods of an address, whose routes know but their own."""
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})


def _field_name(place: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in place if part not in {"body", "query", "path"})


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
