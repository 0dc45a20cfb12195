"""Composing: a message's mail, made of its template and the rows that it names, when it is sent.

A kind of mail is a template of its name in `mails/`: the subject, an empty line, the text. The HTML is
made of the text: what is indented by four spaces, such as a key, stands out.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.billing import documents
from worker.database import connections
from worker.languages import times
from worker.languages.phrasebooks import Phrasebook, phrasebook
from worker.outgoing import framing, unsubscribing
from worker.outgoing.channels import Letter
from worker.outgoing.framing import Letterhead, Logo
from worker.outgoing.reminders import FOR_LEARNERS
from worker.pools.exporting import WORKBOOK
from worker.redemption import proofs
from worker.reporting import keeping
from worker.settings import settings
from worker.tenancy import templates
from worker.tenancy.actors import Actor

MAILS = Path(__file__).parent / "mails"
MAILER = Actor.operator("mail")
NO_SENDER = "keypool@localhost"  # of files, where no address is set
LETTERS = str.maketrans("0123456789", "ghijklmnop")
MOST_IN_TEXT = 20  # keys that a mail's text lists; more are in a file
KEYS_FILE = "keys.csv"
# Bytes of a report: as text it is a third more, and many servers take 20 MB.
MOST_ATTACHED = 10_000_000
REPORT = "scheduled_report"
KINDS = {
    "html": ("text", "html"),
    "pdf": ("application", "pdf"),
    "xlsx": tuple(WORKBOOK.split("/")),
}
UNSEEN = "…"  # a one-time link is made when its mail goes out, and for that mail alone
HIDDEN = "••••••"
THREE_DIGITS = re.compile(r"\d{3}(?=\d{3})")
CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")  # which no header may have

# What a mail says, by message; holds: a reminder's occasion is not over, and no newer one is told of its
# thing. One without an organization is in the seller's name. A person's language and time zone are those
# of their organization, where they are a learner of the sender's or one below it; else the sender's. A mail
# that a page causes is in the page's language.
FACTS = text("""
    SELECT message.id, message.organization_id, message.kind, message.identity::text AS identity,
           message.recipient,
           message.data, message.happened_at, message.about, clock_now() AS now,
           coalesce(sender.name, nullif(seller.name, ''), 'keypool') AS organization,
           sender.sender_name, sender.reply_to, sender.colour,
           sender.slug, sender.redeem_page <> 'off' AS has_page,
           logo.content AS logo, logo.width / 2 AS logo_width, logo.height / 2 AS logo_height,
           coalesce(message.data->>'language', home.locale, sender.locale, 'en') AS locale,
           coalesce(home.time_zone, sender.time_zone, 'UTC') AS zone,
           own.subject AS own_subject, own.body AS own_body,
           distribution.id AS distribution_id, distribution.recipient_name AS name,
           distribution.reference, course.title AS course, pool.starts_at, pool.expires_at,
           pool.content_availability_days AS days,
           ARRAY(SELECT key.code FROM key
                  WHERE key.distribution_id = distribution.id AND key.state <> 'retired'
                    AND (message.about IS NULL OR key.state = 'issued')
                  ORDER BY key.id) AS keys,
           seller.name AS seller, seller.email AS seller_email,
           invoice.id AS invoice_id, invoice.number, invoice.kind::text AS invoice_kind, invoice.month,
           invoice.issued_on, invoice.due_on, invoice.total, invoice.currency,
           minor_unit(invoice.currency) AS decimals,
           invoice_open(invoice.id, invoice.status, invoice.total) AS open,
           report.id AS report_id, schedule.format::text AS report_format,
           coalesce(CASE schedule.format WHEN 'pdf' THEN octet_length(report.pdf)
                                         ELSE octet_length(report.page) END, 0) AS report_bytes,
           CASE WHEN message.about IS NULL THEN true
                WHEN assignment.id IS NOT NULL
                THEN gives_access(assignment.status, assignment.expires_at, clock_now())
                     AND (message.kind <> 'access_ending' OR assignment.expires_at = message.occasion)
                     AND (message.kind <> 'access_unlaunched' OR NOT EXISTS (
                          SELECT FROM launch WHERE launch.assignment_id = assignment.id))
                WHEN schedule.id IS NOT NULL
                THEN message.recipient = ANY (schedule.recipients)
                     AND may_name_recipients(schedule.named_by_id, schedule.organization_id)
                WHEN message.kind = 'invoice_sent' THEN invoice.status <> 'void'
                WHEN invoice.id IS NOT NULL
                THEN invoice.status = 'finalized'
                     AND invoice_open(invoice.id, invoice.status, invoice.total) > 0
                ELSE true END
           AND NOT EXISTS (SELECT FROM message AS newer
                            WHERE newer.about = message.about AND newer.id > message.id
                              AND newer.recipient_lower = message.recipient_lower) AS holds,
           EXISTS (SELECT FROM unsubscribed
                    WHERE unsubscribed.organization_id = message.organization_id
                      AND unsubscribed.address = message.recipient_lower) AS unsubscribed
      FROM message
     CROSS JOIN seller
      LEFT JOIN organization AS sender ON sender.id = message.organization_id
      LEFT JOIN organization_logo AS logo ON logo.organization_id = sender.id
                                         AND message.kind <> 'code'  -- whose bytes may look like a code
      LEFT JOIN mail_template AS own ON own.id = message.template_id
      LEFT JOIN distribution ON distribution.id = message.distribution_id
      LEFT JOIN pool ON pool.id = distribution.pool_id
      LEFT JOIN course ON course.id = pool.course_id
      LEFT JOIN assignment ON assignment.id = CAST(message.data->>'assignment' AS bigint)
      LEFT JOIN invoice ON invoice.id = CAST(message.data->>'invoice' AS bigint)
      LEFT JOIN report_run AS report ON report.id = scheduled_report_of(message.kind, message.about)
      LEFT JOIN report_schedule AS schedule ON schedule.id = report.schedule_id
      LEFT JOIN LATERAL (
           SELECT known.locale, known.time_zone
             FROM learner
             JOIN organization_ancestry AS above ON above.descendant_id = learner.organization_id
                                                AND above.ancestor_id = message.organization_id
             JOIN organization AS known ON known.id = learner.organization_id
            WHERE learner.email_lower = message.recipient_lower
            ORDER BY above.distance, learner.id LIMIT 1) AS home ON true
     WHERE message.id = ANY (:ids) AND message.data IS NOT NULL
     ORDER BY message.id
