"""`python -m client.web`: Triton, workers and the web service in one command, until interrupted."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from client.errors import LipSyncError, ServerUnavailable, UsageError, ref
from client.logs import set_up_logs, take_down_logs
from client.option import flag
from client.process import end_on_signals
from lipsync_core.extras import needs_extra
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.terminal import forgive_streams, interrupts_end

with interrupts_end("lipsync web"), needs_extra("web"):
    import uvicorn
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    from client.cli.server_arguments import server_access
    from client.running.ray_link import RayLink
    from client.servers.embedded import start_error
    from client.web.app import create_app
    from client.web.background import Background
    from client.web.connections import GuardedProtocol, max_connections
    from client.web.earlier_files import take_over
    from client.web.example import making_example
    from client.web.job_media import JobMedia, check_same_files
    from client.web.live_messages import MAX_MESSAGE_BYTES
    from client.web.recovery import hold_uploads
    from client.web.service import Service
    from client.web.settings import ANY_ADDRESS, build_parser, settings_from
    from client.web.signing import set_up_signing
    from client.web.store import open_store
    from client.web.triton import LoadedModels, open_triton
    from client.web.worker import Workers, trouble_on_ray

LAST_ANSWERS_S = 2  # time for open responses when the service ends; streams are cut off then


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    forgive_streams()
    options = build_parser().parse_args(argv)
    handler = set_up_logs(as_json=False, quiet=False)
    try:
        settings = settings_from(options, os.environ)
        set_up_signing(options, os.environ)
        if options.worker_only and options.url is None and settings.ray is None:
            raise UsageError(
                option="worker_only", expected=f"{ref('url')} with the address of a running Triton", got="none"
            )
        end_on_signals()
        with ExitStack() as stack:
            listening = None if options.worker_only else stack.enter_context(listen(options.host, options.port))
            settings.create_folders()
            if listening is not None:
                stack.enter_context(hold_uploads(settings))
            own = server_access(options)
            triton = own if options.worker_only else stack.enter_context(open_triton(options))
            store, media = open_store(settings), JobMedia(settings)
            stack.callback(store.close)
            media.check()
            check_same_files(store, media)
            take_over(settings.data, store)
            if settings.ray is None:
                workers = Workers(settings, store, media, triton)
            else:
                link = RayLink(settings.ray, None if own.urls else options.model_repository, settings.workers)
                workers = Workers(settings, store, media, own, partial(trouble_on_ray, link), link)
            stack.enter_context(workers)
            if listening is None:
                threading.Event().wait()
            else:
                service = Service(settings, store, media, LoadedModels(triton))
                stack.enter_context(Background(service))
                stack.enter_context(making_example(settings, triton))
                serve(service, listening)
    except KeyboardInterrupt:
        return 0
    except LipSyncError as error:
        print(f"lipsync web: {error.text(flag)}", file=sys.stderr)
        return error.exit_code
    except ServerStartError as error:
        print(f"lipsync web: {start_error(error).text(flag)}", file=sys.stderr)
        return ServerUnavailable.exit_code
    finally:
        take_down_logs(handler)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything expensive starts.

    Raises:
        UsageError: it cannot be bound.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket(family, kind))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            stack.pop_all()  # the caller closes it
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            option="port", expected=f"a free port on {host}", got=f"{port} ({error})", advice="Choose another"
        ) from error
    return listening


def serve(service: Service, listening: socket.socket) -> None:
    """Serve a service's app until a signal ends it."""
    _AnnouncedServer(service).run([listening])


def server_config(service: Service, log_level: str = "warning") -> uvicorn.Config:
    """Return how uvicorn serves a service's app."""
    proxies = service.settings.trusted_proxies
    return uvicorn.Config(
        create_app(service),
        http=GuardedProtocol,
        limit_concurrency=max_connections(),
        ws=WebSocketsSansIOProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # sound and video do not shrink
        log_level=log_level,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=LAST_ANSWERS_S,
    )


class WebServer(uvicorn.Server):
    """Ends a service's event streams before it waits for open answers."""

    def __init__(self, service: Service, log_level: str = "warning") -> None:
        """Serve a service's app."""
        super().__init__(server_config(service, log_level))
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, then shut down."""
        self._service.is_ending = True
        await super().shutdown(sockets)


class _AnnouncedServer(WebServer):
    """Prints the address of the page once it can be opened."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port, *_ = sockets[0].getsockname()
        shown = ANY_ADDRESS.get(host) or (f"[{host}]" if ":" in host else host)
        print(f"lipsync web: open http://{shown}:{port} (Ctrl-C ends it)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
