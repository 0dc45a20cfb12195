"""What is handed out as a file: tables streamed from one moment, and invoices' documents."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Response

from webhook.api import shapes
from worker import database, documents, patience
from worker.actors import Actor
from worker.database import Login

CSV = "text/csv"


def table(
    name: str, export: Callable[..., Iterable[bytes]], *, actor: Actor, **filters: Any
) -> Response:
    """Stream as CSV what `export` makes of a session, the actor and the filters.

    It runs once the request is over: what is wrong with a filter must be refused before.
    """

    def blocks() -> Iterator[bytes]:
        with database.session(Login.WEB, sees=actor.scope, snapshot=True) as session:
            patience.unhurried(session)
            yield from export(session, actor=actor, **filters)

    return Response(blocks(), mimetype=CSV, headers=shapes.attachment(name))


def document(*, actor: Actor, invoice: str, format: str) -> Response:
    """Give an invoice's document; a PDF is printed once the transaction is over: that may take long."""
    with database.session(Login.WEB, sees=actor.scope) as session:
        patience.unhurried(session)
        made = documents.export(session, actor=actor, invoice=invoice, format=format)
        content = made.content if format == "pdf" else iter([b"".join(made.content)])
    told = shapes.attachment(made.name)
    return Response(b"".join(content), mimetype=made.media_type, headers=told)
