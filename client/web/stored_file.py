"""Files of jobs as HTTP answers: parts and repeated requests as RFC 9110 has them, links never followed."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from client.web.problem_kinds import NO_SUCH_PART
from client.web.problems import ProblemError

RANGES = re.compile(r"bytes=\s*([\d\s,-]+)", re.ASCII | re.IGNORECASE)
RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)
_conditions = StaticFiles(check_dir=False)


def is_stored(path: Path) -> bool:
    """Return whether a path is a file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


class StoredFile(FileResponse):
    """A file, a part of it, or that it has not changed."""

    def __init__(
        self,
        path: Path,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        is_download: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the answer; the file must exist."""
        super().__init__(
            path,
            media_type=media_type,
            filename=filename,
            content_disposition_type="attachment" if is_download else "inline",
            headers=headers,
            stat_result=path.stat(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = Headers(scope=scope)
        if _conditions.is_not_modified(self.headers, asked):
            await NotModifiedResponse(self.headers)(scope, receive, send)
            return
        try:
            part = self._part(asked)
        except ProblemError as error:
            await error.response()(scope, receive, send)
            return
        await self._send(part, scope, receive, send)

    async def _send(self, part: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        passed = MutableHeaders(raw=[(name, value) for name, value in asked.raw if name != b"range"])
        if part is not None:
            passed["range"] = part
        await super().__call__({**scope, "headers": passed.raw}, receive, send)

    def _part(self, asked: Headers) -> str | None:
        """Return the parts that are asked for as a valid Range header; None for the whole file.

        Raises:
            ProblemError: 416, the file has none of them.
        """
        condition = asked.get("if-range")
        if "range" not in asked or (condition is not None and not self._should_use_range(condition)):
            return None
        nbytes = int(self.headers["content-length"])
        parts = satisfiable_ranges(asked["range"], nbytes)
        if parts is None:
            return None
        if not parts:
            headers = {"Content-Range": f"bytes */{nbytes}"}
            raise ProblemError(
                NO_SUCH_PART, expected=f"a part of {nbytes} bytes", got="one behind the end", headers=headers
            )
        return "bytes=" + ",".join(f"{first}-{last}" for first, last in parts)


def satisfiable_ranges(text: str, nbytes: int) -> list[tuple[int, int]] | None:
    """Return first and last byte of each part of a file that a Range header asks for.

    Parts behind the file's end are left out. None if the header is to be ignored: another unit, or malformed.

    Source: RFC 9110, section 14.2.
    """
    stated = RANGES.fullmatch(text.strip())
    if stated is None:
        return None
    parts = []
    for spec in filter(None, (part.strip() for part in stated[1].split(","))):
        found = RANGE.fullmatch(spec)
        if found is None or spec == "-" or (found[1] and found[2] and int(found[1]) > int(found[2])):
            return None
        first = int(found[1]) if found[1] else max(nbytes - int(found[2]), 0)
        last = min(int(found[2]), nbytes - 1) if found[1] and found[2] else nbytes - 1
        if first <= last:
            parts.append((first, last))
    return parts if RANGE.search(stated[1]) else None
