"""Invoices as others take them: JSON, CSV of the lines or of every charge, and PDF (B7)."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors, invoices
from worker.actors import Actor
from worker.pdf import invoice_pdf

LINES = ("invoice", "month", "organization", "course", "course_title", "pool", "pool_name", "kind",
         "service_month", "unit_price", "quantity", "amount", "currency")  # fmt: skip
DETAIL = ("invoice", "occurred_at", "kind", "key", "learner", "learner_name",
          "learner_organization", "course", "pool", "pool_name", "service_month", "amount",
          "currency", "charge", "credits", "assignment", "reason")  # fmt: skip

# Every charge of an invoice with whom it was for; a void one's too, released or not.
CHARGES = text("""
    SELECT charge.occurred_at, charge.kind::text, key.code AS key, learner.email AS learner,
           learner.name AS learner_name, organization.name AS learner_organization,
           course.code AS course, charge.pool_id AS pool, pool.name AS pool_name,
           to_char(invoice_line.service_month, 'YYYY-MM') AS service_month,
           round(charge.amount, minor_unit(charge.currency))::text AS amount, charge.currency,
           charge.id AS charge, charge.credits_id AS credits, charge.assignment_id AS assignment,
           charge.reason
      FROM invoice_charge
      JOIN invoice_line ON invoice_line.id = invoice_charge.line_id
      JOIN charge ON charge.id = invoice_charge.charge_id
      JOIN course ON course.id = charge.course_id
      JOIN pool ON pool.id = charge.pool_id
      LEFT JOIN assignment ON assignment.id = charge.assignment_id
      LEFT JOIN learner ON learner.id = assignment.learner_id
      LEFT JOIN organization ON organization.id = charge.learner_organization_id
      LEFT JOIN key ON key.id = assignment.key_id
     WHERE invoice_charge.invoice_id = :invoice_id
     ORDER BY charge.occurred_at, charge.id
""")
CHUNK = 2000

# What a spreadsheet takes for a formula at a cell's beginning; full-width forms too.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Document:
    """A file to hand out: its name, its media type, and its content, made as it is read."""

    name: str
    media_type: str
    content: Iterator[bytes]


def export(session: Session, *, actor: Actor, invoice: str, format: str = "pdf") -> Document:
    """Make an invoice's document: `json`, `csv` (its lines), `detail` (every charge), or `pdf`.

    Read it while the session's transaction is open: `detail` is streamed from one snapshot, in
    constant memory.

    Raises:
        InvalidInputError: the format is none of these.
    """
    shown = invoices.show(session, actor=actor, invoice=invoice)
    name = f"invoice-{shown['number'] or 'draft-' + shown['id']}"
    match format:
        case "json":
            return Document(f"{name}.json", "application/json", iter([_json(shown)]))
        case "csv":
            return Document(f"{name}.csv", "text/csv", _encoded(lines_csv(shown)))
        case "detail":
            return Document(f"{name}-detail.csv", "text/csv", _encoded(detail_csv(session, shown)))
        case "pdf":
            return Document(f"{name}.pdf", "application/pdf", iter([invoice_pdf(shown)]))
    raise errors.InvalidInputError(
        f"“{format}” is not a format; one of csv, detail, pdf, json.", field="format"
    )


def lines_csv(invoice: dict[str, Any]) -> Iterator[str]:
    """Give an invoice's lines as CSV, header first."""
    common = {
        "invoice": invoice["number"],
        "month": invoice["month"],
        "organization": invoice["organization"],
        "currency": invoice["currency"],
    }
    return _csv(LINES, (common | line for line in invoice["lines"]))


def detail_csv(session: Session, invoice: dict[str, Any]) -> Iterator[str]:
    """Give every charge of an invoice as CSV, header first, oldest charge first."""
    rows = session.execute(
        CHARGES, {"invoice_id": int(invoice["id"])}, execution_options={"yield_per": CHUNK}
    )
    return _csv(DETAIL, ({"invoice": invoice["number"], **row} for row in rows.mappings()))


def _csv(header: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for count, row in enumerate(rows, start=1):
        writer.writerow(_cell(name, row[name]) for name in header)
        if count % CHUNK == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    printed = str(value)
    is_number = name in {"unit_price", "amount"}  # a credit's minus is meant
    return f"'{printed}" if printed.startswith(FORMULA) and not is_number else printed


def _encoded(pieces: Iterator[str]) -> Iterator[bytes]:
    return (piece.encode() for piece in pieces)


def _json(shown: dict[str, Any]) -> bytes:
    return json.dumps(shown, default=datetime.isoformat, ensure_ascii=False, indent=2).encode()
