"""One live stream on a WebSocket: voice from the page to the server, pictures and sound back as fragmented mp4."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from client.errors import LipSyncError
from client.live.output import LiveOutput
from client.live.run import LiveReport
from client.live.stream import LivePicture, LiveSession
from client.live.waiting import WaitingVoice
from client.media.playable import media_type_with_codecs
from client.web.live_messages import Opening, as_text, read_text, read_voice
from client.web.live_outbox import Outbox, OutboxClosed
from client.web.live_streams import LiveStreams, stream_problem
from client.web.problem_kinds import DEFECT, STALLED, TOO_LONG, UNUSABLE
from client.web.problems import ProblemError

OPEN_WITHIN_S = 10.0  # of the connection
IDLE_S = 60.0  # without a message of the page, until its stream is ended
MOST_WAITING_S = 300.0  # of voice that waits for the server; then no message is read until some was shown
DONE, GONE, REFUSED = 1000, 1005, 1008  # why a WebSocket is closed; source: RFC 6455, 7.4.1
logger = logging.getLogger("client.web")


async def converse(socket: WebSocket, streams: LiveStreams) -> None:
    """Serve one stream on an accepted WebSocket, until either side ends it.

    Raises:
        ProblemError: the page asks for something that cannot be done, or the stream failed.
        WebSocketDisconnect: the page has gone.
    """
    opening = await _opening(socket)
    try:
        settings = opening.settings()
    except LipSyncError as error:
        raise stream_problem(error) from error
    session = await run_in_threadpool(streams.open, settings)
    await _Conversation(socket, session, streams.settings.max_duration_s).run()


async def _opening(socket: WebSocket) -> Opening:
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            message = await _next(socket)
    except TimeoutError:
        raise ProblemError(STALLED, expected=f"a message `open` within {OPEN_WITHIN_S:g} s", got="none") from None
    sent = message if isinstance(message, bytes) else read_text(message)
    if not isinstance(sent, Opening):
        raise ProblemError(UNUSABLE, name="kind", expected="a message `open` before anything else", got="another one")
    return sent


async def _next(socket: WebSocket) -> str | bytes:
    """Return a page's next message.

    Raises:
        WebSocketDisconnect: the page has gone.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", GONE))
    content: bytes | None = message.get("bytes")
    return str(message["text"]) if content is None else content


class _Conversation:
    """Both directions of one stream, until one of them ends."""

    def __init__(self, socket: WebSocket, session: LiveSession, max_voice_s: float) -> None:
        self._socket = socket
        self._session = session
        self._samples_left = round(max_voice_s * session.facts.rate)
        self._max_voice_s = max_voice_s
        self._has_ended = False  # the page sends no more voice
        self._voice = WaitingVoice(session)
        self._shown = asyncio.Event()  # another picture, and so room for voice
        self._room = asyncio.Event()  # for more voice
        self._room.set()
        self._outbox = Outbox()
        self._drawing = Drawing(session, self._outbox, partial(_set, asyncio.get_running_loop(), self._shown))

    async def run(self) -> None:
        thread = threading.Thread(target=self._drawing.run, name="live pictures", daemon=True)
        thread.start()
        tasks = [asyncio.create_task(work) for work in (self._send(), self._receive(), self._pass_on())]
        for task in tasks:
            task.add_done_callback(_note_error)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._outbox.close()
            closing = threading.Thread(target=self._session.close, name="close live stream", daemon=True)
            closing.start()  # a thread, as nothing can be waited for where the service cancels this
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await run_in_threadpool(closing.join)

    async def _send(self) -> None:
        while (message := await self._outbox.get()) is not None:
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)
        if self._drawing.failed is not None:
            raise self._drawing.failed
        await self._socket.send_text(as_text("ended", **asdict(self._drawing.report)))

    async def _receive(self) -> None:
        while True:
            await self._room.wait()
            message = await self._next_message()
            with _problems_of_the_stream():
                if isinstance(message, bytes):
                    self._add_voice(message)
                else:
                    self._obey(message)

    async def _pass_on(self) -> None:
        """Give the stream the voice that waits, as it is shown."""
        while True:
            await self._shown.wait()
            self._shown.clear()
            with _problems_of_the_stream():
                self._voice.pass_on()
            self._limit_voice()

    async def _next_message(self) -> str | bytes:
        try:
            async with asyncio.timeout(None if self._has_ended else IDLE_S):
                return await _next(self._socket)
        except TimeoutError:
            raise ProblemError(
                STALLED,
                title="The stream was idle",
                expected=f"a message every {IDLE_S:g} s",
                got="none",
                people="No voice arrived for a minute, so the stream was ended.",
            ) from None

    def _obey(self, text: str) -> None:
        sent = read_text(text)
        if isinstance(sent, Opening):
            raise ProblemError(UNUSABLE, name="kind", expected="`interrupt` or `end` while it is open", got="'open'")
        if sent.kind == "end":
            self._has_ended = True
            self._voice.end()
        else:
            self._voice.drop()
            self._session.interrupt()

    def _add_voice(self, content: bytes) -> None:
        if self._has_ended:
            raise ProblemError(UNUSABLE, name="voice", expected="none after the message `end`", got="some")
        samples = read_voice(content)
        self._samples_left -= len(samples)
        if self._samples_left < 0:
            people = f"A live stream takes {self._max_voice_s:g} s of voice here. Start another one."
            raise ProblemError(
                TOO_LONG, expected=f"at most {self._max_voice_s:g} s of voice in a stream", got="more", people=people
            )
        self._voice.add(samples)
        self._limit_voice()

    def _limit_voice(self) -> None:
        if self._voice.samples < MOST_WAITING_S * self._session.facts.rate:
            self._room.set()
        else:
            self._room.clear()


