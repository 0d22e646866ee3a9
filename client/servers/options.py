"""How a pool deals with its servers."""

from __future__ import annotations

from dataclasses import dataclass

from client.servers.calls import Transport
from client.servers.connection import REQUEST_TIMEOUT_S
from client.servers.security import IN_THE_CLEAR, Security


@dataclass(frozen=True)
class PoolOptions:
    """How a pool deals with its servers.

    Attributes:
        transport: as for TritonConnection.
        request_timeout_s: deadline of one inference request.
        security: encryption, certificates and token.
        patience_s: how long requests wait for a server to have room.
        comeback_s: how long they wait for any server to come back where all are lost.
        check_every_s: between two questions whether a server is ready; also between two tries to reach a lost one.
        check_timeout_s: for its answer.
        max_misses: that many in a row make a server a lost one.
        look_up_every_s: between two looks at a name's addresses.
        models_stamp: stands for the models' files, where they are known; part of every model's identity.
    """

    transport: Transport = "auto"
    request_timeout_s: float = REQUEST_TIMEOUT_S
    security: Security = IN_THE_CLEAR
    patience_s: float = 60.0
    comeback_s: float = 60.0
    check_every_s: float = 2.0
    check_timeout_s: float = 5.0
    max_misses: int = 3
    look_up_every_s: float = 30.0
    models_stamp: str = ""
