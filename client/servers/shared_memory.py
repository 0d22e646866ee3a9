"""System shared memory between the client and a Triton on the same host, on Linux."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from client.errors import RequestRejected, ServerBusy
from client.system import has_shared_memory

REGION_PREFIX = "lipsync-client-"
MIN_REGION_BYTES = 1 << 20
ALIGNMENT = 64  # bytes; tensors of one region start on cache lines
CALL_TIMEOUT_S = 10.0


class Region:
    """A piece of shared memory that the server has mapped too, under a name that the client chose."""

    def __init__(self, client: triton_grpc.InferenceServerClient, name: str, nbytes: int) -> None:
        """Create the memory and register it with the server.

        The name is removed from /dev/shm as soon as both sides have mapped the memory, so that even a killed client
        leaves nothing behind.

        Raises:
            InferenceServerException: The server cannot map it; for example, it runs on another host or in a container.
            OSError: There is no room for it, or this system has no /dev/shm.
        """
        if not has_shared_memory():
            raise OSError(errno.ENOSYS, "this system has no /dev/shm")
        self.name = name
        self.nbytes = nbytes
        self._memory = SharedMemory(name, create=True, size=nbytes)
        try:
            os.posix_fallocate(self._memory._fd, 0, nbytes)  # type: ignore[attr-defined]  # else a full /dev/shm is a SIGBUS
            client.register_system_shared_memory(name, f"/{name}", nbytes, client_timeout=CALL_TIMEOUT_S)
        except BaseException:
            self._memory.close()
            raise
        finally:
            self._memory.unlink()

    def view(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array over part of the region; the offset is in bytes."""
        return np.ndarray(shape, dtype, buffer=self._memory.buf, offset=offset)

    def close(self, client: triton_grpc.InferenceServerClient | None) -> bool:
        """Unregister the region at the server and free it.

        Args:
            client: Asks the server; None if the server is not to be asked.

        Returns:
            Whether the server answered.
        """
        try:
            if client is not None:
                client.unregister_system_shared_memory(self.name, client_timeout=CALL_TIMEOUT_S)
            return client is not None
        except (InferenceServerException, ValueError):  # the server is gone, or our channel is closed
            return False
        finally:
            self._memory.close()


class RegionPool:
    """Regions that are lent for one request each and reused, so that few are ever registered."""

    def __init__(self, client: triton_grpc.InferenceServerClient) -> None:
        """Start empty, and unregister what clients that have died left registered at this server."""
        self._client = client
        self._token = secrets.token_hex(4)
        self._free: list[Region] = []
        self._spoiled: list[Region] = []  # the server may still write the answer of an abandoned request into them
        self._count = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._forget_dead_clients()

    def borrow(self, nbytes: int) -> AbstractContextManager[Region]:
        """Lend a region of at least nbytes until the context is left.

        Raises:
            InferenceServerException: The server cannot map it.
            OSError: There is no room for it, or this system has no /dev/shm.
        """
        return self._lend(self._take(nbytes))

    @contextmanager
    def _lend(self, region: Region) -> Iterator[Region]:
        shelf = self._spoiled
        try:
            yield region
            shelf = self._free
        except (RequestRejected, ServerBusy):  # an answer, so nothing more is written
            shelf = self._free
            raise
        finally:
            with self._lock:
                is_late = self._is_closed
                if not is_late:
                    shelf.append(region)
            if is_late:
                region.close(None)

    def close(self, client: triton_grpc.InferenceServerClient | None) -> None:
        """Free all regions; one that is lent out is freed when it is given back.

        Args:
            client: Asks the server; None if the server is not to be asked. A server that does not answer is asked only
                once; the next client unregisters what is left.
        """
        with self._lock:
            regions = [*self._free, *self._spoiled]
            self._free.clear()
            self._spoiled.clear()
            self._is_closed = True
        for region in regions:
            client = client if region.close(client) else None

    def _take(self, nbytes: int) -> Region:
        with self._lock:
            fitting = [region for region in self._free if region.nbytes >= nbytes]
            if fitting:
                region = min(fitting, key=lambda region: region.nbytes)
                self._free.remove(region)
                return region
            outgrown = self._free.pop() if self._free else None
            self._count += 1
            name = f"{REGION_PREFIX}{os.getpid()}-{self._token}-{self._count}"
        if outgrown is not None:
            outgrown.close(self._client)
        return Region(self._client, name, _round_up(nbytes))

    def _forget_dead_clients(self) -> None:
        status = self._client.get_system_shared_memory_status(client_timeout=CALL_TIMEOUT_S)
        for name in status.regions:
            if name.startswith(REGION_PREFIX) and not _is_mapped(name):
                self._client.unregister_system_shared_memory(name, client_timeout=CALL_TIMEOUT_S)


def _is_mapped(name: str) -> bool:
    """Return whether the client that registered a region is alive and has it mapped; True if we may not look.

    A client in another PID namespace is not seen.
    """
    pid = name.removeprefix(REGION_PREFIX).split("-")[0]
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        # "/dev/shm/NAME", and once the server has mapped it too, "/dev/shm/NAME (deleted)"
        return any(line.removesuffix(" (deleted)").endswith(f"/{name}") for line in lines)
    except PermissionError:
        return True
    except OSError:
        return _is_hidden(pid)


def _is_hidden(pid: str) -> bool:
    """Return whether a process is another user's and alive; with hidepid=2, /proc does not show it."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        pass
    return False


def align(nbytes: int) -> int:
    """Round a size in bytes up, so that the next tensor starts aligned."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _round_up(nbytes: int) -> int:
    """Add a quarter, so that the region also fits slightly larger requests."""
    return max(MIN_REGION_BYTES, nbytes + nbytes // 4)
