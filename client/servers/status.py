"""Maps Triton's and gRPC's errors to the client's."""

from __future__ import annotations

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
    ref,
)
from lipsync_core.serving.shared_memory import ADVICE, EXHAUSTED_MARKS, SHARED_MEMORY

CANCELLED = "StatusCode.CANCELLED"
UNAVAILABLE = "StatusCode.UNAVAILABLE"
DEADLINE = "StatusCode.DEADLINE_EXCEEDED"
INVALID = "StatusCode.INVALID_ARGUMENT"
NOT_FOUND = "StatusCode.NOT_FOUND"
DENIED = ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")
DENIED_MARK = "protocol is restricted"  # of a missing token; Triton answers it with UNAVAILABLE
BUSY_MARKS = ("Exceeds maximum queue size", "Request timeout expired")  # the text, as BLS calls lose the status
HTTP_MARK = "Received http2 header with status"  # gRPC's word for an answer that is none of gRPC
STOPPING_MARKS = ("Server not ready", "Server is stopping")  # the text, as BLS calls lose the status
REGION_MARK = "Unable to find shared memory region"  # of a server that was restarted, or told to forget the region
STUB_MARK = "Stub process"  # a Python model's process died, and Triton 2.51 does not restart it


def client_error(url: str, error: InferenceServerException) -> LipSyncError:
    """Map Triton's and gRPC's errors to the client's, with what to do."""
    status, message = error.status(), error.message()
    if status in DENIED or (status == UNAVAILABLE and DENIED_MARK in message):
        rule, advice = "a token that the server accepts", f"Check {ref('token_file')}"
        return AccessDenied(about=url, expected=rule, got=message, advice=advice)
    if any(mark in message for mark in BUSY_MARKS):
        advice = "Add servers, or run fewer jobs at once"
        return ServerBusy(about=url, expected="room for a request", got=message, advice=advice)
    if STUB_MARK in message:
        return ModelDied(_failure(message), about=url, advice="Its log says why; restart it")
    if any(mark in message for mark in EXHAUSTED_MARKS):
        return ServerUnavailable(about=url, expected=f"room in the server's {SHARED_MEMORY}", got="none", advice=ADVICE)
    if any(mark in message for mark in STOPPING_MARKS):
        return ServerLost(about=url, expected="a running Triton", got="one that is stopping")
    if REGION_MARK in message:
        advice = f"Run it again, or use {ref('transport')} grpc"
        return ServerLost(about=url, expected="the client's shared memory", got="a server without it", advice=advice)
    if HTTP_MARK in message:
        got = f"a web server's answer ({message.rpartition(' ')[2]})"
        return ServerLost(about=url, expected="a running Triton", got=got, advice="Check host and port")
    if status == UNAVAILABLE:
        advice = "Check host and port, or start one: lipsync serve"
        return ServerLost(about=url, expected="a running Triton", got="no connection", advice=advice)
    if status == DEADLINE:
        advice = "The server may be overloaded or frozen"
        return NoAnswer(about=url, expected="an answer in time", got="none", advice=advice)
    if status == CANCELLED:
        return ServerLost("the request was cancelled", about=url)
    if status == NOT_FOUND or "is not found" in message:
        return RequestRejected(message, about=url, advice="Load the model there, or let the client start a server")
    if status == INVALID:
        return RequestRejected(message)
    return RequestRejected(_failure(message), about=url)


def _failure(message: str) -> str:
    return f"the server failed in a request: {message}"
