"""The routes of live streams: the clips, and the WebSocket that takes a voice and gives pictures."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from client.errors import ServerUnavailable
from client.web.face_preview import not_ready
from client.web.live_socket import DONE, converse, refuse
from client.web.live_streams import ClipList
from client.web.problems import ProblemError, problem_responses
from client.web.security import SIGNED_IN, User
from client.web.service import ServiceDep

router = APIRouter(tags=["live"])


@router.get("/live/clips", response_model=ClipList, dependencies=SIGNED_IN, responses=problem_responses(401, 503))
def list_clips(service: ServiceDep) -> ClipList:
    """List the prepared clips that the WebSocket `/live` can show while somebody speaks."""
    try:
        return service.live.listed()
    except ServerUnavailable as error:
        raise not_ready() from error


@router.websocket("/live")
async def live(socket: WebSocket, user: User, service: ServiceDep) -> None:
    """Show a prepared clip that says what is still being spoken.

    Whoever may not call the service is refused before the connection is made; later problems are messages.
    """
    await socket.accept()
    try:
        with service.live.place(user):
            await converse(socket, service.live)
        await socket.close(DONE)
    except ProblemError as problem:
        await refuse(socket, problem)
    except WebSocketDisconnect:
        pass
