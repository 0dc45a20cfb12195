"""Bodies of any length, such as tables: read into a file before a transaction begins."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import IO, Any, TypeVar

from flask import g, request
from werkzeug.exceptions import ClientDisconnected, LengthRequired

from webhook.http.places import Places
from webhook.http.problems import UnsupportedMediaTypeError
from worker import errors
from worker.settings import settings

R = TypeVar("R")

TEXTS = ("text/plain", "text/csv")
WORKBOOKS = (
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
)
TABLES = (*TEXTS, *WORKBOOKS)
HASH = "keypool.upload.hash"  # the key of a table's SHA-256 in the request's environ
BLOCK = 1 << 20
SHORT = 1 << 20  # bytes; what is not longer came before the request began


class TooManyUploadsError(errors.BusyError):
    """Too many tables are being uploaded; send this one again in a while."""


places = Places(lambda: settings().uploads_at_once, TooManyUploadsError)


def is_long() -> bool:
    """Say whether this request's body is still being sent; a short one came before the request began."""
    return (request.content_length or 0) > SHORT


@contextmanager
def place() -> Iterator[None]:
    """Hold one of the places for long uploads, if this request's body is long."""
    if not is_long():
        yield
        return
    with places.held(g.actor.organization_id):
        yield


def uploaded(view: Callable[..., R]) -> Callable[..., R]:
    """Give a view the request's table as the file `upload`, or None if the body is JSON.

    So a slow sender holds neither a database connection nor a lock. A body of another type is
    answered 415. Put it under `access.known`, which says whose the request is.
    """

    @wraps(view)
    def read(*args: Any, **kwargs: Any) -> R:
        if "Content-Encoding" in request.headers:
            raise UnsupportedMediaTypeError(
                "The body cannot have a Content-Encoding; send it as it is, not compressed."
            )
        if request.mimetype not in TABLES:
            _refuse_others(request.mimetype)
            return view(*args, upload=None, **kwargs)
        with place(), tempfile.TemporaryFile() as file:
            request.environ[HASH] = _spool(file)
            return view(*args, upload=file, **kwargs)

    return read


def _refuse_others(media_type: str) -> None:
    """Refuse a body that is neither a table nor JSON; a body without a type counts as JSON."""
    if media_type and not media_type.endswith("json"):
        raise UnsupportedMediaTypeError(
            f"A body of the type {media_type} is not taken here; send JSON, or a table as one of "
            f"{', '.join(TABLES)}."
        )


def _spool(file: IO[bytes]) -> bytes:
    if request.content_length is None:
        raise LengthRequired  # otherwise a truncated body would look complete
    request.max_content_length = settings().largest_upload
    digest = hashlib.sha256()
    while block := request.stream.read(BLOCK):
        digest.update(block)
        file.write(block)
    if file.tell() != request.content_length:
        raise ClientDisconnected
    file.seek(0)
    return digest.digest()
