"""Bodies of any length: read into a file before a transaction is opened for them."""

import shutil
import tempfile
from collections.abc import Callable
from functools import wraps
from typing import IO, Any, TypeVar

from flask import request
from werkzeug.exceptions import ClientDisconnected, LengthRequired

R = TypeVar("R")

TEXTS = ("text/plain", "text/csv")
SPOOLED = "keypool.upload"  # where the file is, in the request's environ
LONGEST = 1 << 40  # bytes; a disk is full before


def uploaded(view: Callable[..., R]) -> Callable[..., R]:
    """Give a view the request's text as the file `upload`, or None where the body is no text.

    A slow sender then holds up neither a connection of the database nor a lock.
    """

    @wraps(view)
    def read(*args: Any, **kwargs: Any) -> R:
        if request.mimetype not in TEXTS:
            return view(*args, upload=None, **kwargs)
        with tempfile.TemporaryFile() as file:
            _spool(file)
            request.environ[SPOOLED] = file
            return view(*args, upload=file, **kwargs)

    return read


def _spool(file: IO[bytes]) -> None:
    if request.content_length is None:
        raise LengthRequired  # or half a body could not be told from a whole one
    request.max_content_length = LONGEST
    shutil.copyfileobj(request.stream, file)
    if file.tell() != request.content_length:
        raise ClientDisconnected
    file.seek(0)
