"""What front ends choose of a Ray cluster. Does not import Ray, which is an extra."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.running.ray_cluster import RayNode

CPUS_PER_JOB = 2.0
MAX_IN_FLIGHT = 1000


@dataclass(frozen=True)
class JobNeeds:
    """What Ray sets aside for a job, on one machine.

    Attributes:
        cpus: cores, for decoding and encoding.
        gpus: share of a GPU; jobs with shares of one GPU call one server. 0: the server runs on the CPU.
    """

    cpus: float = CPUS_PER_JOB
    gpus: float = 0.0

    def places(self, node: RayNode) -> int:
        """Return how many jobs fit on a machine at once."""
        by_gpu = int(node.gpus / self.gpus + 1e-6) if self.gpus else MAX_IN_FLIGHT
        return min(int(node.cpus / self.cpus + 1e-6), by_gpu)


@dataclass(frozen=True)
class RayPlace:
    """A cluster, and what a job takes there.

    Attributes:
        address: see `joined_cluster`.
        needs: what a job takes.
    """

    address: str
    needs: JobNeeds = field(default_factory=JobNeeds)
