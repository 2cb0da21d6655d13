"""Write the video in a multipart request to disk as it arrives, within limits of size and rate."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from avfusion.runtime.quantities import byte_size
from avfusion.serving.limits import Limits
from avfusion.serving.refusal import RefusalError

FIELD = "video"
NAME_LENGTH = 120
BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
OVERHEAD_BYTES = 100_000  # for the form around the video
_EXTENDED_NAME = re.compile(r";\s*filename\*=(utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)
LINGER_BYTES, LINGER_S = 200_000_000, 5.0
HELP = f"send multipart/form-data with one file, in the field '{FIELD}'"


async def receive_upload(request: Request, target: Path, limits: Limits) -> str:
    """Write the video of a request's form to `target`.

    Returns:
        The owner's name for the video, for display.

    Raises:
        RefusalError: the form is not as expected, too large, or too slow.
        ClientDisconnect: the client went away.
        OSError: the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RefusalError(415, f"the request is no form: {HELP}")
    if len(options[b"boundary"]) > BOUNDARY_BYTES:
        raise RefusalError(400, f"the form's boundary has more than {BOUNDARY_BYTES} bytes: {HELP}")
    pieces = request.stream()
    too_large = RefusalError(413, f"the video has more than {byte_size(limits.upload_bytes)}, which is the limit here")
    try:
        if int(request.headers.get("content-length") or 0) > limits.upload_bytes + OVERHEAD_BYTES:
            raise too_large
        with target.open("xb") as file:
            form = _Form(options[b"boundary"])
            received = 0
            async for piece in _brisk(pieces, limits):
                received += len(piece)
                content = form.feed(piece)
                if form.size > limits.upload_bytes or received > limits.upload_bytes + OVERHEAD_BYTES:
                    raise too_large
                await _write(file, content)
        return form.name()
    except RefusalError as refusal:
        if refusal.status != 408:
            await drain(pieces)
        raise
    except OSError:
        await drain(pieces)
        raise


class _Form:
    """The form received so far."""

    def __init__(self, boundary: bytes) -> None:
        self.size = 0
        self._files: list[str] = []
        self._ended = False
        self._content: list[bytes] = []
        self._header, self._value = b"", b""
        self._disposition: dict[bytes, bytes] = {}
        self._taking = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, piece: bytes) -> list[bytes]:
        """Parse a piece; return the bytes of the video in it."""
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise RefusalError(400, f"the form is damaged ({error}): {HELP}") from None
        if len(self._files) > 1:
            raise RefusalError(400, f"the form has several videos: {HELP}")
        content, self._content = self._content, []
        return content

    def name(self) -> str:
        """The video's name, after the whole form has arrived."""
        if not self._ended:
            raise RefusalError(400, "the form is incomplete: the upload was cut off")
        if not self._files:
            raise RefusalError(400, f"the form has no file in the field '{FIELD}': {HELP}")
        return self._files[0]

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = _disposition(self._value.decode("latin-1"))
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        self._taking = self._disposition.get(b"name") == FIELD.encode() and b"filename" in self._disposition
        if self._taking:
            self._files.append(shown_name(self._disposition[b"filename"].decode("utf-8", "replace")))
        self._disposition = {}

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self._content.append(data[start:end])
            self.size += end - start

    def _on_end(self) -> None:
        self._ended = True


def _disposition(value: str) -> dict[bytes, bytes]:
    """Parameters of the header Content-Disposition; a name in RFC 5987's form goes before the plain one."""
    found = parse_options_header(value)[1]
    if extended := _EXTENDED_NAME.search(value):
        found[b"filename"] = unquote(extended[2], extended[1], "replace").encode()
    return found


def shown_name(name: str) -> str:
    """A client's file name for display: its last part, printable, not too long; never used as a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(character if character.isprintable() else " " for character in last).strip()
    return printable[:NAME_LENGTH] or "video"


async def _brisk(pieces: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """Pass the pieces on while they keep coming and are fast enough on the whole."""
    started, received = time.monotonic(), 0
    while True:
        left_s = limits.stall_s + received / limits.slowest - (time.monotonic() - started)
        try:
            async with asyncio.timeout(max(0.0, min(limits.stall_s, left_s))):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RefusalError(
                408,
                f"the upload stalled, or is slower than {byte_size(limits.slowest)} a second: it was given up",
            ) from None
        received += len(piece)
        yield piece


async def _write(file: BinaryIO, content: list[bytes]) -> None:
    if content:
        await asyncio.to_thread(file.writelines, content)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read on, within bounds, for clients that send their whole request before reading the answer."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    return
    except TimeoutError:
        return
