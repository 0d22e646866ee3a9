"""Where the servers are and how to reach them: one value that front ends build and hand to their child processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from client.errors import UsageError, ref
from client.servers.addresses import Servers, parse_urls
from client.servers.calls import Transport
from client.servers.connection import DEFAULT_PRIORITY, REQUEST_TIMEOUT_S
from client.servers.security import FILES, IN_THE_CLEAR, Security, read_token
from client.system import has_shared_memory

BATCH_PRIORITY = 2  # after the requests of people who wait, which have the models' default_priority_level


@dataclass(frozen=True)
class ServerAccess:
    """Where the servers are and how to reach them.

    Its JSON holds the token: give it to a child process through stdin or an inherited descriptor. Arguments and
    environments of processes can be read by others.

    Attributes:
        urls: What the user gave, as `parse_urls` reads it; empty if the client starts its own server.
        transport: How large tensors travel, see `TritonConnection`.
        request_timeout_s: Timeout per inference request, in seconds.
        security: Encryption, certificates and token; only for servers that are given by URL.
        priority: Level of the requests in the servers' queues, see `TritonConnection`.

    Raises:
        UsageError: A URL cannot be read, security is given without URLs, or this system has no shared memory to use.
    """

    urls: tuple[str, ...] = ()
    transport: Transport = "auto"
    request_timeout_s: float = REQUEST_TIMEOUT_S
    security: Security = IN_THE_CLEAR
    priority: int = DEFAULT_PRIORITY

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is sent."""
        if self.urls:
            parse_urls(self.urls)
        elif self.security != IN_THE_CLEAR:
            raise _security_without_url()
        if self.transport == "shm" and not has_shared_memory():
            raise UsageError(option="transport", expected="auto or grpc, as this system has no /dev/shm", got="shm")

    @property
    def servers(self) -> Servers | None:
        """The parsed addresses; None if the client starts its own server."""
        return parse_urls(self.urls) if self.urls else None

    def as_json(self) -> str:
        """Return everything in one line of JSON for `from_json`; a token that no file holds is included."""
        fields = asdict(self)
        if self.security.token_file is not None:
            fields["security"]["token"] = None
        return json.dumps(fields, default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> ServerAccess:
        """Rebuild what `as_json` wrote in another process.

        Raises:
            UsageError: A file that was usable there can no longer be used.
        """
        fields = json.loads(text)
        security = fields.pop("security")
        paths = {name: Path(security.pop(name)) for name in FILES if security[name] is not None}
        if "token_file" in paths:
            security["token"] = read_token(paths["token_file"])
        return cls(**fields | {"urls": tuple(fields["urls"]), "security": Security(**security | paths)})


def read_access(
    urls: Sequence[str] | None,
    *,
    transport: Transport = "auto",
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    tls: bool = False,
    tls_ca: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    token_file: Path | None = None,
) -> ServerAccess:
    """Build a ServerAccess from the values of a front end's options.

    The token comes from the file, else from the environment; without URLs a token of the environment is not used.

    Raises:
        UsageError: A URL or a file cannot be used, or the options do not go together.
    """
    if not urls and (tls or token_file):
        raise _security_without_url()
    token = read_token(token_file) if urls else None
    security = Security(tls, tls_ca, tls_cert, tls_key, token, token_file)
    return ServerAccess(tuple(urls or ()), transport, request_timeout_s, security)


def _security_without_url() -> UsageError:
    """Return the error of TLS or a token where the client starts its own server."""
    return UsageError(
        option=("tls", "token_file"), expected=f"{ref('url')} beside them", got="none", advice="Name the servers"
    )
