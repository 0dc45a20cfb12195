"""Composing: a message's mail, made of its template and the rows that it names, when it is sent.

A kind of mail is a template of its name in `mails/`: the subject, an empty line, the text. The HTML is
made of the text: what is indented by four spaces, such as a key, stands out.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any

import css_inline
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.languages import times
from worker.languages.phrasebooks import phrasebook
from worker.outgoing.channels import Letter
from worker.settings import settings
from worker.tenancy import templates

MAILS = Path(__file__).parent / "mails"
NO_SENDER = "keypool@localhost"  # of files, where no address is set
MOST_IN_TEXT = 20  # keys that a mail's text lists; more are in a file
KEYS_FILE = "keys.csv"
COLOUR = "#373c44"  # where an organization has none
LOGO = "logo@keypool"  # the Content-ID of the organization's, which is in the mail itself
INDENTED = "    "
CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")  # which no header may have

# What a mail says, by message. A person's language and time zone are those of their organization,
# where they are a learner of the sender's or one below it; else the sender's.
FACTS = text("""
    SELECT message.id, message.kind, message.identity::text AS identity, message.recipient,
           message.data, message.happened_at, clock_now() AS now,
           sender.name AS organization, sender.sender_name, sender.reply_to, sender.colour,
           logo.content AS logo, logo.width / 2 AS logo_width, logo.height / 2 AS logo_height,
           coalesce(home.locale, sender.locale) AS locale,
           coalesce(home.time_zone, sender.time_zone) AS zone,
           own.subject AS own_subject, own.body AS own_body,
           distribution.id AS distribution_id, distribution.recipient_name AS name,
           distribution.reference, course.title AS course, pool.starts_at, pool.expires_at,
           pool.content_availability_days AS days,
           ARRAY(SELECT key.code FROM key
                  WHERE key.distribution_id = distribution.id AND key.state <> 'retired'
                  ORDER BY key.id) AS keys
      FROM message
      JOIN organization AS sender ON sender.id = message.organization_id
      LEFT JOIN organization_logo AS logo ON logo.organization_id = sender.id
      LEFT JOIN mail_template AS own ON own.id = message.template_id
      LEFT JOIN distribution ON distribution.id = message.distribution_id
      LEFT JOIN pool ON pool.id = distribution.pool_id
      LEFT JOIN course ON course.id = pool.course_id
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


class NothingToSendError(errors.KeypoolError):
    """There is nothing to send any more."""


@dataclass(frozen=True)
class Attachment:
    """A file that comes with a mail."""

    name: str
    content: bytes
    kind: tuple[str, str]


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


def compose(row: Any) -> Composed:
    """Compose a message's mail from its facts.

    Raises:
        NothingToSendError: all its keys were retired meanwhile; or its template does not work.
    """
    book = phrasebook(row.locale)
    said = {"say": book.say, "say_count": book.say_count, "organization": row.organization}
    attachment = None
    if row.distribution_id is not None:
        if not row.keys:
            raise NothingToSendError("Its keys were retired meanwhile.")
        said |= _of_keys(row)
        attachment = (
            None if said["keys"] else Attachment(KEYS_FILE, _csv(row.keys), ("text", "csv"))
        )
    try:
        subject, body = _said(row, row.data | said)
    except (TemplateError, errors.InvalidInputError) as error:
        raise NothingToSendError(f"Its template does not work: {error}") from None
    return Composed(subject, body, _html(row, subject, body), attachment)


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
        NothingToSendError: as `compose` does.
    """
    composed = compose(row)
    sender = settings().mail_from or NO_SENDER
    policy = (SMTP if row.recipient.isascii() else SMTPUTF8).clone(cte_type="7bit")
    mail = EmailMessage(policy)
    mail["From"] = _address(sender, row.sender_name or row.organization)
    mail["To"] = _address(row.recipient)
    if row.reply_to:
        mail["Reply-To"] = _address(row.reply_to)
    mail["Subject"] = _line(composed.subject)
    mail["Date"] = format_datetime(row.now)
    mail["Message-ID"] = message_id(row.identity)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(composed.text)
    mail.add_alternative(composed.html, subtype="html")
    if row.logo:
        [_, page] = mail.iter_parts()
        page.add_related(row.logo, "image", "png", cid=f"<{LOGO}>", filename="logo.png")
    if file := composed.attachment:
        main, sub = file.kind
        mail.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
    return Letter(row.identity, row.recipient, mail.as_bytes())


def message_id(identity: str) -> str:
    """Give the Message-ID of a message: the same as long as it is retried."""
    domain = (settings().mail_from or NO_SENDER).rpartition("@")[2]
    return f"<{identity}@{domain}>"


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(_line(name), local, domain)


def _line(words: str) -> str:
    return " ".join(words.translate(CONTROLS).split())


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
    }


def _csv(keys: Sequence[str]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([["code"], *([key] for key in keys)])
    return file.getvalue().encode()


def _html(row: Any, subject: str, body: str) -> str:
    """Give a text as HTML, with the organization's logo, name and colour on top and the styles inline."""
    page = _templates().get_template("frame.html")
    blocks = [
        (all(line.startswith(INDENTED) for line in block.splitlines()), block)
        for block in body.strip("\n").split("\n\n")
        if block.strip()
    ]
    return _inliner().inline(
        page.render(
            language=phrasebook(row.locale).language,
            subject=subject,
            organization=row.sender_name or row.organization,
            colour=row.colour or COLOUR,
            ink=_ink(row.colour or COLOUR),
            logo=LOGO if row.logo else "",
            width=row.logo_width,
            height=row.logo_height,
            blocks=blocks,
        )
    )


def _ink(colour: str) -> str:
    """Give black or white, whichever is read better on a colour (WCAG's relative luminance)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if luminance > 0.179 else "#ffffff"


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(load_remote_stylesheets=False)


@cache
def _templates() -> Environment:
    """Give the templates; pages are escaped, texts are not, since a page escapes them once more."""
    return Environment(
        loader=FileSystemLoader(MAILS),
        autoescape=select_autoescape(["html"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
