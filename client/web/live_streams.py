"""The service's live streams: who may open one, which clips there are, and where streams are opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pydantic import BaseModel, Field

from client.errors import LipSyncError, MediaError, RequestRejected, ServerBusy, ServerUnavailable, UsageError
from client.live.clips import NAME, ClipStore
from client.live.engine import live_values
from client.live.messages import MODEL as LIVE_MODEL
from client.live.settings import StreamSettings
from client.live.stream import LiveSession
from client.options import MODEL
from client.pipelines import pipeline_named
from client.pipelines.silence_options import IN_SILENCE
from client.prepared.clip import PreparedClip
from client.prepared.options import kept_values
from client.servers.access import ServerAccess
from client.web.face_preview import not_ready
from client.web.problem_kinds import (
    NO_SUCH_CLIP,
    NOT_LOADED,
    TOO_MANY_STREAMS,
    UNREADABLE_MEDIA,
    UNUSABLE,
    WRONG_OPTION,
)
from client.web.problems import ProblemError
from client.web.settings import Settings
from client.web.triton import KEEPER, LoadedModels

MOST_CLIPS = 1000  # that are listed
OpenSession = Callable[[StreamSettings], LiveSession]


class ClipView(BaseModel):
    """A prepared clip."""

    name: str = Field(description="What a stream's `clip` names.")
    model: str | None = Field(description=f"Value of the option {MODEL.name} that it was prepared for.")
    title: str = Field(description="The model, for people; empty if it cannot be known.")
    obstacle: str = Field(description="Why it cannot be shown live at present, for people; empty if it can.")


class ClipList(BaseModel):
    """The clips for live streams."""

    ready: bool = Field(description="Whether this service serves live streams, and the server draws them at present.")
    clips: list[ClipView]


class LiveStreams:
    """Counts the live streams of this process, and opens them."""

    def __init__(self, settings: Settings, models: LoadedModels, open_session: OpenSession | None = None) -> None:
        """Show the clips of these settings.

        Args:
            settings: limits, and the folder of the clips.
            models: what the server can run.
            open_session: opens a stream; None to open it on the server.
        """
        self.settings = settings
        self._models = models
        self._clips = ClipStore(settings.clips)
        self._open_session = open_session or partial(open_on_server, models.access)
        self._open: Counter[str] = Counter()

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self._open.total()

    @contextmanager
    def place(self, user: str) -> Iterator[None]:
        """Count a stream of a user; called in the event loop alone.

        Raises:
            ProblemError: 429, the user or all together have too many.
        """
        mine, limits = self._open[user], self.settings
        if mine >= limits.max_live_per_user:
            people = f"You have {mine} live streams open, which is as many as this service gives one person. End one."
            raise _too_many(f"at most {limits.max_live_per_user} live streams of yours at once", "one more", people)
        if self.open_streams >= limits.max_live:
            people = "This service has no room for another live stream at the moment. Try again later."
            raise _too_many(f"at most {limits.max_live} live streams of all users at once", "one more", people)
        self._open[user] += 1
        try:
            yield
        finally:
            self._open[user] -= 1
            self._open += Counter()  # forgets users without streams

    def listed(self) -> ClipList:
        """List the clips.

        Raises:
            ServerUnavailable: no server is ready.
        """
        folder = self.settings.clips
        is_on = folder is not None and folder.is_dir() and self.settings.max_live > 0
        if folder is None or not is_on or not self._models.get().live:
            return ClipList(ready=False, clips=[])
        names = sorted(path.name for path in folder.iterdir() if _is_clip_name(path.name) and path.is_dir())
        return ClipList(ready=True, clips=[self._view(name) for name in names[:MOST_CLIPS]])

    def open(self, settings: StreamSettings) -> LiveSession:
        """Open a stream.

        Raises:
            ProblemError: 404, there is no such clip; 422, it cannot be shown live, or like this; 429, the server has no
                room; 503, it does not answer.
        """
        self._check_server()
        self._check_clip(settings)
        try:
            return self._open_session(settings)
        except LipSyncError as error:
            raise stream_problem(error) from error

    def _view(self, name: str) -> ClipView:
        pipeline, obstacle = None, ""
        try:
            pipeline = pipeline_named(kept_values(self._find(name))[MODEL])
            self._check_clip(StreamSettings(name))
        except ProblemError as error:
            obstacle = error.problem.user_message
        model, title = (pipeline.name, pipeline.title) if pipeline else (None, "")
        return ClipView(name=name, model=model, title=title, obstacle=obstacle)

    def _find(self, name: str) -> PreparedClip:
        """Return a clip of the folder.

        Raises:
            ProblemError: 404, there is none of this name; 422, it cannot be used.
        """
        folder = self.settings.clips
        if folder is None or not _is_clip_name(name) or not (folder / name).is_dir():
            people = "This clip is not there any more. Choose another one."
            raise ProblemError(
                NO_SUCH_CLIP, expected="a clip that GET /live/clips lists", got="another name", people=people
            )
        try:
            clip = self._clips.find(name)
            kept_values(clip)
        except MediaError as error:
            told = MediaError(about=name, expected=error.expected, got=error.got, advice=error.advice)  # not the folder
            raise ProblemError.of(UNREADABLE_MEDIA, [told]) from error
        return clip

    def _check_server(self) -> None:
        try:
            is_live = self._models.get().live
        except ServerUnavailable as error:
            raise not_ready() from error
        if not is_live:
            raise ProblemError(
                NOT_LOADED,
                expected=f"a server with the model {LIVE_MODEL}",
                got="one without",
                people=f"The server behind this service draws no live streams; {KEEPER}.",
            )

    def _check_clip(self, settings: StreamSettings) -> None:
        """Check that a clip can be shown live with these options.

        Raises:
            ProblemError: it cannot.
        """
        clip = self._find(settings.clip)
        try:
            values = live_values(clip, settings.options)
        except UsageError as error:
            raise stream_problem(error) from error
        self._models.check({MODEL.name: values[MODEL], IN_SILENCE.name: values[IN_SILENCE]})


def open_on_server(access: ServerAccess, settings: StreamSettings) -> LiveSession:
    """Open a stream on the first server that has room for it.

    Raises:
        LipSyncError: none has, or the stream is refused.
    """
    failed: ServerUnavailable | None = None
    for address in access.servers.find() if access.servers else ():
        try:
            return LiveSession(
                address, settings.clip, rate=settings.rate, options=settings.options, security=access.security
            )
        except ServerUnavailable as error:
            failed = error if failed is None or isinstance(error, ServerBusy) else failed
    raise failed or ServerUnavailable("no server is known")


def stream_problem(error: LipSyncError) -> ProblemError:
    """Return what a page is told of a stream that failed; addresses of servers are left out."""
    if isinstance(error, ServerBusy):
        people = "The server has no room for another live stream at the moment. Try again later."
        return _too_many("room for another live stream on the server", "none", people)
    if isinstance(error, ServerUnavailable):
        return not_ready()
    if isinstance(error, UsageError):
        return ProblemError.of(WRONG_OPTION, [error])
    if isinstance(error, MediaError):
        return ProblemError.of(UNREADABLE_MEDIA, [error])
    if isinstance(error, RequestRejected):
        error = RequestRejected(error.message, expected=error.expected, got=error.got)
    return ProblemError.of(UNUSABLE, [error])


def _too_many(expected: str, got: str, people: str) -> ProblemError:
    return ProblemError(
        TOO_MANY_STREAMS, expected=expected, got=got, advice="Try again when one has ended", people=people
    )


def _is_clip_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None
