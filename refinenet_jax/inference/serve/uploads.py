"""The body of a request -> its bytes, counted as they come and never more than allowed."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

FIELD = "file"  # of a form
_CHUNK = 1 << 20
_MOST_FIELDS = 10  # of text, which nobody reads
# What is still coming is not read: the connection ends.
_CLOSE = {"Connection": "close"}


async def receive(request: Request, megabytes: float, seconds: float, write: Callable[[bytes], object]) -> None:
    """Reads an upload: the body itself, or the one file of a multipart form in the field `file`. Its name is not looked at.

    What a form holds beyond a megabyte lies in a file without a name, which the system takes back however the process ends.

    Args:
      request: not read yet.
      megabytes: the most that may come.
      seconds: the most that it may take.
      write: takes the bytes, piece by piece.

    Raises:
      HTTPException: 400, nothing came or a form without the field; 408, too slow; 413, too much.
      ClientDisconnect: the client went away.
    """
    limit = round(megabytes * 1e6)
    too_large = HTTPException(413, f"The upload is too large; at most {megabytes:g} MB are taken.", _CLOSE)
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limit:
        raise too_large
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await request.receive()
        count += len(message.get("body", b""))
        if count > limit:
            raise too_large
        return message

    body = Request(request.scope, counted)
    try:
        async with asyncio.timeout(seconds):
            if request.headers.get("content-type", "").lower().startswith("multipart/"):
                size = await _from_form(body, write)
            else:
                size = 0
                async for chunk in body.stream():
                    size += len(chunk)
                    write(chunk)
    except TimeoutError as error:
        raise HTTPException(408, f"The upload did not arrive within {seconds:g} seconds.", _CLOSE) from error
    if not size:
        raise HTTPException(400, "The upload is empty (0 bytes).")


async def _from_form(request: Request, write: Callable[[bytes], object]) -> int:
    async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            raise HTTPException(400, f"The form has no file in the field {FIELD!r}.")
        size = 0
        while chunk := await upload.read(_CHUNK):
            size += len(chunk)
            write(chunk)
        return size
