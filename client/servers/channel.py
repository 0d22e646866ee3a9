"""Opens gRPC channels to Triton, in the clear or with TLS, with or without a bearer token."""

from __future__ import annotations

import threading

import tritonclient.grpc as triton_grpc
from tritonclient.grpc import InferenceServerClientPlugin

from client.servers.addresses import Address
from client.servers.security import Security
from lipsync_core.serving.endpoints import NO_PROXY

CLOSE_TIMEOUT_S = 5.0
# The first is for a gateway in front of Triton; the second for Triton itself, see its grpc-restricted-protocol.
TOKEN_HEADERS = ("authorization", "triton-grpc-protocol-authorization")
OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel never shares a broken connection of an older one
]


class _TokenPlugin(InferenceServerClientPlugin):  # type: ignore[misc]
    """Adds a bearer token to every call."""

    def __init__(self, token: str) -> None:
        self._headers = dict.fromkeys(TOKEN_HEADERS, f"Bearer {token}")

    def __call__(self, request: triton_grpc._client.Request) -> None:
        request.headers.update(self._headers)


def open_channel(address: Address, security: Security) -> triton_grpc.InferenceServerClient:
    """Open a channel. It connects with the first call.

    Raises:
        UsageError: A token would cross the network unencrypted.
    """
    security.check(address)
    options: list[tuple[str, int | str]] = [*OPTIONS, *([NO_PROXY] if address.is_local else [])]
    if address.server_name is not None and security.tls:
        options.append(("grpc.ssl_target_name_override", address.server_name))
    client = triton_grpc.InferenceServerClient(address.url, creds=security.credentials(), channel_args=options)
    if security.token is not None:
        client.register_plugin(_TokenPlugin(security.token))
    return client


def stop_stream(client: triton_grpc.InferenceServerClient, *, has_ended: bool) -> None:
    """End a client's stream, if it has one, and the thread that sends its requests.

    That thread waits for a request, and tritonclient 2.73 tells it of the end only where the stream is not cancelled.

    Args:
        client: the client.
        has_ended: whether its last answer has come. It is closed in order then: of streams that are cancelled just
            when they end, Triton 2.51 keeps a file descriptor now and then.
    """
    stream = client._stream
    if stream is None:
        return
    if has_ended:
        late = threading.Timer(CLOSE_TIMEOUT_S, stream._response_iterator.cancel)
        late.start()
        client.stop_stream(cancel_requests=False)
        late.cancel()
    else:
        client.stop_stream(cancel_requests=True)
        stream._request_queue.put(None)