@contextmanager
def _problems_of_the_stream() -> Iterator[None]:
    """Tell a page what its stream says."""
    try:
        yield
    except LipSyncError as error:
        raise stream_problem(error) from error


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event from another thread."""
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(event.set)


def _note_error(task: asyncio.Task[None]) -> None:
    """Look at a task's error, so that asyncio does not tell of one that comes while its stream is ended."""
    if not task.cancelled():
        task.exception()


class Drawing:
    """Encodes a stream's pictures in a thread, into an outbox.

    Attributes:
        report: what was drawn so far.
        failed: why it ended before its time; None if it did not.
    """

    def __init__(self, session: LiveSession, outbox: Outbox, tell: Callable[[], None]) -> None:
        """Draw the pictures of an open stream; `tell` is called with each."""
        self.report = LiveReport(is_marked=session.facts.is_marked)
        self.failed: ProblemError | None = None
        self._session = session
        self._outbox = outbox
        self._tell = tell
        self._encoded = bytearray()
        self._is_told = False  # the page knows what it gets
        self._speaks: bool | None = None

    def run(self) -> None:
        """Encode until the stream ends, or nobody takes it."""
        try:
            with LiveOutput(self, self._session.facts) as output:  # type: ignore[arg-type]  # it needs `write` alone
                self._pass_on()
                for picture in self._session:
                    self._tell()
                    output.write(picture)
                    self._note(picture)
                    self._pass_on()
            self._pass_on()
        except OutboxClosed:
            pass
        except LipSyncError as error:
            self.failed = stream_problem(error)
        except Exception:
            logger.exception("a live stream failed")
            self.failed = ProblemError(
                DEFECT, "The service has a defect", advice="Its log says more to whoever runs it"
            )
        finally:
            self._outbox.finish()

    def write(self, content: bytes) -> int:
        """Take a part of the encoded stream."""
        self._encoded += content
        return len(content)

    def _pass_on(self) -> None:
        """Give the page what is encoded, after the message that says what it is."""
        if not self._is_told:
            media_type = media_type_with_codecs(bytes(self._encoded))
            if media_type is None:
                return
            self._outbox.put(as_text("opened", media_type=media_type, **asdict(self._session.facts)))
            self._is_told = True
        if self._encoded:
            self._outbox.put(bytes(self._encoded))
            self._encoded.clear()

    def _note(self, picture: LivePicture) -> None:
        self.report.note(picture)
        if picture.speaks != self._speaks and self._is_told:
            self._speaks = picture.speaks
            self._outbox.put(as_text("speaks", speaks=picture.speaks, time_s=picture.time_s))


async def refuse(socket: WebSocket, problem: ProblemError) -> None:
    """Tell an accepted WebSocket's page of a problem, and close it."""
    with suppress(WebSocketDisconnect):
        await socket.send_text(as_text("problem", problem=problem.problem.model_dump(exclude_defaults=True)))
        await socket.close(REFUSED)
