"""What runs on the machines of a Ray cluster: jobs in processes of their own, and the servers that they share."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray

from client.errors import LipSyncError, ServerUnavailable
from client.job_process import JobResult
from client.offer import models_to_serve
from client.running.process import JobProcess
from client.running.request import SentRequest
from client.servers.embedded import start_error
from lipsync_core.serving.flavours import AUTO, choose_flavour
from lipsync_core.serving.gpus import VISIBLE_VARIABLE
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import COMPILE_TIMEOUT_S, EmbeddedServer, ServerOptions

SERVERS_TIMEOUT_S = 60.0  # within which the batch notices a machine that has joined
LOOK_EVERY_S = 0.5
THREADS_VARIABLE = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Answer:
    """What a try of a job came to.

    Attributes:
        result: the job's result as JSON, see `JobResult`.
        is_lost: whether the job did not end by itself, so that another try may help.
        node: Ray's id of the machine.
        seconds: how long it ran.
    """

    result: str
    is_lost: bool
    node: str
    seconds: float

    def as_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """Rebuild what `as_json` wrote."""
        return cls(**json.loads(text))


class NodeServers:
    """An actor that holds the servers of one machine: one per GPU that jobs are given, or one for its CPU."""

    def __init__(self, repository: str) -> None:
        """Prepare; a server is started when the first job asks for it."""
        os.environ.pop(THREADS_VARIABLE, None)  # Ray's, by the cores of the actor, which are none
        self._repository = Path(repository)
        self._servers: dict[str | None, EmbeddedServer] = {}

    def url(self, gpu: str | None) -> str:
        """Return HOST:PORT, on loopback, of the server of a GPU; start it if it does not run.

        Raises:
            LipSyncError: it does not start.
        """
        server = self._servers.get(gpu)
        if server is None or not server.is_alive():
            self._stop(gpu)
            server = self._servers[gpu] = self._started(gpu)
        return server.url

    def stop(self) -> None:
        """Stop all of them."""
        for gpu in list(self._servers):
            self._stop(gpu)

    def _stop(self, gpu: str | None) -> None:
        server = self._servers.pop(gpu, None)
        if server is not None:
            server.stop()

    def _started(self, gpu: str | None) -> EmbeddedServer:
        if gpu is not None:
            os.environ[VISIBLE_VARIABLE] = gpu
        flavour = choose_flavour(AUTO, self._repository, None, [] if gpu is None else [gpu]).flavour
        models = tuple(models_to_serve(self._repository, None, flavour))
        timeout_s = COMPILE_TIMEOUT_S if flavour else ServerOptions.startup_timeout_s
        options = ServerOptions(
            self._repository,
            models,
            config_name=flavour,
            startup_timeout_s=timeout_s,
            ends_after_freeze=True,
            gpu=gpu,
        )
        try:
            return EmbeddedServer(options).__enter__()
        except ServerStartError as error:
            raise start_error(error) from error


def servers_name(node_id: str) -> str:
    """Name the actor that holds a machine's servers."""
    return f"lipsync-servers-{node_id}"


def run_job(line: str) -> str:
    """Run a job on the machine that Ray has chosen.

    Args:
        line: the job, as JSON; see `SentRequest`.

    Returns:
        An Answer as JSON.
    """
    started = time.monotonic()
    node = ray.get_runtime_context().get_node_id()
    request, uses_own_server = SentRequest.from_line(line), False
    try:
        access = request.access
        uses_own_server = not access.urls
        if uses_own_server:
            request = request.with_access(replace(access, urls=(_own_url(node),)))
        result = _result(JobProcess(request, ends_with_parent=True))
    except LipSyncError as error:
        result = JobResult(error.exit_code, error=error)
    except OSError as error:
        result = JobResult(1, error=LipSyncError(f"the job cannot be started: {error.strerror}"))
    was_killed = result.exit_code < 0
    is_lost = was_killed or (uses_own_server and result.exit_code == ServerUnavailable.exit_code)
    return Answer(result.as_json(), is_lost, node, time.monotonic() - started).as_json()


def _result(process: JobProcess) -> JobResult:
    """Wait for a job's end; one that is cancelled is ended first."""
    try:
        return process.result()
    except BaseException:  # KeyboardInterrupt, by which Ray cancels a task
        process.end()
        raise


def _own_url(node: str) -> str:
    """Return the server of this machine and of the GPU that the task was given.

    Raises:
        LipSyncError: there is none.
    """
    gpus = ray.get_gpu_ids()
    try:
        return str(ray.get(_servers(node).url.remote(str(gpus[0]) if gpus else None)))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LipSyncError):
            raise error.cause from None
        raise ServerUnavailable(f"the server of this machine: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise ServerUnavailable(f"the server of this machine was lost: {type(error).__name__}") from error


def _servers(node: str) -> Any:
    """Return the actor with this machine's servers; wait for it on a machine that has just joined."""
    give_up_at = time.monotonic() + SERVERS_TIMEOUT_S
    while time.monotonic() < give_up_at:
        with suppress(ValueError):
            return ray.get_actor(servers_name(node))
        time.sleep(LOOK_EVERY_S)
    raise ServerUnavailable("the server of this machine was not started in time")
