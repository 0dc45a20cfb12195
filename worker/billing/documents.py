"""An invoice's documents: JSON, CSV of the lines or of every charge, and PDF (B7)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from worker import errors
from worker.billing import invoices, statements
from worker.billing.invoices import InvoiceShown
from worker.billing.required import NEEDED, EInvoice
from worker.tenancy.actors import Actor

LINES_PER_BLOCK = 2_000  # lines per block of CSV

LINES_HEADER = (
    "invoice,month,organization,course,course_title,pool,pool_name,kind,service_month,unit_price,"
    "quantity,amount,currency,tax_label,tax_percent,tax_category,credits_invoice,credits_issued_on,reason\n"
)
LINES = text("""
    SELECT concat(
        invoice.number, ',', to_char(invoice.month, 'YYYY-MM'), ',', csv_cell(organization.name), ',',
        csv_cell(course.code), ',', csv_cell(coalesce(line.course_title, course.title)), ',',
        line.pool_id, ',', csv_cell(coalesce(line.pool_name, pool.name)), ',', line.kind, ',',
        to_char(line.service_month, 'YYYY-MM'), ',',
        round(line.unit_price, minor_unit(invoice.currency)), ',', line.quantity, ',',
        round(line.amount, minor_unit(invoice.currency)), ',', invoice.currency, ',',
        csv_cell(coalesce(tax_rate.label, 'Tax')), ',', trim_scale(coalesce(percent, 0)), ',',
        coalesce(category, 'Z'), ',', credited_invoice.number, ',', credited_invoice.issued_on, ',',
        csv_cell((SELECT reason FROM invoice_charge JOIN charge ON charge.id = charge_id
                   WHERE invoice_charge.invoice_id = line.invoice_id AND line_id = line.id
                     AND credited.id IS NOT NULL LIMIT 1)), chr(10))
      FROM invoice
      JOIN organization ON organization.id = invoice.organization_id
      JOIN invoice_line AS line ON line.invoice_id = invoice.id
      JOIN course ON course.id = line.course_id
      JOIN pool ON pool.id = line.pool_id
      LEFT JOIN tax_rate ON tax_rate.id = line.tax_rate_id
      LEFT JOIN invoice_line AS credited ON credited.id = line.credits_line_id
      LEFT JOIN invoice AS credited_invoice ON credited_invoice.id = credited.invoice_id
     WHERE invoice.id = :invoice_id
     ORDER BY course.code, pool.name, pool.id, line.service_month, line.kind,
              line.unit_price DESC, percent DESC, line.id
""")

# Every charge of an invoice with its learner; also the released charges of a void invoice.
DETAIL_HEADER = (
    "invoice,occurred_at,kind,key,learner,learner_name,learner_organization,course,pool,pool_name,"
    "service_month,amount,currency,charge,credits,assignment,reason,tax_label,tax_percent\n"
)
DETAIL = text("""
    SELECT concat(
        invoice.number, ',', csv_cell(charge.occurred_at), ',', charge.kind, ',', key.code, ',',
        csv_cell(learner.email), ',', csv_cell(learner.name), ',', csv_cell(organization.name), ',',
        csv_cell(course.code), ',', charge.pool_id, ',', csv_cell(coalesce(line.pool_name, pool.name)),
        ',', to_char(line.service_month, 'YYYY-MM'), ',',
        round(charge.amount, minor_unit(charge.currency)), ',', charge.currency, ',', charge.id, ',',
        charge.credits_id, ',', charge.assignment_id, ',', csv_cell(charge.reason), ',',
        csv_cell(coalesce(tax_rate.label, 'Tax')), ',', trim_scale(coalesce(percent, 0)), chr(10))
      FROM invoice
      JOIN invoice_charge ON invoice_charge.invoice_id = invoice.id
      JOIN invoice_line AS line ON line.id = invoice_charge.line_id
      JOIN charge ON charge.id = invoice_charge.charge_id
      JOIN course ON course.id = charge.course_id
      JOIN pool ON pool.id = charge.pool_id
      LEFT JOIN assignment ON assignment.id = charge.assignment_id
      LEFT JOIN learner ON learner.id = assignment.learner_id
      LEFT JOIN organization ON organization.id = charge.learner_organization_id
      LEFT JOIN key ON key.id = assignment.key_id
      LEFT JOIN tax_rate ON tax_rate.id = line.tax_rate_id
     WHERE invoice.id = :invoice_id
     ORDER BY charge.occurred_at, charge.id
