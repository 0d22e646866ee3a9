"""The routes that the page needs beside the API's own: pipelines to choose from, the queue, waveforms, the example."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from client.errors import LipSyncError
from client.pipelines import PIPELINES
from client.web.example import LOOP, PHOTOGRAPH, VOICE
from client.web.face_preview import not_ready
from client.web.file_routes import BYTES, FILE_HEADERS, MEDIA
from client.web.labels import SOUND_PART
from client.web.media_type import media_type
from client.web.page_views import ExampleView, PipelineViews, QueueView, pipeline_view
from client.web.problem_kinds import FILE_GONE
from client.web.problems import ProblemError, problem_responses
from client.web.security import SIGNED_IN, User
from client.web.service import Service, ServiceDep
from client.web.settings import MB
from client.web.stored_file import StoredFile, is_stored
from client.web.upload import UploadReader
from client.web.waveform import Waveform, make_waveform

MAX_SOUND_BYTES = 200 * MB
EXAMPLE_FILES = {"video": PHOTOGRAPH, "audio": VOICE, "loop": LOOP}
SOUND_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {SOUND_PART: {**BYTES, "minLength": 1}},
                "required": [SOUND_PART],
                "additionalProperties": False,
            }
        }
    },
}
router = APIRouter(tags=["page"])


@router.get("/pipelines", response_model=PipelineViews, dependencies=SIGNED_IN, responses=problem_responses(401, 503))
def list_pipelines(service: ServiceDep) -> PipelineViews:
    """List all pipelines with speed, quality and licence in words; those that the server lacks with what to do."""
    try:
        loaded = service.models.get()
    except LipSyncError as error:
        raise not_ready() from error
    views = [pipeline_view(pipeline, loaded, service.store.pace_of(pipeline.name)) for pipeline in PIPELINES]
    return PipelineViews(pipelines=views)


@router.get("/queue", response_model=QueueView, dependencies=SIGNED_IN, responses=problem_responses(401))
def get_queue(service: ServiceDep) -> QueueView:
    """Return how many jobs have not ended, and how long they will take."""
    return queue_view(service)


def queue_view(service: Service) -> QueueView:
    """Return how busy a service is."""
    store = service.store
    running, queued = [*store.in_state("running"), *store.in_state("cancelling")], store.in_state("queued")
    views = [service.view(job) for job in (*running, *queued)]
    left = [view.eta_s if view.eta_s is not None else view.estimate_s for view in views]
    at_once = service.settings.workers if service.settings.ray is None else len(running)
    known = [seconds for seconds in left if seconds is not None]
    wait_s = round(sum(known) / max(at_once, 1), 1) if len(known) == len(left) else None
    return QueueView(ahead=len(views), wait_s=wait_s)


@router.post(
    "/waveform",
    response_model=Waveform,
    openapi_extra={"requestBody": SOUND_BODY},
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 507),
)
async def get_waveform(request: Request, user: User, service: ServiceDep) -> Waveform:
    """Measure the loudness of a sound over time, for browsers that cannot decode it."""
    async with service.place_for_upload(user) as place:
        sound = place.folder / SOUND_PART
        await UploadReader({SOUND_PART: sound}, MAX_SOUND_BYTES, service.disk, frozenset()).read(request)
        return await make_waveform(sound)


@router.get("/example", response_model=ExampleView, dependencies=SIGNED_IN, responses=problem_responses(401))
def get_example(service: ServiceDep) -> ExampleView:
    """Return the example to try: a photograph and a sentence, once they are made."""
    folder = service.settings.example_folder
    links = {part: f"/example/{part}" if is_stored(folder / name) else None for part, name in EXAMPLE_FILES.items()}
    return ExampleView(video_name=PHOTOGRAPH, audio_name=VOICE, **links)


@router.get(
    "/example/{part}",
    response_class=FileResponse,
    dependencies=SIGNED_IN,
    responses={**MEDIA, **problem_responses(401, 404, 416)},
)
def get_example_file(part: str, service: ServiceDep) -> FileResponse:
    """Return a file of the example: `video`, `audio` or `loop`."""
    path = service.settings.example_folder / EXAMPLE_FILES.get(part, "none")
    if part not in EXAMPLE_FILES or not is_stored(path):
        people = "The example is not made yet. Try again in a moment."
        raise ProblemError(FILE_GONE, expected="a file of the example that is made", got="another", people=people)
    return StoredFile(path, media_type=media_type(path), headers=FILE_HEADERS)