""")


class Unfolded(UnstructuredHeader, BaseHeader):
    """A header in one line: Python would encode an address that is longer than a line."""

    def fold(self, *, policy: "Policy[Any]") -> str:
        """Give the header as it is written."""
        return f"{self.name}: {self}{policy.linesep}"


class NothingToSendError(errors.KeypoolError):
    """There is nothing to send any more."""


@dataclass(frozen=True)
class Attachment:
    """A file that comes with a mail."""

    name: str
    content: bytes
    kind: tuple[str, ...]


@dataclass(frozen=True)
class Composed:
    """What a mail says: its subject, its text, the same as HTML, and the file that comes with it."""

    subject: str
    text: str
    html: str
    attachment: Attachment | None = None


def facts(session: Session, ids: Sequence[int]) -> list[Any]:
    """Read what the mails of some messages say; without those whose body was blanked."""
    return list(session.execute(FACTS, {"ids": list(ids)}))


def compose(row: Any, *, codes: bool = True, is_mailed: bool = True) -> Composed:
    """Compose a message's mail from its facts, to be mailed or only shown.

    Without `codes`, a one-time code in it is hidden.

    Raises:
        NothingToSendError: all its keys were retired meanwhile; or its template does not work.
    """
    book = phrasebook(row.locale)
    said = _words(row, book)
    attachment = None
    if row.invoice_id is not None:
        said |= _of_invoice(row, book)
    if row.report_id is not None:
        said["file"] = _report_name(row) if _is_attached(row) else ""
    if row.kind == proofs.MAIL:
        said["code"] = proofs.code(row.identity) if codes else HIDDEN
    if row.distribution_id is not None:
        if not row.keys:
            how = "retired" if row.about is None else "redeemed or retired"
            raise NothingToSendError(f"Its keys were {how} meanwhile.")
        said |= _of_keys(row)
        attachment = None if said["keys"] else Attachment(KEYS_FILE, _csv(row), ("text", "csv"))
    try:
        subject, body = _said(row, {"link": UNSEEN} | row.data | said)
    except (TemplateError, errors.InvalidInputError) as error:
        raise NothingToSendError(f"Its template does not work: {error}") from None
    html = framing.html(
        letterhead(row), subject=subject, text=body, language=book.language, is_mailed=is_mailed
    )
    return Composed(subject, body, html, attachment)


def _said(row: Any, values: dict[str, Any]) -> tuple[str, str]:
    """Give a mail's subject and text: in the organization's own words, or in ours."""
    if row.own_body is not None:
        facts = {name: values[name] for name in templates.SAMPLE}
        own = templates.render(
            subject=row.own_subject, text=row.own_body, facts=facts, keys=values["keys"]
        )
        if any(key not in own["text"] for key in values["keys"]):
            raise errors.InvalidInputError("it does not say every key")
        return own["subject"], own["text"]
    whole = _templates().get_template(f"{row.kind}.txt").render(values)
    subject, _, body = whole.partition("\n")
    return " ".join(subject.split()), body.strip() + "\n"


def letter(row: Any) -> Letter:
    """Give a message's mail as it goes out; every retry has the same Message-ID.

    Raises:
        NothingToSendError: as `compose` does; or it is a reminder whose occasion is over, or which its
            receiver does not want.
    """
    if not row.holds:
        raise NothingToSendError("Its occasion is over.")
    if row.unsubscribed and row.kind in FOR_LEARNERS:
        raise NothingToSendError("Its receiver wants no reminders.")
    composed, head = compose(row), letterhead(row)
    sender = settings().mail_from or NO_SENDER
    policy = (SMTP if row.recipient.isascii() else SMTPUTF8).clone(
        cte_type="7bit", header_factory=_headers()
    )
    mail = EmailMessage(policy)
    mail["From"] = _address(sender, head.name)
    mail["To"] = _address(row.recipient)
    if head.reply_to:
        mail["Reply-To"] = _address(head.reply_to)
    mail["Subject"] = _line(composed.subject)
    mail["Date"] = format_datetime(row.now)
    mail["Message-ID"] = message_id(row.identity)
    mail["Auto-Submitted"] = "auto-generated"
    if (row.kind in FOR_LEARNERS or row.report_id) and (link := _unsubscribe(row)):
        mail["List-Unsubscribe"] = f"<{link}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(composed.text)
    mail.add_alternative(composed.html, subtype="html")
    if head.logo:
        [_, page] = mail.iter_parts()
        page.add_related(
            head.logo.content, "image", "png", cid=f"<{framing.LOGO}>", filename="logo.png"
        )
    for file in _files(row, composed):
        main, sub = file.kind
        mail.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
    return Letter(row.identity, row.recipient, mail.as_bytes())


def letterhead(row: Any) -> Letterhead:
    """Give in whose name a mail comes: the organization's; what is for the organization, in the seller's.

    So is what no organization sends.
    """
    for_organization = row.about is not None and row.kind not in FOR_LEARNERS
    if for_organization or row.organization_id is None:
        return Letterhead(row.seller or "keypool", row.seller_email)
    name = _name(row, row.sender_name or row.organization)
    logo = Logo(row.logo, row.logo_width, row.logo_height) if row.logo else None
    return Letterhead(name, row.reply_to, row.colour or framing.COLOUR, logo)


def message_id(identity: str) -> str:
    """Give the Message-ID of a message: the same as long as it is retried.

    It has letters for digits, so that a one-time code is the only number of six digits in its mail.
    """
    domain = (settings().mail_from or NO_SENDER).rpartition("@")[2]
    return f"<{identity.translate(LETTERS)}@{domain}>"


@cache
def _headers() -> HeaderRegistry:
    registry = HeaderRegistry()
    registry.map_to_type("list-unsubscribe", Unfolded)
    return registry


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(_line(name), local, domain)


def _name(row: Any, name: str) -> str:
    """Give a name; beside a code its digits are set apart, so that only the code has six of them."""
    return THREE_DIGITS.sub("\\g<0>\u202f", name) if row.kind == proofs.MAIL else name


def _line(words: str) -> str:
    return " ".join(words.translate(CONTROLS).split())


def _words(row: Any, book: Phrasebook) -> dict[str, Any]:
    """Give what every template may say: sentences, and times as the receiver reads them."""
    zone = row.zone

    def day(value: str) -> str:
        """Write a day, or the day of an instant."""
        if "T" not in value:
            return book.short_day(date.fromisoformat(value))
        return book.short_day(datetime.fromisoformat(value).astimezone(ZoneInfo(zone)).date())

    return {
        "say": book.say,
        "say_count": book.say_count,
        "organization": _name(row, row.organization),
        "seller": row.seller or "keypool",
        "on": lambda value: times.on(book, datetime.fromisoformat(value), zone),
        "until": lambda value: times.until(book, datetime.fromisoformat(value), zone),
        "day": day,
        "page": settings().web_url if settings().links_lead_here() else lambda _: "",
        "unsubscribe": _unsubscribe(row),
    }


def _unsubscribe(row: Any) -> str:
    return unsubscribing.link(row.id) if settings().links_lead_here() else ""


def _of_invoice(row: Any, book: Phrasebook) -> dict[str, Any]:
    """Give what a template says of the invoice that a mail is about."""
    amounts = {name: getattr(row, name) for name in ("total", "open")}
    return {
        "number": row.number,
        "kind": row.invoice_kind,
        "month": book.month(row.month),
        "issued_on": book.short_day(row.issued_on),
        "due_on": book.short_day(row.due_on),
        **{
            name: book.money(amount, row.currency, decimals=row.decimals)
            for name, amount in amounts.items()
        },
    }


def _files(row: Any, composed: Composed) -> list[Attachment]:
    """Give the files that come with a mail: its keys; its invoice, as PDF and as an e-invoice; its report."""
    if row.invoice_id is not None:
        return connections.transaction(_invoice_files, str(row.invoice_id))
    if _is_attached(row):
        content = connections.transaction(_report_file, row)
        return [Attachment(_report_name(row), content, KINDS[row.report_format])]
    return [composed.attachment] if composed.attachment else []


def _invoice_files(session: Session, invoice: str) -> list[Attachment]:
    made = documents.for_payer(session, actor=MAILER, invoice=invoice)
    return [
        Attachment(one.name, b"".join(one.content), tuple(one.media_type.split("/", 1)))
        for one in made
    ]


def _is_attached(row: Any) -> bool:
    return bool(row.kind == REPORT and row.report_bytes <= MOST_ATTACHED)


def _report_name(row: Any) -> str:
    return "{notebook}-{first_day}-{last_day}.".format_map(row.data) + str(row.report_format)


def _report_file(session: Session, row: Any) -> bytes:
    """Give a report as it is now; who was erased from it since is not in it."""
    asked: Any = {"actor": MAILER, "report": str(row.report_id)}
    if row.report_format == "html":
        return keeping.page(session, **asked).encode()
    gives = keeping.pdf if row.report_format == "pdf" else keeping.workbook
    return gives(session, **asked)


def _of_keys(row: Any) -> dict[str, Any]:
    """Give what a template says of the keys that a mail is about."""
    book = phrasebook(row.locale)
    starts: datetime = row.starts_at
    return {
        "name": row.name,
        "course": _line(row.course),
        "reference": row.reference,
        "keys": row.keys if len(row.keys) <= MOST_IN_TEXT else [],
        "total": len(row.keys),
        "file": KEYS_FILE if len(row.keys) > MOST_IN_TEXT else "",
        "before": times.before(book, starts, row.zone) if starts > row.now else "",
        "until": times.until(book, row.expires_at, row.zone),
        "days": row.days,
        "link": _link(row, *(row.keys if len(row.keys) == 1 else [])),
    }


def _link(row: Any, *key: str) -> str:
    """Give the address of the sender's redeem page, with a key in it; empty where nobody could follow it.

    The key is in the fragment, which browsers send to no server.
    """
    set_up = settings()
    if not row.has_page or not set_up.links_lead_here():
        return ""
    return set_up.web_url(
        "#".join([f"/redeem/{row.slug}", *(quote(code, safe="") for code in key)])
    )


def _csv(row: Any) -> bytes:
    """Give the keys as a table, with the link for each where there is a page to redeem it."""
    file = io.StringIO()
    rows = [(key, _link(row, key)) for key in row.keys]
    wide = 2 if _link(row) else 1
    csv.writer(file).writerows(one[:wide] for one in [("code", "link"), *rows])
    return file.getvalue().encode()


@cache
def _templates() -> Environment:
    """Give the templates; they are not escaped, since the page that is made of a text is."""
    return Environment(  # noqa: S701
        loader=FileSystemLoader(MAILS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
