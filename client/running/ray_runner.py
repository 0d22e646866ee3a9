"""Runs jobs as tasks of a Ray cluster. Jobs travel as JSON; no code of others is run."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from client.errors import LipSyncError, ServerUnavailable, UsageError
from client.job_process import JobResult
from client.running.ray_cluster import RayCluster, RayNode
from client.running.ray_node import Answer, NodeServers, run_job, servers_name
from client.running.ray_place import MAX_IN_FLIGHT, JobNeeds
from client.running.request import ProcessRequest, SentRequest
from client.running.runner import ENDED_EARLY, EndedJob

MAX_TRIES = 3
MAX_LOST_MACHINES = 10  # by one job: it may be what takes them down
LOSS_SEEN_S = 60.0  # within which Ray notices that a machine is gone, whose processes it saw end one by one
TASKS_PER_PLACE = 2  # so that a machine has the next job when one ends
LOOK_EVERY_S = 2.0
WAIT_S = 1.0
HEAD_GONE_S = 30.0  # Ray itself gives up after 60 s, and ends this process
CLOSE_S = 30.0  # longer than jobs may take to end


@dataclass
class _Try:
    """A job that runs.

    Attributes:
        request: the job.
        number: how often it was started.
        crashes: how many of its tries ended by themselves without a result.
        losses: how many ended with their machine.
        crashed_at: when the last try crashed, by the monotonic clock; None if it did not.
    """

    request: ProcessRequest
    number: int = 1
    crashes: int = 0
    losses: int = 0
    crashed_at: float | None = None

    def count_loss(self) -> None:
        """Count a try that was lost with its machine."""
        self.losses += 1
        self.crashed_at = None

    def count_crash(self) -> None:
        """Count a try that ended without a result."""
        self.crashes += 1
        self.crashed_at = time.monotonic()

    def blame_machine(self) -> None:
        """Count a machine that is gone instead of a crash just before: it may be why the last try crashed."""
        if self.crashed_at is not None and time.monotonic() - self.crashed_at < LOSS_SEEN_S:
            self.crashes -= 1
            self.count_loss()

    @property
    def has_more(self) -> bool:
        """Whether it is tried again."""
        return self.crashes < MAX_TRIES and self.losses < MAX_LOST_MACHINES


class RayRunner:
    """Runs each job in a process on some machine of a cluster, and again elsewhere if it is lost; see JobRunner.

    A job that ended MAX_TRIES times without a result is set aside as failed. A machine that is lost with a job does not
    count, up to MAX_LOST_MACHINES of them. Who has a queue of their own can leave the next try to it.
    """

    def __init__(
        self,
        cluster: RayCluster,
        needs: JobNeeds,
        repository: Path | None,
        at_once: int | None = None,
        *,
        tries_again: bool = True,
    ) -> None:
        """Prepare to run jobs.

        Args:
            cluster: where.
            needs: what each job takes.
            repository: models of the servers that are started on each machine; None if jobs name servers.
            at_once: the most jobs at once; None for as many as fit.
            tries_again: whether lost jobs are tried again and the next jobs are kept ready; else they are returned as
                lost, and only as many are in flight as have room.

        Raises:
            UsageError: no machine has room for a job.
        """
        self._cluster, self._needs, self._repository = cluster, needs, repository
        self._at_once, self._tries_again = at_once, tries_again
        self._lock = threading.Lock()
        self._running: dict[Any, _Try] = {}
        self._nodes: dict[str, RayNode] = {}
        self._servers: dict[str, Any] = {}
        self._looked_at = self._head_seen_at = time.monotonic()
        self._look_around()
        if not self._places():
            raise self._no_room()
        self._task = ray.remote(run_job).options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0)

    @property
    def in_flight_limit(self) -> int:
        """How many jobs are submitted at once: a few more than fit, so that no machine waits for the next."""
        per_place = TASKS_PER_PLACE if self._tries_again else 1
        room = min(MAX_IN_FLIGHT, max(1, per_place * self._places()))
        return room if self._at_once is None else min(self._at_once, room)

    def submit(self, request: ProcessRequest) -> None:
        """Take a job; see JobRunner."""
        self._start(_Try(request))

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        """Wait for the next job that ends; see JobRunner.

        Raises:
            ServerUnavailable: the head of the cluster is gone.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._look_around_sometimes()
            for ref in self._ready(min(WAIT_S, max(0.0, until - time.monotonic()))):
                ended = self._ended(ref)
                if ended is not None:
                    return ended
            if time.monotonic() >= until:
                return None

    def cancel(self, job_id: str) -> None:
        """End a job early; see JobRunner."""
        with self._lock:
            refs = [ref for ref, one in self._running.items() if one.request.job_id == job_id]
        for ref in refs:
            ray.cancel(ref)

    def close(self) -> None:
        """End all jobs and servers, and wait for them a while; see JobRunner."""
        if not self._cluster.has_head():
            return
        refs = list(self._running)
        for ref in refs:
            ray.cancel(ref)
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=CLOSE_S)
        if self._servers:
            stops = [servers.stop.remote() for servers in self._servers.values()]
            ray.wait(stops, num_returns=len(stops), timeout=CLOSE_S)

    def _start(self, one: _Try) -> None:
        ref = self._task.remote(SentRequest.of(one.request).as_line())
        with self._lock:
            self._running[ref] = one

    def _ready(self, timeout_s: float) -> list[Any]:
        """Wait until one of the running tries has ended, or for some time."""
        refs = list(self._running)
        if not refs:
            time.sleep(timeout_s)
            return []
        ready: list[Any] = ray.wait(refs, num_returns=1, timeout=timeout_s)[0]
        return ready

    def _ended(self, ref: Any) -> EndedJob | None:
        """Return how a try ended; None if the job is tried again."""
        with self._lock:
            one = self._running.pop(ref)
        job_id = one.request.job_id
        try:
            answer = Answer.from_json(ray.get(ref))
        except (ray.exceptions.TaskCancelledError, KeyboardInterrupt) as error:
            if not isinstance(error, ray.exceptions.RayError):
                raise  # Ctrl-C here; of a job that was interrupted there, Ray makes an error that is both
            return EndedJob(job_id, JobResult(1, error=LipSyncError(ENDED_EARLY)), 0.0, tries=one.number)
        except ray.exceptions.NodeDiedError as error:
            one.count_loss()
            answer = _no_answer("its machine was lost", error)
        except ray.exceptions.RayError as error:
            one.count_crash()
            answer = _no_answer("its process was lost", error)
        else:
            if answer.is_lost:
                one.count_crash()
        if answer.is_lost and self._tries_again and one.has_more:
            self._start(replace(one, number=one.number + 1))
            return None
        result = JobResult.from_json(answer.result)
        if answer.is_lost and self._tries_again:
            reason = LipSyncError(f"set aside after {one.number} tries, the last of which ended so: {result.error}")
            result = JobResult(max(1, result.exit_code), error=reason)
        node = self._nodes.get(answer.node)
        name = node.name if node else answer.node
        return EndedJob(job_id, result, answer.seconds, name, one.number, answer.is_lost)

    def _look_around_sometimes(self) -> None:
        """Notice machines that join or leave.

        Raises:
            ServerUnavailable: the head is gone.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        if self._cluster.has_head():
            self._head_seen_at = now
            self._look_around()
        elif now - self._head_seen_at > HEAD_GONE_S:
            advice = "Start it again, and this command with it: it continues with what is missing"
            raise ServerUnavailable(f"ray: the head at {self._cluster.address} is gone", advice=advice)

    def _look_around(self) -> None:
        nodes = {node.id: node for node in self._cluster.nodes()}
        self._nodes |= nodes
        for node_id in self._nodes.keys() - nodes.keys():
            del self._nodes[node_id]
            self._servers.pop(node_id, None)
            for one in self._running.values():
                one.blame_machine()
        if self._repository is not None:
            for node_id in nodes.keys() - self._servers.keys():
                self._servers[node_id] = _servers_of(node_id, self._repository)

    def _places(self) -> int:
        return sum(map(self._needs.places, self._nodes.values()))

    def _no_room(self) -> UsageError:
        cpus = max((node.cpus for node in self._nodes.values()), default=0)
        gpus = max((node.gpus for node in self._nodes.values()), default=0)
        return UsageError(
            option=("ray_cpus", "ray_gpus"),
            expected=f"at most {cpus:g} cores and {gpus:g} GPUs, as the cluster's largest machines have",
            got=f"{self._needs.cpus:g} and {self._needs.gpus:g}",
        )


def _servers_of(node_id: str, repository: Path) -> Any:
    """Create the actor that holds a machine's servers; it ends with this process."""
    return (
        ray.remote(NodeServers)
        .options(
            name=servers_name(node_id),
            num_cpus=0,
            num_gpus=0,
            max_restarts=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote(str(repository.absolute()))
    )


def _no_answer(what: str, error: BaseException) -> Answer:
    """Return the answer of a try that gave none."""
    lost = JobResult(1, error=LipSyncError(f"{what}: {_first_words(error)}"))
    return Answer(lost.as_json(), True, "", 0.0)


def _first_words(error: BaseException) -> str:
    """Return the first sentence of what Ray says, which goes on with advice for its own commands."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.partition(". ")[0]
