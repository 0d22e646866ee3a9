from __future__ import annotations

import pytest
from tritonclient.utils import InferenceServerException

from client.errors import (
    AccessDenied,
    LipSyncError,
    ModelDied,
    NoAnswer,
    RequestRejected,
    ServerBusy,
    ServerLost,
    ServerUnavailable,
)
from client.servers.status import client_error

URL = "a:1"


@pytest.mark.parametrize(
    ("status", "message", "kind", "text"),
    [
        ("UNAUTHENTICATED", "no token", AccessDenied, "a:1: expected a token that the server accepts, got no token"),
        ("UNAVAILABLE", "This protocol is restricted, expecting header", AccessDenied, "Check token_file"),
        ("UNAVAILABLE", "Exceeds maximum queue size", ServerBusy, "a:1: expected room for a request"),
        ("INTERNAL", "in a call: Request timeout expired", ServerBusy, "a:1: expected room for a request"),
        ("INTERNAL", "Stub process is not healthy", ModelDied, "a:1: the server failed in a request: Stub process"),
        ("UNAVAILABLE", "failed to connect", ServerLost, "a:1: expected a running Triton, got no connection"),
        (
            "INTERNAL",
            "Failed to increase the shared memory pool size",
            ServerUnavailable,
            "container with --shm-size=1g",
        ),
        ("INTERNAL", "Error when running inference: Server not ready", ServerLost, "got one that is stopping"),
        ("UNIMPLEMENTED", "Received http2 header with status: 404", ServerLost, "got a web server's answer (404)"),
        ("NOT_FOUND", "Unable to find shared memory region: 'x'", ServerLost, "Run it again, or use transport grpc"),
        ("DEADLINE_EXCEEDED", "late", NoAnswer, "a:1: expected an answer in time, got none"),
        ("CANCELLED", "", ServerLost, "a:1: the request was cancelled"),
        ("NOT_FOUND", "no model", RequestRejected, "a:1: no model. Load the model there"),
        ("INVALID_ARGUMENT", "frames: expected x, got y", RequestRejected, "frames: expected x, got y"),
        ("INTERNAL", "oops", RequestRejected, "a:1: the server failed in a request: oops"),
    ],
)
def test_each_status_has_its_error(status: str, message: str, kind: type[LipSyncError], text: str) -> None:
    """Whether a request is sent again depends on the class; people read the text."""
    error = client_error(URL, InferenceServerException(message, f"StatusCode.{status}"))
    assert type(error) is kind
    assert text in str(error)
