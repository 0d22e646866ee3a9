"""Assembles the service: routes, security, page, OpenAPI document."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from client.web import (
    event_routes,
    file_routes,
    job_routes,
    legacy_routes,
    live_routes,
    page_routes,
    plan_routes,
    progressive_routes,
    service_routes,
    verify_routes,
)
from client.web.connections import BodyGuard
from client.web.event_routes import EVENT_SCHEMAS
from client.web.heads import HeadMiddleware
from client.web.idempotency import KEY_HEADER, REPEATED_HEADER
from client.web.job_routes import BODY_SCHEMAS
from client.web.metrics import Metrics, MetricsMiddleware
from client.web.problems import DefectMiddleware, Problem, add_problem_handlers, problem_responses
from client.web.security import Gatekeeper, SecurityMiddleware
from client.web.service import Service
from client.web.settings import NULL_ORIGIN
from client.web.stored_file import StoredFile

ROUTES = (
    job_routes,
    event_routes,
    file_routes,
    progressive_routes,
    service_routes,
    page_routes,
    plan_routes,
    verify_routes,
    live_routes,
    legacy_routes,
)
PAGE = Path(__file__).parent / "page"
DESCRIPTION = "Takes a video and recorded speech; returns the video lip-synced to it."


def create_app(service: Service) -> FastAPI:
    """Create the app that serves the API and the page of a service."""
    settings = service.settings
    app = _api()
    app.state.service = service
    app.state.gatekeeper = Gatekeeper(settings, service.store)
    app.state.planner = plan_routes.Planner()
    app.state.verifier = verify_routes.Verifier()
    app.state.metrics = Metrics(service)

    @app.get("/", include_in_schema=False, response_model=None)
    def page() -> StoredFile:
        return StoredFile(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    app.state.routes = [*app.routes, *(route for routes in ROUTES for route in routes.router.routes)]
    app.add_middleware(HeadMiddleware)
    app.add_middleware(BodyGuard)
    if sites := [origin for origin in settings.cors_origins if origin != NULL_ORIGIN]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sites,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", KEY_HEADER, "Range"],
            expose_headers=["Location", "Content-Range", "Retry-After", REPEATED_HEADER],
        )
    if NULL_ORIGIN in settings.cors_origins:
        app.add_middleware(legacy_routes.LegacyCors, origins=settings.cors_origins)
    app.add_middleware(DefectMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(SecurityMiddleware, settings=settings)
    app.openapi = _openapi_document  # type: ignore[method-assign]  # as FastAPI advises
    return app


def _api() -> FastAPI:
    """Make an app of the API's routes alone."""
    app = FastAPI(
        title="lipsync",
        description=DESCRIPTION,
        version=_version(),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    add_problem_handlers(app)
    for routes in ROUTES:
        app.include_router(routes.router)
    return app


@cache  # the same for every service
def _openapi_document() -> dict[str, Any]:
    """Add what FastAPI cannot know to the OpenAPI document: problems, events, bodies, settings, and the token."""
    document = _api().openapi()
    components: dict[str, Any] = document.setdefault("components", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), "Problem": schema, **EVENT_SCHEMAS, **BODY_SCHEMAS}
    components["schemas"]["JobView"]["properties"]["settings"] = {
        "$ref": "#/components/schemas/JobSettings",
        "description": "Value of every option, defaults included.",
    }
    for operation in [operation for methods in document["paths"].values() for operation in methods.values()]:
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            operation["responses"]["422"] = problem_responses(422)[422]  # in place of FastAPI's own errors
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    return document


def _version() -> str:
    try:
        return version("lipsync-triton")
    except PackageNotFoundError:
        return "0"
