"""How many frames of one request fit into /dev/shm, through which a server on this host passes all its tensors."""

from __future__ import annotations

from client.errors import ServerUnavailable
from client.servers.access import ServerAccess
from client.system import has_shared_memory
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.shared_memory import ADVICE, SHARED_MEMORY, free_shared_memory

MIB = 1 << 20
# Measured with mouth-motion at 256x256 to 1920x1080, faces as large as the picture; Triton's pools never shrink.
SERVER_BYTES = 24 * MIB  # each instance of a model takes 1 MiB when it starts
CROP_BYTES = 950_000  # per frame: the crops that the face networks see, as floats
# Copies of a frame: each of two requests under way lies in the client's region, a quarter larger than the tensors, and
# in the pools of a step's two instances, going in (and, for the changed region, coming out).
SEARCHED_COPIES, CHANGED_COPIES = 6.5, 9.0
FEWEST_COPIES = 2.0  # of a searched frame, with one request under way


def room_for(access: ServerAccess) -> int | None:
    """Return the bytes that are free in /dev/shm; None if no server of a job uses this host's.

    Raises:
        ServerStartError: the job needs a server of its own, which cannot use /dev/shm.
    """
    if access.servers is not None:
        addresses = access.servers.fixed
        if not addresses or not all(address.is_local for address in addresses):
            return None
    if not has_shared_memory():
        return None
    try:
        return free_shared_memory()
    except ServerStartError:
        if access.urls:
            return None  # that server may run in a container, with a /dev/shm of its own
        raise


def fitting_frames(room: int, searched_bytes: int, changed_bytes: int) -> int:
    """Choose how many frames a request may hold.

    Args:
        room: free bytes of /dev/shm.
        searched_bytes: size of a frame as faces are searched in it, in bytes.
        changed_bytes: size of the largest part of a frame that is changed, in bytes.

    Raises:
        ServerUnavailable: there is no room for a single frame.
    """
    fewest = round(SERVER_BYTES + CROP_BYTES + FEWEST_COPIES * searched_bytes)
    if room < fewest:
        needed = f"at least {-(-fewest // MIB)} MB free for Triton and one frame"
        raise ServerUnavailable(about=SHARED_MEMORY, expected=needed, got=f"{room // MIB} MB", advice=ADVICE)
    per_frame = CROP_BYTES + SEARCHED_COPIES * searched_bytes + CHANGED_COPIES * changed_bytes
    return max(1, int((room - SERVER_BYTES) / per_frame))
