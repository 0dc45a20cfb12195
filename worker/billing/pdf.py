"""Invoices on paper: a PDF made from an invoice's own object, in its buyer's language."""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from zoneinfo import ZoneInfo

from worker.billing import hybrid, transfers
from worker.billing.invoices import InvoiceShown
from worker.billing.lines import LineShown
from worker.billing.parties import PartyShape, SellerPrinted, address_lines
from worker.billing.sums import TaxShape
from worker.billing.writing import ALARM, GREY, MARGIN, WIDTH, Paper, isolated
from worker.languages.phrasebooks import Phrasebook, phrasebook
from worker.languages.phrases import phrase

COLUMNS = (98.0, 18.0, 27.0, 31.0)  # description, quantity, unit price, amount: WIDTH in all
PARTY = 92.0  # mm: how wide the block of seller or buyer is
FACTS = (MARGIN + 100, 32.0, 42.0)  # where the facts begin, and their columns
SUMS = (MARGIN + WIDTH - 122, 80.0, 42.0)  # likewise the sums
HEAD = 6.0  # mm: the table's head
CODE = 26.0  # mm: a QR code

HEADS = (phrase("Description"), phrase("Quantity"), phrase("Unit price"), phrase("Amount"))
TITLE_WORDS = {"Invoice": phrase("Invoice"), "Credit note": phrase("Credit note")}
CREDITED, SET_AGAINST = phrase("Credited"), phrase("Set against invoices")
KIND_WORDS = {
    "redemption": phrase("redeemed {month}"),
    "extension": phrase("extended access {month}"),
    "credit": phrase("credit {month}"),
}


class Printed:
    """An invoice in words: its amounts and dates as its buyer's language writes them."""

    def __init__(self, invoice: InvoiceShown) -> None:
        self.book = phrasebook(invoice["buyer"]["locale"])
        self.say = self.book.say
        self.zone = ZoneInfo(invoice["buyer"]["time_zone"])
        self.currency, self.decimals = invoice["currency"], invoice["decimals"]
        self.title = self.say(TITLE_WORDS[invoice["title"]])
        draft = self.say("draft")
        self.called = f"{self.title} {invoice['number'] or draft}"

    def number(self, amount: str) -> str:
        """Write an amount without its currency."""
        return self.book.amount(Decimal(amount), decimals=self.decimals)

    def total(self, amount: str | Decimal) -> str:
        """Write an amount with its currency."""
        return self.book.money(Decimal(amount), self.currency, decimals=self.decimals)

    def day(self, day: str | datetime | None) -> str:
        """Write a day; an instant is a day in the buyer's time zone."""
        if day is None:
            return "–"
        if isinstance(day, datetime):
            return self.book.day(day.astimezone(self.zone).date())
        return self.book.day(date.fromisoformat(day))

    def rate(self, label: str, percent: str) -> str:
        """Name a tax and its rate."""
        return f"{isolated(self.book.translate(label))} {self.book.percent(Decimal(percent))}"

    def tax(self, tax: TaxShape, *, several: bool) -> str:
        """Name a tax and its rate and, where there are several, what it is on."""
        rate = self.rate(tax["label"], tax["percent"])
        if not several:
            return rate
        return self.say("{rate} on {subtotal}", rate=rate, subtotal=self.total(tax["subtotal"]))

    def month(self, month: str) -> str:
        """Write a month."""
        return self.book.month(date.fromisoformat(f"{month}-01"))


def invoice_pdf(invoice: InvoiceShown, *, xml: bytes | None = None) -> bytes:
    """Print an invoice, as `invoices.show` gives it, on A4; the same invoice gives the same bytes.

    With `xml` it is a PDF/A-3 that carries it.
    """
    printed = Printed(invoice)
    paper = Paper(
        foot=f"{isolated(invoice['seller']['name'])}  ·  {printed.called}",
        page_of=printed.say("page {page} of {pages}", page="{page}", pages="{pages}"),
        language=printed.book.language,
        compliance=hybrid.COMPLIANCE if xml else None,
    )
    title, author = printed.called, invoice["seller"]["name"]
    made_at = invoice["finalized_at"] or datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
    paper.set_title(title)
    paper.set_author(author)
    paper.set_creation_date(made_at)
    if xml:
        hybrid.carry(paper, xml, title=title, author=author, made_at=made_at)
    paper.add_page()
    _letterhead(paper, invoice, printed)
    _lines(paper, invoice, printed)
    _totals(paper, invoice, printed)
    _shares(paper, invoice, printed)
    _payment(paper, invoice, printed)
    return bytes(paper.output())


