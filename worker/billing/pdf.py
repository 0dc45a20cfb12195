"""An invoice as PDF, made from its public object, in the buyer's locale."""

import copy
import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.numbers import NumberPattern, format_decimal
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from worker.billing.invoices import InvoiceShown
from worker.billing.parties import BuyerShape, SellerShape, address_lines

FONTS = Path(__file__).parent / "fonts"

# The fonts for scripts that the main one lacks, by the first word of a character's Unicode name.
CJK = "DroidSansFallback.ttf"
FALLBACKS = {
    **dict.fromkeys(
        ("BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC",
         "KATAKANA", "KATAKANA-HIRAGANA"),
        CJK,
    ),
    **{
        script: f"NotoSans{script.title()}-Regular.ttf"
        for script in ("BENGALI", "DEVANAGARI", "ETHIOPIC", "GUJARATI", "GURMUKHI", "KANNADA",
                       "KHMER", "MALAYALAM", "MYANMAR", "ORIYA", "SINHALA", "TAMIL", "TELUGU",
                       "THAI")
    },
}  # fmt: skip

# Scripts that need no text shaping, which takes several times as long.
UNSHAPED = {"LATIN", "GREEK", "CYRILLIC"}

INK, GREY, RULE, ALARM = (24, 28, 36), (104, 112, 124), (208, 212, 220), (176, 32, 32)
MARGIN, WIDTH = 18.0, 174.0  # mm, on A4
COLUMNS = (98.0, 18.0, 27.0, 31.0)  # description, quantity, unit price, amount: WIDTH in all

KIND_WORDS = {"redemption": "redeemed", "extension": "extended access", "credit": "credit"}


class Printed:
    """Formats an invoice's amounts and dates in its buyer's locale and time zone."""

    def __init__(self, invoice: InvoiceShown) -> None:
        self.locale = _locale(invoice["buyer"]["locale"])
        self.zone = ZoneInfo(invoice["buyer"]["time_zone"])
        self.currency = invoice["currency"]
        self.plain = _exact(self.locale.decimal_formats[None], invoice["decimals"])
        self.money = _exact(self.locale.currency_formats["standard"], invoice["decimals"])

    def number(self, amount: str) -> str:
        """Write an amount without its currency."""
        return _written(self.plain.apply(Decimal(amount), self.locale))

    def total(self, amount: str) -> str:
        """Write an amount with its currency."""
        return _written(
            self.money.apply(
                Decimal(amount), self.locale, currency=self.currency, currency_digits=False
            )
        )

    def quantity(self, count: int) -> str:
        """Write a quantity."""
        return format_decimal(count, locale=self.locale)

    def percent(self, rate: str) -> str:
        """Write a tax rate."""
        return f"{format_decimal(Decimal(rate), locale=self.locale)} %"

    def day(self, day: str | datetime | None) -> str:
        """Write a day; an instant is a day in the buyer's time zone."""
        if day is None:
            return "–"
        local = (
            day.astimezone(self.zone).date()
            if isinstance(day, datetime)
            else date.fromisoformat(day)
        )
        return format_date(local, format="long", locale=self.locale)

    def month(self, month: str) -> str:
        """Write a month."""
        first = datetime.fromisoformat(f"{month}-01")
        return format_skeleton("yMMMM", first, locale=self.locale)


