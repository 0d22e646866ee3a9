"""Assembles the service: routes, security, page, OpenAPI document."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from client.web import job_routes, legacy_routes, service_routes
from client.web.connections import BodyGuard
from client.web.heads import HeadMiddleware
from client.web.metrics import Metrics, MetricsMiddleware
from client.web.problems import DefectMiddleware, Problem, add_problem_handlers
from client.web.security import Gatekeeper, SecurityMiddleware
from client.web.service import Service
from client.web.settings import NULL_ORIGIN
from client.web.stored_file import StoredFile

ROUTES = (job_routes, service_routes, legacy_routes)
PAGE = Path(__file__).parent / "page"
DESCRIPTION = "Takes a video and recorded speech; returns the video lip-synced to it."


def create_app(service: Service) -> FastAPI:
    """Create the app that serves the API and the page of a service."""
    settings = service.settings
    app = FastAPI(title="lipsync", description=DESCRIPTION, version=_version(), docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.gatekeeper = Gatekeeper(settings)
    app.state.metrics = Metrics(service)
    add_problem_handlers(app)
    for routes in ROUTES:
        app.include_router(routes.router)

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
            allow_headers=["Authorization", "Content-Type", "Range"],
            expose_headers=["Location", "Content-Range"],
        )
    if NULL_ORIGIN in settings.cors_origins:
        app.add_middleware(legacy_routes.LegacyCors, origins=settings.cors_origins)
    app.add_middleware(DefectMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(SecurityMiddleware, settings=settings)
    _complete_openapi(app)
    return app


def _complete_openapi(app: FastAPI) -> None:
    """Add the problem schema and the authentication scheme to the OpenAPI document."""
    document = app.openapi()
    components: dict[str, Any] = document.setdefault("components", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), "Problem": schema}
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    app.openapi_schema = document


def _version() -> str:
    try:
        return version("lipsync-triton")
    except PackageNotFoundError:
        return "0"
