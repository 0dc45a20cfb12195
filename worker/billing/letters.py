"""A statement on paper: what an organization has open, in its own language."""

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.billing import parties, pdf
from worker.billing.parties import BuyerShape, SellerPrinted
from worker.billing.statements import AGES, Ageing, OpenItem, Statement
from worker.billing.writing import GREY, MARGIN, WIDTH, Paper, isolated
from worker.languages.phrasebooks import Phrasebook, phrasebook
from worker.languages.phrases import phrase

AGE_COLUMNS = (24.0,) * 6 + (30.0,)  # each age, and all: WIDTH
ITEM_COLUMNS = (44.0, 26.0, 26.0, 29.0, 26.0, 23.0)  # likewise

AGE_HEADS = (
    phrase("Not due"),
    phrase("0–30 days"),
    phrase("31–60 days"),
    phrase("61–90 days"),
    phrase("Over 90 days"),
    phrase("Credit"),
    phrase("Open"),
)
ITEM_HEADS = (
    phrase("Document"),
    phrase("Date"),
    phrase("Due"),
    phrase("Days overdue"),
    phrase("Total"),
    phrase("Open"),
)
KIND_WORDS = {"invoice": phrase("Invoice"), "credit_note": phrase("Credit note")}

PARTIES = text(
    f"SELECT {parties.LETTERHEAD} AS seller, {parties.BUYER} AS buyer"  # noqa: S608  # no input
    " FROM seller, organization AS buyer WHERE buyer.name = :organization"
)


class Letter(NamedTuple):
    """A statement with those whom it is from and for."""

    statement: Statement
    seller: SellerPrinted
    buyer: BuyerShape


def letter(session: Session, statement: Statement) -> Letter:
    """Give a statement its letterhead."""
    row = session.execute(PARTIES, {"organization": statement["organization"]}).one()
    return Letter(statement, parties.seller(row.seller), parties.buyer(row.buyer))


def printed(session: Session, statement: Statement) -> Iterator[bytes]:
    """Print a statement as it is read; what its letterhead needs is looked up before."""
    return map(statement_pdf, [letter(session, statement)])


def statement_pdf(made: Letter) -> bytes:
    """Print a statement on A4, in its organization's language; the same statement gives the same bytes."""
    book = phrasebook(made.buyer["locale"])
    title = book.say("Statement")
    paper = Paper(
        foot=f"{isolated(made.seller['name'])}  ·  {title}",
        page_of=book.say("page {page} of {pages}", page="{page}", pages="{pages}"),
        language=book.language,
    )
    day = date.fromisoformat(made.statement["on"])
    paper.set_title(title)
    paper.set_author(made.seller["name"])
    paper.set_creation_date(datetime.combine(day, time(), tzinfo=ZoneInfo("UTC")))
    paper.add_page()
    _letterhead(paper, made, book, title, day)
    if not made.statement["ageing"]:
        paper.write_lines(book.say("Nothing is open."))
    for ageing in made.statement["ageing"]:
        _ageing(paper, ageing, book)
        of = [it for it in made.statement["items"] if it["currency"] == ageing["currency"]]
        _items(paper, of, book)
    _details(paper, made, book)
    return bytes(paper.output())


def _letterhead(paper: Paper, made: Letter, book: Phrasebook, title: str, day: date) -> None:
    top = paper.get_y()
    paper.write_text(title, size=20, bold=True, height=10, align="R", ends=True)
    said = book.say("Open at the end of {day}", day=book.day(day))
    paper.write_text(said, size=8.5, colour=GREY, align="R", ends=True)
    paper.set_y(top)
    pdf.party(paper, made.seller, book, heading=None)
    pdf.contact(paper, made.seller)
    paper.ln(8)
    pdf.party(paper, made.buyer, book, heading=book.say("For"))
    paper.ln(10)


def _ageing(paper: Paper, ageing: Ageing, book: Phrasebook) -> None:
    """Write what is open in a currency by age, and its heading, on one page."""
    paper.need(44)
    paper.write_text(ageing["currency"], size=11, bold=True, height=7, ends=True)
    amounts = [
        book.amount(Decimal(ageing[age]), decimals=_decimals(ageing["open"])) for age in AGES
    ]
    total = book.amount(Decimal(ageing["open"]), decimals=_decimals(ageing["open"]))
    _heads(paper, [book.say(head) for head in AGE_HEADS], AGE_COLUMNS, first="R")
    for width, amount in zip(AGE_COLUMNS, [*amounts, total], strict=True):
        bold = width == AGE_COLUMNS[-1]
        paper.write_text(amount, bold=bold, width=width, align="R", ends=bold)
    paper.ln(5)


def _items(paper: Paper, items: list[OpenItem], book: Phrasebook) -> None:
    """Write the documents of a currency; their columns' names stand above them on each page."""
    heads = [book.say(head) for head in ITEM_HEADS]

    def head() -> None:
        _heads(paper, heads, ITEM_COLUMNS, first="L")

    head()
    paper.on_each_page = head
    for item in items:
        paper.need(5.4)
        for place, cell in enumerate(_cells(item, book)):
            align = "R" if place else "L"
            last = place == len(ITEM_COLUMNS) - 1
            paper.write_text(
                cell, size=8.5, width=ITEM_COLUMNS[place], height=5.4, align=align, ends=last
            )
    paper.on_each_page = None
    paper.rule()
    paper.ln(8)


def _cells(item: OpenItem, book: Phrasebook) -> tuple[str, ...]:
    decimals = _decimals(item["total"])
    return (
        f"{book.say(KIND_WORDS[item['kind']])} {item['number']}",
        book.short_day(date.fromisoformat(item["issued_on"])),
        book.short_day(date.fromisoformat(item["due_on"])),
        book.number(item["days_overdue"]) if item["days_overdue"] else "–",
        book.amount(Decimal(item["total"]), decimals=decimals),
        book.amount(Decimal(item["open"]), decimals=decimals),
    )


def _heads(paper: Paper, heads: list[str], widths: tuple[float, ...], *, first: str) -> None:
    for place, (head, width) in enumerate(zip(heads, widths, strict=True)):
        align = "R" if place else first
        paper.write_text(head, size=7.5, colour=GREY, width=width, height=6, align=align)
    paper.set_xy(MARGIN, paper.get_y() + 6)
    paper.rule(weight=0.4)
    paper.ln(1)


def _details(paper: Paper, made: Letter, book: Phrasebook) -> None:
    """Say how to pay, where something is open and the seller says so."""
    rows = made.seller["payment_details"].splitlines()
    if not rows or not made.statement["items"]:
        return
    paper.need(8 + 4.8 * len(rows))
    paper.write_text(book.say("Payment details"), size=7.5, colour=GREY, width=WIDTH, ends=True)
    for row in rows:
        paper.write_lines(isolated(row), height=4.8)


def _decimals(amount: str) -> int:
    return len(amount.partition(".")[2])
