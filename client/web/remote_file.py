"""Files of a storage as HTTP answers, passed on in pieces as they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from itertools import chain

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from client.storage import Storage, StoredFacts
from client.web.stored_file import StoredFile


class RemoteFile(StoredFile):
    """A file of a storage, a part of it, or that it has not changed; who asks for several parts gets the whole."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        facts: StoredFacts,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        is_download: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the answer."""
        FileResponse.__init__(
            self,
            key,
            media_type=media_type,
            filename=filename,
            content_disposition_type="attachment" if is_download else "inline",
            headers=headers,
        )
        self._storage, self._key, self._nbytes = storage, key, facts.nbytes
        self.headers["content-length"] = str(facts.nbytes)
        self.headers["last-modified"] = formatdate(facts.modified_at, usegmt=True)
        self.headers["etag"] = facts.etag

    async def _send(self, part: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        ranges = [] if part is None else part.removeprefix("bytes=").split(",")
        start, stop, status = 0, self._nbytes, 200
        if len(ranges) == 1:
            first, _, last = ranges[0].partition("-")
            start, stop, status = int(first), int(last) + 1, 206
            self.headers["content-range"] = f"bytes {start}-{last}/{self._nbytes}"
            self.headers["content-length"] = str(stop - start)
        if scope["method"] == "HEAD":
            stop = start
        pieces = self._storage.read(self._key, start, stop)
        try:
            piece = await run_in_threadpool(lambda: next(pieces, b""))  # errors come before the status
            answer = StreamingResponse(chain([piece], pieces), status)  # which stops when the caller leaves
            answer.raw_headers = self.raw_headers
            await answer(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(pieces.close)  # the storage sends no more