class Paper(FPDF):
    """A4 pages with the invoice's number in the footer."""

    def __init__(self, invoice: InvoiceShown) -> None:
        super().__init__(format="A4")
        self.foot = f"{invoice['seller']['name']}  ·  {_called(invoice)}"
        self.columns_on_each_page = False
        self.set_margins(MARGIN, MARGIN)
        self.c_margin = 0.0  # so that text and lines have the same edges
        self.set_auto_page_break(True, margin=24)
        self.alias_nb_pages()
        self._dress(invoice)

    def _dress(self, invoice: InvoiceShown) -> None:
        self.add_font("body", "", FONTS / "DejaVuSans.ttf")
        self.add_font("body", "B", FONTS / "DejaVuSans-Bold.ttf")
        scripts = {_script(character) for character in set("".join(_texts(invoice)))}
        fonts = sorted({FALLBACKS[script] for script in scripts if script in FALLBACKS})
        for font in fonts:
            self.add_font(font, "", FONTS / font)
        self.set_fallback_fonts(fonts, exact_match=False)
        if scripts - UNSHAPED - {""}:
            self.set_text_shaping(True)

    def header(self) -> None:
        """Repeat the table's head on each further page."""
        if self.columns_on_each_page:
            _table_head(self)

    def footer(self) -> None:
        """Write the invoice's number, the page and the number of pages."""
        self.set_y(-15)
        text = f"{self.foot}  ·  page {self.page_no()} of {{nb}}"
        self.write_text(text, size=7.5, colour=GREY, width=WIDTH)

    def write_text(
        self,
        words: str,
        *,
        size: float = 9,
        bold: bool = False,
        colour: tuple[int, int, int] = INK,
        width: float = 0,
        height: float = 4.6,
        align: str = "L",
        ends: bool = False,
    ) -> None:
        """Write one line of text in a cell; `ends` goes on to the next line."""
        self.set_font("body", "B" if bold else "", size)
        self.set_text_color(*colour)
        new_x, new_y = (XPos.LMARGIN, YPos.NEXT) if ends else (XPos.RIGHT, YPos.TOP)
        self.cell(width, height, words, align=align, new_x=new_x, new_y=new_y)

    def rule(self, *, left: float = MARGIN, weight: float = 0.2) -> None:
        """Draw a line across, from `left` to the right margin."""
        self.set_draw_color(*RULE)
        self.set_line_width(weight)
        self.line(left, self.get_y(), MARGIN + WIDTH, self.get_y())


