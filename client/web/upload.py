"""Multipart uploads, written to disk as they arrive, never held in memory; limits are checked at every byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from client.storage.disk import DiskGuard
from client.storage.names import shown_name
from client.web.labels import label
from client.web.problem_kinds import (
    BODY_TOO_LARGE,
    MALFORMED,
    STALLED,
    TOO_LARGE,
    UNUSABLE,
    WRONG_CONTENT_TYPE,
)
from client.web.problems import ProblemError
from client.web.settings import MB

WRITE_BYTES = 1 << 20  # size of a write
DISK_CHECK_EVERY = 16 * MB  # bytes between two looks at the free space
MAX_FIELD_BYTES = 2000
MAX_PARTS = 64
MAX_OVERHEAD_BYTES = 64 * 1024  # headers of parts, and fields, beside the files
STALL_S = 30.0  # longest time without a byte


@dataclass
class Upload:
    """What was uploaded.

    Attributes:
        fields: the text fields.
        names: part -> file name on the user's machine, for display only.
        nbytes: size of all files together.
        digests: part -> SHA-256 of the file, if they were asked for.
    """

    fields: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    nbytes: int = 0
    digests: dict[str, str] = field(default_factory=dict)


class UploadReader:
    """Reads one multipart body: named file parts go to files, the others are fields."""

    def __init__(
        self,
        files: Mapping[str, Path],
        max_bytes: int,
        disk: DiskGuard,
        fields: frozenset[str],
        check: Callable[[Mapping[str, str]], None] | None = None,
        *,
        has_digests: bool = False,
        optional: Collection[str] = (),
        replaced_by: Mapping[str, str] | None = None,
        long_fields: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare.

        Args:
            files: name of a file part -> path to write it to.
            max_bytes: size limit of all files together.
            disk: checked while writing.
            fields: names of the text fields.
            check: called before each file with the fields that came before it; may raise a ProblemError.
            has_digests: whether digests of the files are computed.
            optional: the file parts that may be missing.
            replaced_by: file part -> field beside which it may be missing.
            long_fields: further text fields -> size limit in bytes of each.
        """
        self._needed = [name for name in files if name not in optional]
        self._replaced_by = replaced_by or {}
        self._long_fields = long_fields or {}
        self.upload = Upload()
        self._check = check
        self._has_digests = has_digests
        self._digest = hashlib.sha256()
        self._files = files
        self._max_bytes = max_bytes
        self._disk = disk
        self._known_fields = fields
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._parts = self._other_bytes = self._checked_at = 0
        self._name = ""
        self._is_complete = False
        self._text = bytearray()
        self._file: BinaryIO | None = None

    async def read(self, request: Request) -> Upload:
        """Read the request's body to its end.

        Raises:
            ProblemError: it is too large, stalls, is malformed, or has unknown or missing parts.
            DiskFull: there is no room for it.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise ProblemError(WRONG_CONTENT_TYPE, name="content-type", expected="multipart/form-data with a boundary")
        length = request.headers.get("content-length", "")
        if length.isdecimal():
            self._check_size(int(length) - MAX_OVERHEAD_BYTES - sum(self._long_fields.values()))
            self._disk.check(int(length))
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._take,
            "on_part_end": self._close_part,
            "on_end": self._note_end,
        }
        parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
        try:
            await self._feed(parser, request)
            parser.finalize()
        except MultipartParseError as error:
            raise ProblemError(MALFORMED, expected="well-formed multipart/form-data", got="something else") from error
        finally:
            if self._file is not None:
                with suppress(OSError):  # what could not be written before cannot be written now
                    self._file.close()
        if not self._is_complete:
            raise ProblemError(
                MALFORMED, expected="multipart/form-data up to its last boundary", got="only a part of it"
            )
        if missing := [name for name in self._needed if self._is_missing(name)]:
            people = f"The {label(missing[0]).lower()} is missing. Add it."
            raise ProblemError(
                UNUSABLE, name=missing[0], expected="a file", got="none", advice="Add one", people=people
            )
        return self.upload

    def _is_missing(self, name: str) -> bool:
        return name not in self.upload.names and self._replaced_by.get(name) not in self.upload.fields

    async def _feed(self, parser: MultipartParser, request: Request) -> None:
        """Pass the body to the parser in larger pieces, in another thread than the event loop's."""
        stream = request.stream().__aiter__()
        waiting = bytearray()
        ended = False
        while not ended:
            try:
                waiting += await asyncio.wait_for(anext(stream), STALL_S)
            except StopAsyncIteration:
                ended = True
            except TimeoutError as error:
                raise ProblemError(
                    STALLED,
                    expected=f"data within {STALL_S:g} s",
                    got="none",
                    advice="Send it again",
                    people=f"Nothing arrived for {STALL_S:g} s. Check your connection, then send it again.",
                ) from error
            except ClientDisconnect as error:
                raise ProblemError(MALFORMED, "The upload was interrupted", advice="Send it again") from error
            if len(waiting) >= WRITE_BYTES or (ended and waiting):
                piece, waiting = bytes(waiting), bytearray()
                await run_in_threadpool(parser.write, piece)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ProblemError(UNUSABLE, expected=f"at most {MAX_PARTS} parts", got="more")
        self._disposition = b""

    def _end_header(self) -> None:
        name, value = self._header
        self._count_other(len(name) + len(value))
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _open_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._text = bytearray()
        if self._name in self.upload.names or self._name in self.upload.fields:
            raise ProblemError(UNUSABLE, name=self._name, expected="it once", got="it twice")
        if self._name in self._files:
            if self._check is not None:
                self._check(self.upload.fields)
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.upload.names[self._name] = shown_name(given) or self._name
            self._file = self._files[self._name].open("xb")
            self._digest = hashlib.sha256()
        elif self._name not in self._known_fields and self._name not in self._long_fields:
            known = ", ".join([*self._files, *sorted(self._known_fields), *self._long_fields])
            raise ProblemError(UNUSABLE, name=self._name[:80] or "name", expected=f"one of {known}")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._text += data[start:end]
            limit = self._long_fields.get(self._name, MAX_FIELD_BYTES)
            if len(self._text) > limit:
                raise ProblemError(UNUSABLE, name=self._name, expected=f"at most {limit} bytes", got="more")
            if self._name not in self._long_fields:
                self._count_other(end - start)
            return
        self.upload.nbytes += end - start
        self._check_size(self.upload.nbytes)
        if self.upload.nbytes - self._checked_at >= DISK_CHECK_EVERY:
            self._checked_at = self.upload.nbytes
            self._disk.check()
        with self._disk.writing():
            self._file.write(data[start:end])
        if self._has_digests:
            self._digest.update(data[start:end])

    def _close_part(self) -> None:
        if self._file is None:
            self.upload.fields[self._name] = self._text.decode("utf-8", "replace")
            return
        with self._disk.writing():
            self._file.flush()
            os.fsync(self._file.fileno())  # so that an accepted job survives a power cut
        empty = self._file.tell() == 0
        self._file.close()
        self._file = None
        if self._has_digests:
            self.upload.digests[self._name] = self._digest.hexdigest()
        if empty:
            people = f"The file of the {label(self._name).lower()} is empty. Choose another."
            raise ProblemError(UNUSABLE, name=self._name, expected="a media file", got="an empty one", people=people)

    def _note_end(self) -> None:
        self._is_complete = True

    def _count_other(self, nbytes: int) -> None:
        self._other_bytes += nbytes
        if self._other_bytes > MAX_OVERHEAD_BYTES:
            raise ProblemError(BODY_TOO_LARGE, expected=f"at most {MAX_OVERHEAD_BYTES} bytes of fields", got="more")

    def _check_size(self, nbytes: int) -> None:
        if nbytes > self._max_bytes:
            limit = f"at most {self._max_bytes / MB:g} MB in all"
            people = f"This service takes {limit}. Shorten the files, or compress them more."
            name = " and ".join(self._needed)
            raise ProblemError(TOO_LARGE, name=name, expected=limit, got="more", advice="Send less", people=people)
