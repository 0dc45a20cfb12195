"""Bodies of any length: read into a file before a transaction is opened for them."""

import hashlib
import tempfile
from collections.abc import Callable
from functools import wraps
from typing import IO, Any, TypeVar

from flask import request
from werkzeug.exceptions import ClientDisconnected, LengthRequired

R = TypeVar("R")

TEXTS = ("text/plain", "text/csv")
HASH = "keypool.upload.hash"  # where a text's SHA-256 is, in the request's environ
BLOCK = 1 << 20
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
            request.environ[HASH] = _spool(file)
            return view(*args, upload=file, **kwargs)

    return read


def _spool(file: IO[bytes]) -> bytes:
    if request.content_length is None:
        raise LengthRequired  # or half a body could not be told from a whole one
    request.max_content_length = LONGEST
    digest = hashlib.sha256()
    while block := request.stream.read(BLOCK):
        digest.update(block)
        file.write(block)
    if file.tell() != request.content_length:
        raise ClientDisconnected
    file.seek(0)
    return digest.digest()