""")


FORMATS = ("csv", "detail", "pdf", "json", *NEEDED)


@dataclass(frozen=True)
class Document:
    """A file: name, media type, and content, which is made as it is read."""

    name: str
    media_type: str
    content: Iterator[bytes]


def export(session: Session, *, actor: Actor, invoice: str, format: str = "pdf") -> Document:
    """Make an invoice's document: `json`, `csv` (its lines), `detail` (every charge), `pdf`, or an
    e-invoice of EN 16931: `facturx` (a PDF/A-3 with its XML), `xrechnung` or `ubl` (XML).

    Read it while the session's transaction is open: `detail` is streamed from one snapshot, in
    constant memory. A PDF needs none: it is printed as it is read.

    Raises:
        NoEInvoiceError: what an e-invoice needs is missing; it names each field.
        InvalidInputError: the format is none of these.
    """
    return of(session, invoices.show(session, actor=actor, invoice=invoice), format)


def of(session: Session, shown: InvoiceShown, format: str) -> Document:
    """Make a document of an invoice that was shown, as `export` does; `cii` is the XML of facturx."""
    name = f"invoice-{shown['number'] or 'draft-' + shown['id']}"
    match format:
        case "json":
            return Document(f"{name}.json", "application/json", iter([_json(shown)]))
        case "csv":
            rows = _rows(session, LINES_HEADER, LINES, shown)
            return Document(f"{name}.csv", "text/csv", rows)
        case "detail":
            rows = _rows(session, DETAIL_HEADER, DETAIL, shown)
            return Document(f"{name}-detail.csv", "text/csv", rows)
        case "pdf":
            return Document(f"{name}.pdf", "application/pdf", _pdf(shown))
        case "facturx":
            xml = _xml(shown, "facturx")
            return Document(f"{name}.facturx.pdf", "application/pdf", _pdf(shown, xml))
        case "cii":
            xml = _xml(shown, "facturx")
            return Document(f"{name}.cii.xml", "application/xml", iter([xml]))
        case "xrechnung" | "ubl":
            xml = _xml(shown, format)
            return Document(f"{name}.{format}.xml", "application/xml", iter([xml]))
    raise errors.InvalidInputError(
        f"“{format}” is not a format; one of {', '.join(FORMATS)}.", field="format"
    )


def for_payer(session: Session, *, actor: Actor, invoice: str) -> list[Document]:
    """Make what an invoice is sent with: a PDF, which is an e-invoice (facturx) where it can be one, and
    its XRechnung, where nothing of that is missing.
    """
    shown = invoices.show(session, actor=actor, invoice=invoice)
    formats = ["facturx" if is_sayable(shown, "facturx") else "pdf"]
    if is_sayable(shown, "xrechnung"):
        formats.append("xrechnung")
    return [of(session, shown, format) for format in formats]


def statement(
    session: Session, *, actor: Actor, organization: str, on: str | None = None, format: str = "pdf"
) -> Document:
    """Make the document of an organization's statement as of a day: `pdf`, `json`, or `csv` of what is open.

    Raises:
        InvalidInputError: the day is malformed or yet to come.
    """
    made = statements.of(session, actor=actor, organization=organization, on=on)
    name = f"statement-{made['on']}"
    if format == "csv":
        return Document(f"{name}.csv", "text/csv", statements.as_csv(made))
    if format == "json":
        return Document(f"{name}.json", "application/json", iter([_json(made)]))
    from worker.billing import letters  # fpdf would slow down every process's start

    return Document(f"{name}.pdf", "application/pdf", letters.printed(session, made))


def is_sayable(shown: InvoiceShown, format: str) -> bool:
    """Say whether an invoice comes in a format: what EN 16931 cannot say, or lacks, is no e-invoice."""
    if format not in (*NEEDED, "cii"):
        return True
    from worker.billing import einvoices  # factur-x would slow down every process's start

    named: EInvoice = (
        "xrechnung" if format == "xrechnung" else "ubl" if format == "ubl" else "facturx"
    )
    return einvoices.objection(shown, format=named) is None


def _rows(session: Session, header: str, query: TextClause, shown: InvoiceShown) -> Iterator[bytes]:
    yield header.encode()
    rows = session.execute(
        query, {"invoice_id": int(shown["id"])}, execution_options={"yield_per": LINES_PER_BLOCK}
    )
    for block in rows.scalars().partitions(LINES_PER_BLOCK):
        yield "".join(block).encode()


def _pdf(shown: InvoiceShown, xml: bytes | None = None) -> Iterator[bytes]:
    from worker.billing.pdf import invoice_pdf  # fpdf would slow down every process's start

    yield invoice_pdf(shown, xml=xml)


def _xml(shown: InvoiceShown, format: EInvoice) -> bytes:
    from worker.billing import einvoices  # as would factur-x

    return einvoices.xml(shown, format=format)


def _json(shown: object) -> bytes:
    return json.dumps(shown, default=datetime.isoformat, ensure_ascii=False, indent=2).encode()
