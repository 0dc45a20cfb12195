"""Handing a period over: every invoice of some days in one zip, with one CSV that lists them (B7)."""

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import documents, invoices, journals
from worker.billing.documents import Document
from worker.billing.invoices import InvoiceShown
from worker.database.cells import guarded
from worker.tables.billing import Invoice
from worker.tables.labels import InvoiceStatus
from worker.tenancy.actors import Actor, Role

LIST = "invoices.csv"
COLUMNS = (
    "number", "title", "status", "issued_on", "due_on", "paid_on", "organization", "month", "currency",
    "subtotal", "tax", "total", "open", "files", "missing",
)  # fmt: skip
BOTH = "both"  # a PDF and, of what can be an e-invoice, its XML
JOURNAL = "journal"
FORMATS = (*documents.FORMATS, JOURNAL)
XML = ("ubl", "cii")  # what the XML is: the first for which nothing is missing


def export(
    session: Session, *, actor: Actor, from_: str, to: str, format: str | None = None
) -> Document:
    """Hand over the invoices and credit notes that were issued on some days, both ends included.

    A zip of PDFs and XMLs, or of each document in a `format`, with a CSV that lists them; or, as
    `journal`, lines for bookkeeping under a number. Read it while the session's transaction is open.

    Raises:
        InvalidInputError: a day is none, the last is before the first or, of a journal, not over; or
            there is no such format.
    """
    first, last = days.span(from_, to)
    if format == JOURNAL:
        number = journals.number(session, actor=actor, from_=from_, to=to)
        lines = journals.lines(session, actor=actor, number=number)
        return Document(f"journal-{number}.csv", "text/csv", lines)
    actor.require(Role.FINANCE, Role.ANALYST)
    if format not in (None, *documents.FORMATS):
        raise errors.InvalidInputError(
            f"“{format}” is not a format; one of {', '.join(FORMATS)}.", field="format"
        )
    content = _zipped(session, actor, _issued(session, actor, first, last), format or BOTH)
    return Document(f"invoices-{first}-to-{last}.zip", "application/zip", content)


def _issued(session: Session, actor: Actor, first: date, last: date) -> list[int]:
    issued = select(Invoice.id).where(
        actor.sees(Invoice.organization_id),
        Invoice.issued_on.between(first, last),
        Invoice.status != InvoiceStatus.DRAFT,
    )
    return list(session.scalars(issued.order_by(Invoice.year, Invoice.serial)))


class _Pieces(io.RawIOBase):
    """Where a zip is written to, to be taken piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        taken, self.pieces = b"".join(self.pieces), []
        return taken


def _zipped(session: Session, actor: Actor, ids: list[int], format: str) -> Iterator[bytes]:
    out, listed = _Pieces(), []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for invoice_id in ids:
            shown = invoices.show(session, actor=actor, invoice=str(invoice_id))
            files = [_added(zipped, made, shown) for made in _documents(session, shown, format)]
            listed.append(_row(shown, files))
            yield out.take()
        zipped.writestr(zipfile.ZipInfo(LIST), _table(listed), zipfile.ZIP_DEFLATED)
    yield out.take()


def _documents(session: Session, shown: InvoiceShown, format: str) -> Iterator[Document]:
    """Make an invoice's documents; what cannot be an e-invoice has no XML, and the list says why."""
    if format != BOTH:
        if documents.is_sayable(shown, format):
            yield documents.of(session, shown, format)
        return
    yield documents.of(session, shown, "pdf")
    for xml in XML:
        if documents.is_sayable(shown, xml):
            yield documents.of(session, shown, xml)
            return


def _added(zipped: zipfile.ZipFile, made: Document, shown: InvoiceShown) -> str:
    entry = zipfile.ZipInfo(made.name, _time(shown["finalized_at"]))
    packed = made.media_type == "application/pdf"  # which is compressed already
    how = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    zipped.writestr(entry, b"".join(made.content), how)
    return made.name


def _time(moment: datetime | None) -> tuple[int, int, int, int, int, int]:
    made_at = moment or datetime(1980, 1, 1, tzinfo=UTC)  # no zip has an earlier time
    return (made_at.year, made_at.month, made_at.day, made_at.hour, made_at.minute, made_at.second)


def _row(shown: InvoiceShown, files: list[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {**shown}
    columns |= {
        "organization": guarded(shown["organization"]),
        "files": " ".join(files),
        "missing": " ".join(shown["missing"]),
    }
    return {column: columns[column] for column in COLUMNS}


def _table(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