def _letterhead(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    """Write who sells what to whom: title and number first, so that they are on the first page."""
    top = paper.get_y()
    _facts(paper, invoice, printed)
    bottom = paper.get_y()
    paper.set_y(top)
    party(paper, invoice["seller"], printed.book, heading=None)
    contact(paper, invoice["seller"])
    paper.ln(8)
    party(paper, invoice["buyer"], printed.book, heading=printed.say("Billed to"))
    paper.set_y((max(bottom, paper.get_y()) if paper.page == 1 else paper.get_y()) + 10)


def party(paper: Paper, whose: PartyShape, book: Phrasebook, *, heading: str | None) -> None:
    """Write a party's block: its name, address and tax number."""
    if heading:
        paper.write_text(heading, size=7.5, colour=GREY, width=PARTY, ends=True)
    paper.write_lines(isolated(whose["name"]), size=11, bold=True, width=PARTY)
    for row in address_lines(whose, locale=book.locale):
        paper.write_lines(isolated(row), width=PARTY)
    if whose["tax_id"]:
        tax_id = book.say("Tax id {number}", number=isolated(whose["tax_id"]))
        paper.write_lines(tax_id, size=8, colour=GREY, width=PARTY)


def contact(paper: Paper, seller: SellerPrinted) -> None:
    """Say whom to ask."""
    parts = (seller["contact"], seller["phone"], seller["email"])
    if words := "  ·  ".join(isolated(value) for value in parts if value):
        paper.write_lines(words, size=8, colour=GREY, width=PARTY)


def _facts(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    left, key, value = FACTS
    paper.set_x(left)
    paper.write_text(
        printed.title, size=20, bold=True, width=key + value, height=10, align="R", ends=True
    )
    for name, fact in _told(invoice, printed):
        names, facts = (
            paper.wrapped(words, size=8.5, width=width)
            for words, width in ((name, key - 2), (fact, value))
        )
        for row in range(max(len(names), len(facts))):
            paper.set_x(left)
            paper.write_text(
                "".join(names[row : row + 1]), size=8.5, colour=GREY, width=key, height=5.2
            )
            paper.write_text(
                "".join(facts[row : row + 1]),
                size=8.5,
                width=value,
                height=5.2,
                align="R",
                ends=True,
            )
    if stamp := _stamp(invoice, printed):
        paper.set_x(left)
        paper.write_text(
            stamp,
            size=10,
            bold=True,
            colour=ALARM,
            width=key + value,
            height=8,
            align="R",
            ends=True,
        )


def _told(invoice: InvoiceShown, printed: Printed) -> Iterator[tuple[str, str]]:
    say = printed.say
    yield say("Number"), invoice["number"] or say("not given yet")
    yield say("Date"), printed.day(invoice["issued_on"])
    yield say("Billing month"), printed.month(invoice["month"])
    if Decimal(invoice["total"]) > 0:
        yield say("Due"), printed.day(invoice["due_on"])
    yield say("Currency"), invoice["currency"]
    for name, value in (
        (say("Your reference"), invoice["buyer"]["buyer_reference"]),
        (say("Your order"), invoice["buyer"]["purchase_order"]),
    ):
        if value:
            yield name, isolated(value)


def _stamp(invoice: InvoiceShown, printed: Printed) -> str:
    match invoice["status"]:
        case "draft":
            return printed.say("DRAFT – do not pay")
        case "void":
            return printed.say("VOID – do not pay")
        case "paid":
            return printed.say("PAID {day}", day=printed.day(invoice["paid_on"]))
        case _:
            return ""


def _table_head(paper: Paper, printed: Printed) -> None:
    for word, width in zip(HEADS, COLUMNS, strict=True):
        align = "L" if width == COLUMNS[0] else "R"
        paper.write_text(
            printed.say(word), size=8, colour=GREY, width=width, height=HEAD, align=align
        )
    paper.set_xy(MARGIN, paper.get_y() + HEAD)
    paper.rule(weight=0.4)
    paper.ln(1.5)


def _lines(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    """Write the lines; their columns' names stand above them on each page, and never alone."""
    several = len(invoice["taxes"]) > 1
    for place, line in enumerate(invoice["lines"]):
        title = f"{isolated(line['course_title'])} ({line['course']})"
        titles = paper.wrapped(title, size=9, bold=True, width=COLUMNS[0] - 3)
        note = "  ·  ".join(_notes(line, printed, several=several))
        notes = paper.wrapped(note, size=7.5, width=COLUMNS[0] + 15)
        height = 4.6 * len(titles) + 4 * len(notes) + 1.6
        paper.need(height if place else height + HEAD + 2)
        if not place:
            _table_head(paper, printed)
            paper.on_each_page = partial(_table_head, paper, printed)
        _line(paper, line, printed, titles, notes)
    paper.on_each_page = None
    paper.rule(weight=0.4)


def _line(
    paper: Paper, line: LineShown, printed: Printed, titles: list[str], notes: list[str]
) -> None:
    paper.write_text(titles[0], bold=True, width=COLUMNS[0])
    figures = (
        printed.book.number(line["quantity"]),
        printed.number(line["unit_price"]),
        printed.number(line["amount"]),
    )
    for width, figure in zip(COLUMNS[1:], figures, strict=True):
        paper.write_text(figure, width=width, align="R", ends=width == COLUMNS[-1])
    for more in titles[1:]:
        paper.write_text(more, bold=True, ends=True)
    for note in notes:
        paper.write_text(note, size=7.5, colour=GREY, height=4, ends=True)
    paper.ln(1.6)


def _notes(line: LineShown, printed: Printed, *, several: bool) -> Iterator[str]:
    """Say which pool and month a line is about, its rate where rates differ, and what it credits."""
    yield isolated(line["pool_name"])
    yield printed.say(KIND_WORDS[line["kind"]], month=printed.month(line["service_month"]))
    if several:
        yield printed.rate(line["tax_label"], line["tax_percent"])
    if credited := line["credits"]:
        yield printed.say(
            "Credits invoice {number} of {day}: {reason}",
            number=credited["invoice"],
            day=printed.day(credited["issued_on"]),
            reason=isolated(credited["reason"]),
        )


def _totals(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    """Write subtotal, tax and total, on one page."""
    several = len(invoice["taxes"]) > 1
    taxes = [(printed.tax(tax, several=several), tax["tax"]) for tax in invoice["taxes"]]
    rows = [(printed.say("Subtotal"), invoice["subtotal"]), *taxes]
    left, key, value = SUMS
    lines = [paper.wrapped(name, size=9, width=key - 4) for name, _ in rows]
    paper.need(12 + 6 * sum(map(len, lines)))
    paper.ln(2)
    for names, (_, amount) in zip(lines, rows, strict=True):
        for place, name in enumerate(names):
            paper.set_x(left)
            paper.write_text(name, width=key, height=6, colour=GREY)
            figure = "" if place else printed.total(amount)
            paper.write_text(figure, width=value, height=6, align="R", ends=True)
    paper.rule(left=left)
    paper.ln(0.8)
    paper.set_x(left)
    paper.write_text(printed.say("Total"), size=11.5, bold=True, width=key, height=8)
    total = printed.total(invoice["total"])
    paper.write_text(total, size=11.5, bold=True, width=value, height=8, align="R", ends=True)
    _payments(paper, invoice, printed)


def _payments(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    """Write what was paid and credited, and what of the total is open: they add up to the total."""
    rows = [
        (printed.say("Paid {day}", day=printed.day(payment["on"])), -Decimal(payment["amount"]))
        for payment in invoice["payments"]
    ]
    if credited := _credited(invoice):
        word = SET_AGAINST if credited > 0 else CREDITED
        rows.append((printed.say(word), credited))
    if not rows:
        return
    left, key, value = SUMS
    for name, amount in (*rows, (printed.say("Open"), Decimal(invoice["open"]))):
        paper.need(6)
        paper.set_x(left)
        paper.write_text(name, width=key, height=6, colour=GREY)
        paper.write_text(printed.total(amount), width=value, height=6, align="R", ends=True)


def _credited(invoice: InvoiceShown) -> Decimal:
    """Give what credit notes take off an invoice's total, or a credit note's total goes to."""
    if invoice["status"] not in {"finalized", "paid"}:
        return Decimal(0)
    paid = sum((Decimal(payment["amount"]) for payment in invoice["payments"]), Decimal(0))
    return Decimal(invoice["open"]) + paid - Decimal(invoice["total"])


def _shares(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    shares = invoice["learner_organizations"]
    if not shares or [s["organization"] for s in shares] == [invoice["organization"]]:
        return
    paper.need(24)
    paper.ln(6)
    heading = printed.say("Of the subtotal, for learners of")
    paper.write_text(heading, size=8, colour=GREY, height=6, ends=True)
    for share in shares:
        names = paper.wrapped(isolated(share["organization"]), size=8.5, width=COLUMNS[0] - 3)
        paper.need(4.6 * len(names))
        paper.write_text(names[0], size=8.5, width=COLUMNS[0])
        amount = printed.total(share["amount"])
        paper.write_text(amount, size=8.5, width=45, align="R", ends=True)
        for name in names[1:]:
            paper.write_text(name, size=8.5, ends=True)


def _payment(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    """Say what is to be done, and where to pay."""
    code, sentences = _code(invoice), list(_sentences(invoice, printed))
    paper.need(5 * len(sentences) + (CODE + 15 if code else 29))
    paper.ln(7)
    for sentence in sentences:
        paper.write_lines(sentence, height=4.8)
    if invoice["status"] in {"draft", "finalized"} and Decimal(invoice["total"]) > 0:
        _account(paper, invoice, printed, code)


def _account(
    paper: Paper, invoice: InvoiceShown, printed: Printed, code: transfers.Modules | None
) -> None:
    """Write the account of the invoice's currency with its code, and what else the seller says."""
    seller = invoice["seller"]
    bank = seller["bank"]
    rows = [isolated(row) for row in seller["payment_details"].splitlines()]
    if bank:
        names = (
            (printed.say("Account holder"), isolated(seller["name"])),
            ("IBAN", transfers.grouped(bank["iban"])),
            ("BIC", bank["bic"]),
        )
        rows = [f"{name}: {value}" for name, value in names if value] + rows
    if not rows:
        return
    paper.ln(3)
    paper.write_text(printed.say("Payment details"), size=7.5, colour=GREY, ends=True)
    top = paper.get_y()
    for row in rows:
        paper.write_lines(row, height=4.8, width=WIDTH - CODE - 40 if code else WIDTH)
    if code:
        _draw_code(paper, code, top - 4.6, printed)


def _code(invoice: InvoiceShown) -> transfers.Modules | None:
    """Give the code by which a phone pays, where the invoice is final and something is open."""
    seller, bank = invoice["seller"], invoice["seller"]["bank"]
    if not bank or not invoice["number"]:
        return None
    return transfers.epc_code(
        name=seller["name"],
        iban=bank["iban"],
        bic=bank["bic"],
        amount=Decimal(invoice["open"]),
        currency=invoice["currency"],
        reference=invoice["number"],
    )


def _draw_code(paper: Paper, code: transfers.Modules, top: float, printed: Printed) -> None:
    """Draw a code at the right margin: each row's dark modules, the rows overlapping by a hair."""
    side = CODE / len(code)
    left = MARGIN + WIDTH - CODE
    paper.set_fill_color(0, 0, 0)
    for row, modules in enumerate(code):
        column = 0
        for dark, some in groupby(modules):
            count = len([*some])
            if dark:
                paper.rect(left + column * side, top + row * side, count * side, side + 0.02, "F")
            column += count
    words = printed.say("Scan to pay")
    paper.set_xy(left - 30, max(paper.get_y(), top + CODE + 1))
    paper.write_text(words, size=7.5, colour=GREY, width=30 + CODE, align="R", ends=True)


def _sentences(invoice: InvoiceShown, printed: Printed) -> Iterator[str]:
    """Say why tax is not due, where that is so, and what is to be done."""
    exempt = [tax["exemption"] for tax in invoice["taxes"] if tax["exemption"]]
    yield from (isolated(printed.book.translate(why)) for why in dict.fromkeys(exempt))
    say, total = printed.say, printed.total(abs(Decimal(invoice["total"])))
    match invoice["status"]:
        case "draft":
            yield say("This is a draft: it has no number yet, and its amounts may still change.")
        case "void":
            reason = isolated(invoice["void_reason"] or "")
            yield say("This invoice is void: {reason}", reason=reason)
        case "paid":
            yield say("Settled on {day}. Thank you.", day=printed.day(invoice["paid_on"]))
        case _ if Decimal(invoice["total"]) < 0:
            yield say("{total} is credited to you.", total=total)
        case _ if Decimal(invoice["total"]) == 0:
            yield say("Nothing is to be paid.")
        case _:
            yield say(
                "Please pay {total} by {due}, quoting {number}.",
                total=printed.total(invoice["open"]),
                due=printed.day(invoice["due_on"]),
                number=invoice["number"],
            )
