"""Measures one row: streams at once, with the use of the processor, the GPUs and the memory."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psutil

from client.errors import LipSyncError
from client.live.stream import LiveSession
from perf.live.clip import endless
from perf.live.figures import figures_of, keeps_up, times_of
from perf.live.rows import Key, Row, Status
from perf.live.speaker import Observed, Speaker
from perf.machine.conditions import now
from perf.machine.gpu import GpuSampler, Look
from perf.machine.memory import MB, private_bytes
from perf.machine.sampler import Sampler

MEMORY_EVERY_S = 2.0
SETTLED = 1 / 3  # of the time: memory that is reached by then is what streams need
SHORTEST_TREND_S = 60.0  # of the rest, for its growth to tell anything
STAGGER_S = 0.13  # between the beginnings of speakers, who do not speak in chorus
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Target:
    """A server with a clip.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        clip: the clip's name.
        pids: returns the ids of its processes; none of a server elsewhere.
        gpu_look: samples its GPUs; None without any.
    """

    url: str
    clip: str
    pids: Callable[[], list[int]]
    gpu_look: Look | None = None


def measure(target: Target, key: Key, utterances: Sequence[np.ndarray], seconds: float) -> Row:
    """Let clients speak to streams for some seconds; a failure of one is noted in the row."""
    began, load = now(), os.getloadavg()[0]
    with ExitStack() as stack:
        try:
            streams = [stack.enter_context(LiveSession(target.url, target.clip, pace=key.pace)) for _ in _times(key)]
        except LipSyncError as error:
            return Row(key, "failed", began, str(error))
        memory = stack.enter_context(ServerMemory(target.pids))
        gpu = stack.enter_context(GpuSampler(target.gpu_look))
        usage = Usage(target.pids())
        is_paced = key.pace == "real_time"
        observed = _let_speak(streams, utterances, seconds, is_paced=is_paced)
        figures = usage.figures()
    figures |= figures_of(observed)
    figures |= times_of(observed) if is_paced else _speed(figures, streams[0].facts.video_fps)
    figures |= {**memory.figures, **gpu.figures, "load_before": round(load, 1)}
    failures = [str(one.failure) for one in observed if one.failure is not None]
    return Row(key, _status(key, figures, failures), began, "".join(failures[:1]), figures, tuple(memory.samples))


class Usage:
    """Processor time of a server and of this process, from its making on."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Begin to count."""
        self._pids = pids
        self._began = time.monotonic()
        self._before = processor_seconds(pids), time.process_time()

    def figures(self) -> dict[str, float]:
        """Return server_cores and client_cores: how many were busy on the average; and the seconds that passed."""
        seconds = time.monotonic() - self._began
        server, client = (
            after - before
            for before, after in zip(self._before, (processor_seconds(self._pids), time.process_time()), strict=True)
        )
        own = {"seconds": round(seconds, 1), "client_cores": round(client / seconds, 2)}
        return {**own, "server_cores": round(server / seconds, 2)} if self._pids else own


class ServerMemory(Sampler):
    """Samples the private memory of a server.

    Attributes:
        samples: seconds since the beginning, and MB.
    """

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        """Begin with the context."""
        super().__init__()
        self.samples: list[tuple[float, float]] = []
        self._pids = pids
        self._began = time.monotonic()

    def look(self) -> float:
        """Take one sample; none of a server that is elsewhere or has just lost a process."""
        try:
            used = private_bytes(self._pids())
        except psutil.Error:
            used = 0
        if used:
            self.samples.append((round(time.monotonic() - self._began, 1), round(used / MB, 1)))
        return MEMORY_EVERY_S

    @property
    def figures(self) -> dict[str, float]:
        """The last memory, and how much it grew per minute after the first third of the time."""
        if not self.samples:
            return {}
        settled = self.samples[int(SETTLED * len(self.samples)) :]
        figures = {"server_memory_mb": self.samples[-1][1]}
        if settled[-1][0] - settled[0][0] >= SHORTEST_TREND_S:
            at_s, used_mb = np.array(settled).T
            slope = np.polyfit(at_s, used_mb, 1)[0]
            figures["memory_growth_mb_per_min"] = round(float(slope) * SECONDS_PER_MINUTE, 2)
        return figures


def processor_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of processes; those that ended count as 0."""
    total = 0.0
    for pid in pids:
        try:
            spent = psutil.Process(pid).cpu_times()
            total += spent.user + spent.system
        except psutil.Error:
            continue
    return total


def _let_speak(
    streams: Sequence[LiveSession], utterances: Sequence[np.ndarray], seconds: float, *, is_paced: bool
) -> list[Observed]:
    until = time.monotonic() + seconds
    speakers = [
        Speaker(live, endless(utterances, first), until, is_paced=is_paced) for first, live in enumerate(streams)
    ]
    for speaker in speakers:
        speaker.start()
        time.sleep(STAGGER_S)
    for speaker in speakers:
        speaker.join()
    return [speaker.observed for speaker in speakers]


def _speed(figures: dict[str, float], video_fps: float) -> dict[str, float]:
    """Return pictures per second of all streams together, and how many times real time that is."""
    per_second = figures["pictures"] / figures["seconds"]
    return {"pictures_per_s": round(per_second, 1), "times_real_time": round(per_second / video_fps, 2)}


def _status(key: Key, figures: dict[str, float], failures: Sequence[str]) -> Status:
    if failures:
        return "failed"
    if key.pace == "fast":
        return "done"
    return "in real time" if keeps_up(figures) else "behind"


def _times(key: Key) -> itertools.repeat[None]:
    return itertools.repeat(None, key.sessions)