def invoice_pdf(invoice: InvoiceShown) -> bytes:
    """Print an invoice, as `invoices.show` gives it, on A4; the same invoice gives the same bytes."""
    printed = Printed(invoice)
    paper = Paper(invoice)
    paper.set_title(_called(invoice))
    paper.set_author(invoice["seller"]["name"])
    paper.set_creation_date(invoice["finalized_at"] or datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")))
    paper.add_page()
    _letterhead(paper, invoice, printed)
    _lines(paper, invoice, printed)
    _totals(paper, invoice, printed)
    _shares(paper, invoice, printed)
    _payment(paper, invoice, printed)
    return bytes(paper.output())


def _letterhead(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    top = paper.get_y()
    _party(paper, invoice["seller"], printed, heading=None)
    left_ends = paper.get_y() + 8
    paper.set_y(left_ends)
    _party(paper, invoice["buyer"], printed, heading="Billed to")
    left_ends = paper.get_y()
    paper.set_y(top)
    _facts(paper, invoice, printed)
    paper.set_y(max(left_ends, paper.get_y()) + 10)


def _party(
    paper: Paper, party: SellerShape | BuyerShape, printed: Printed, *, heading: str | None
) -> None:
    if heading:
        paper.write_text(heading, size=7.5, colour=GREY, width=95, ends=True)
    _wrapped(paper, party["name"], size=11, bold=True)
    for row in address_lines(party, locale=printed.locale):
        _wrapped(paper, row, size=9)
    if party["tax_id"]:
        _wrapped(paper, f"Tax id {party['tax_id']}", size=8, colour=GREY)


def _wrapped(paper: Paper, words: str, *, size: float, **look: Any) -> None:
    paper.set_font("body", "B" if look.get("bold") else "", size)
    paper.set_text_color(*look.get("colour", INK))
    paper.multi_cell(92, size * 0.52, words, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _facts(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    left, key, value = MARGIN + 100, 32.0, 42.0
    paper.set_x(left)
    paper.write_text(
        invoice["title"], size=20, bold=True, width=key + value, height=10, align="R", ends=True
    )
    facts = [
        ("Number", invoice["number"] or "not given yet"),
        ("Date", printed.day(invoice["issued_on"])),
        ("Billing month", printed.month(invoice["month"])),
        ("Due", printed.day(invoice["due_on"])),
        ("Currency", invoice["currency"]),
    ]
    if Decimal(invoice["total"]) <= 0:
        facts = [fact for fact in facts if fact[0] != "Due"]
    for name, fact in facts:
        paper.set_x(left)
        paper.write_text(name, size=8.5, colour=GREY, width=key, height=5.2)
        paper.write_text(fact, size=8.5, width=value, height=5.2, align="R", ends=True)
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


def _stamp(invoice: InvoiceShown, printed: Printed) -> str:
    match invoice["status"]:
        case "draft":
            return "DRAFT – do not pay"
        case "void":
            return "VOID – do not pay"
        case "paid":
            return f"PAID {printed.day(invoice['paid_on'])}"
        case _:
            return ""


def _table_head(paper: Paper) -> None:
    names = ("Description", "Quantity", "Unit price", "Amount")
    for width, name in zip(COLUMNS, names, strict=True):
        align = "L" if name == "Description" else "R"
        paper.write_text(
            name, size=8, colour=GREY, width=width, height=6, align=align, ends=name == "Amount"
        )
    paper.rule(weight=0.4)
    paper.ln(1.5)


def _lines(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    _table_head(paper)
    paper.columns_on_each_page = True
    for line in invoice["lines"]:
        if paper.will_page_break(11):
            paper.add_page()
        words = [
            line["pool_name"],
            f"{KIND_WORDS[line['kind']]} {printed.month(line['service_month'])}",
        ]
        figures = (
            printed.quantity(line["quantity"]),
            printed.number(line["unit_price"]),
            printed.number(line["amount"]),
        )
        title = _fitted(paper, f"{line['course_title']} ({line['course']})", size=9, bold=True)
        paper.write_text(title, bold=True, width=COLUMNS[0])
        for width, figure in zip(COLUMNS[1:], figures, strict=True):
            paper.write_text(figure, width=width, align="R", ends=width == COLUMNS[-1])
        note = _fitted(paper, "  ·  ".join(words), size=7.5)
        paper.write_text(note, size=7.5, colour=GREY, height=4, ends=True)
        paper.ln(1.6)
    paper.columns_on_each_page = False
    paper.rule(weight=0.4)


def _fitted(paper: Paper, words: str, *, size: float, bold: bool = False) -> str:
    """Shorten a text that is wider than the description's column, with an ellipsis."""
    paper.set_font("body", "B" if bold else "", size)
    room = COLUMNS[0] - 3
    if paper.get_string_width(words) <= room:
        return words
    short, long = 0, len(words)
    while long - short > 1:
        middle = (short + long) // 2
        fits = paper.get_string_width(words[:middle] + "…") <= room
        short, long = (middle, long) if fits else (short, middle)
    return words[:short].rstrip() + "…"


def _totals(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    if paper.will_page_break(30):
        paper.add_page()
    left, key, value = MARGIN + WIDTH - 86, 44.0, 42.0
    taxes = [(f"{tax['label']} {printed.percent(tax['percent'])}", tax) for tax in invoice["taxes"]]
    paper.ln(2)
    for name, amount in (
        ("Subtotal", invoice["subtotal"]),
        *((name, tax["tax"]) for name, tax in taxes),
    ):
        paper.set_x(left)
        paper.write_text(name, width=key, height=6, colour=GREY)
        paper.write_text(printed.total(amount), width=value, height=6, align="R", ends=True)
    paper.rule(left=left)
    paper.ln(0.8)
    paper.set_x(left)
    paper.write_text("Total", size=11.5, bold=True, width=key, height=8)
    paper.write_text(
        printed.total(invoice["total"]),
        size=11.5,
        bold=True,
        width=value,
        height=8,
        align="R",
        ends=True,
    )


def _shares(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    shares = invoice["learner_organizations"]
    if not shares or [s["organization"] for s in shares] == [invoice["organization"]]:
        return
    if paper.will_page_break(24):
        paper.add_page()
    paper.ln(6)
    paper.write_text("Of the subtotal, for learners of", size=8, colour=GREY, height=6, ends=True)
    for share in shares:
        paper.write_text(
            _fitted(paper, share["organization"], size=8.5), size=8.5, width=COLUMNS[0]
        )
        paper.write_text(printed.total(share["amount"]), size=8.5, width=45, align="R", ends=True)


def _payment(paper: Paper, invoice: InvoiceShown, printed: Printed) -> None:
    if paper.will_page_break(36):
        paper.add_page()
    paper.ln(9)
    for sentence in _sentences(invoice, printed):
        _paragraph(paper, sentence)
    payable = invoice["status"] in {"draft", "finalized"} and Decimal(invoice["total"]) > 0
    if payable and invoice["seller"]["payment_details"]:
        paper.ln(2)
        paper.write_text("Payment details", size=7.5, colour=GREY, ends=True)
        _paragraph(paper, invoice["seller"]["payment_details"])


def _paragraph(paper: Paper, words: str) -> None:
    paper.set_font("body", "", 9)
    paper.set_text_color(*INK)
    paper.multi_cell(WIDTH, 4.8, words, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _sentences(invoice: InvoiceShown, printed: Printed) -> Iterable[str]:
    total = printed.total(invoice["total"].removeprefix("-"))
    match invoice["status"]:
        case "draft":
            yield "This is a draft: it has no number yet, and its amounts may still change."
        case "void":
            yield f"This invoice is void: {invoice['void_reason']}"
        case "paid":
            yield f"Settled on {printed.day(invoice['paid_on'])}. Thank you."
        case _ if Decimal(invoice["total"]) < 0:
            yield f"{total} is credited to you."
        case _ if Decimal(invoice["total"]) == 0:
            yield "Nothing is to be paid."
        case _:
            due = printed.day(invoice["due_on"])
            yield f"Please pay {total} by {due}, quoting {invoice['number']}."


def _called(invoice: InvoiceShown) -> str:
    return f"{invoice['title']} {invoice['number'] or 'draft'}"


def _texts(invoice: InvoiceShown) -> Iterable[str]:
    for party in (invoice["seller"], invoice["buyer"]):
        yield from (str(value) for value in party.values())
        yield from address_lines(party, locale=Printed(invoice).locale)
    yield from (tax["label"] + (tax["exemption"] or "") for tax in invoice["taxes"])
    yield from (invoice["void_reason"] or "", _sample(invoice))
    for line in invoice["lines"]:
        yield from (line["course_title"], line["course"], line["pool_name"])
    yield from (share["organization"] for share in invoice["learner_organizations"])


def _sample(invoice: InvoiceShown) -> str:
    """Give a sample of the locale's own characters: months, digits and currency."""
    printed = Printed(invoice)
    return printed.month(invoice["month"]) + printed.total(invoice["total"])


def _script(character: str) -> str:
    if not character.isalpha() and unicodedata.category(character)[0] != "M":
        return ""
    return unicodedata.name(character, "").partition(" ")[0]


def _written(figure: str) -> str:
    """Separate a currency's letters from the digits, and remove a mark that no font draws."""
    return re.sub(r"(?<=[A-Za-z])(?=\d)", "\u00a0", figure.replace("\u061c", ""))


def _exact(pattern: NumberPattern, decimals: int) -> NumberPattern:
    """Give a locale's number pattern with the currency's decimals (ISO 4217, B2)."""
    exact = copy.copy(pattern)
    exact.frac_prec = (decimals, decimals)
    return exact


@cache
def _locale(name: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
