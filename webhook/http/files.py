"""Responses that are files: tables streamed from one snapshot, invoices' documents, reports."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Response
from sqlalchemy.orm import Session

from webhook.http.places import Places
from worker import errors
from worker.billing import documents, handing_over
from worker.database import connections, patience
from worker.database.connections import Login
from worker.pools import exporting, pools
from worker.pools.keys import Filters
from worker.tenancy.actors import Actor

CSV = "text/csv"
ESCAPED = str.maketrans({'"': r"\"", "\\": r"\\"})  # inside a quoted string
ATTRIBUTE = "!#$&+-.^_`|~"  # characters that RFC 5987 does not encode
# A report may have inline styles, but runs no script and loads nothing.
ALONE = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox"
    ),
}


class TooManyDownloadsError(errors.BusyError):
    """Too many files are being read; fetch this one again in a while."""


# Each keeps one of the web's connections as long as its reader takes: one is left for other requests.
places = Places(lambda: connections.sizes(Login.WEB)[0] - 1, TooManyDownloadsError)


def attachment(name: str) -> dict[str, str]:
    """Give the header that saves a response as a file; a non-ASCII name is encoded by RFC 6266."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    plain = plain if plain.partition(".")[0] else f"keys{Path(name).suffix}"
    header = f'attachment; filename="{plain.translate(ESCAPED)}"'
    if plain != name:
        header += f"; filename*=UTF-8''{quote(name, safe=ATTRIBUTE)}"
    return {"Content-Disposition": header}


def table(
    name: str,
    export: Callable[..., Iterable[bytes]],
    *,
    actor: Actor,
    media_type: str = CSV,
    **filters: Any,
) -> Response:
    """Stream the table that `export` makes from a session, the actor and the filters.

    It runs after the view has returned, so wrong filters must be refused before.

    Raises:
        TooManyDownloadsError: others read as many files as this process sends at once.
    """
    held = ExitStack()
    held.enter_context(places.held(actor.organization_id))

    def blocks() -> Iterator[bytes]:
        with held, connections.session(Login.WEB, sees=actor.scope, snapshot=True) as session:
            patience.unhurried(session)
            yield from export(session, actor=actor, **filters)

    response = Response(blocks(), mimetype=media_type, headers=attachment(name))
    response.call_on_close(held.close)
    return response


def keys(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    filters: Filters,
    labels: bool,
    format: str,
    ids: Sequence[int] = (),
) -> Response:
    """Stream a pool's keys in a format, in a file that is named after the pool; of those some, by `ids`.

    Raises:
        NotFoundError: there is no such pool.
        InvalidInputError: there is no such format.
    """
    pool_id = str(pools.find(session, actor=actor, pool=pool).id)
    file = exporting.file(session, actor=actor, pool=pool_id, format=format)
    return table(
        file.name,
        exporting.export,
        actor=actor,
        media_type=file.media_type,
        pool=pool_id,
        filters=filters,
        labels=labels,
        format=format,
        ids=ids,
    )


def document(*, actor: Actor, invoice: str, format: str) -> Response:
    """Give an invoice's document; a PDF is printed after the transaction, because it may take long."""
    with connections.session(Login.WEB, sees=actor.scope) as session:
        patience.unhurried(session)
        made = documents.export(session, actor=actor, invoice=invoice, format=format)
        printed = made.media_type == "application/pdf"
        content = made.content if printed else iter([b"".join(made.content)])
    headers = attachment(made.name)
    return Response(b"".join(content), mimetype=made.media_type, headers=headers)


def statement(*, actor: Actor, **asked: Any) -> Response:
    """Give an organization's statement as a document, made after the transaction."""
    with connections.session(Login.WEB, sees=actor.scope) as session:
        made = documents.statement(session, actor=actor, **asked)
    headers = attachment(made.name)
    return Response(b"".join(made.content), mimetype=made.media_type, headers=headers)


def period(*, actor: Actor, **days: Any) -> Response:
    """Give a period's invoices in one zip, made as it is read."""
    with ExitStack() as stack:
        stack.enter_context(places.held(actor.organization_id))
        session = stack.enter_context(connections.session(Login.WEB, sees=actor.scope))
        patience.unhurried(session)
        made = handing_over.export(session, actor=actor, **days)
        held = stack.pop_all()  # open until all is read
    response = Response(made.content, mimetype=made.media_type, headers=attachment(made.name))
    response.call_on_close(held.close)
    return response


def journal(*, actor: Actor, **days: str) -> Response:
    """Give a period's lines for bookkeeping; their number is kept once all are made."""
    with connections.session(Login.WEB, sees=actor.scope) as session:
        patience.unhurried(session)
        made = handing_over.export(session, actor=actor, format=handing_over.JOURNAL, **days)
        content = b"".join(made.content)
    return Response(content, mimetype=made.media_type, headers=attachment(made.name))


def picture(content: bytes, kind: str = "png", *, name: str = "") -> Response:
    """Give a picture to be shown in a page; a link that says `download` saves it under the name."""
    media_type = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    headers = {"Content-Disposition": f'inline; filename="{name}"'} if name else {}
    return Response(content, mimetype=media_type, headers=headers)


def report(name: str, content: str | bytes, media_type: str) -> Response:
    """Give a report as a file to save, not as a page of this site."""
    return Response(content, mimetype=media_type, headers=ALONE | attachment(name))
