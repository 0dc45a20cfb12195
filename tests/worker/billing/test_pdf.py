"""The PDF of an invoice: each word in the buyer's language, whole, and where it belongs."""

import io
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pypdf import PdfReader
from segno import helpers

from tests.worker.billing.paper import printed, words
from worker.billing import parties
from worker.billing.pdf import invoice_pdf
from worker.billing.writing import Paper, Run
from worker.languages.phrasebooks import LANGUAGES, phrasebook


@pytest.mark.parametrize(
    ("locale", "currency", "decimals", "total", "due"),
    [
        ("en", "USD", 2, "$1,234.50", "4 July 2026"),
        ("en-US", "USD", 2, "$1,234.50", "July 4, 2026"),
        ("de", "EUR", 2, "1.234,50 €", "4. Juli 2026"),
        ("fr-CH", "CHF", 2, "1'234,50 CHF", "4 juillet 2026"),
        ("es", "EUR", 2, "1.234,50 €", "4 de julio de 2026"),
        ("en", "KWD", 3, "KWD 1,234.500", "4 July 2026"),
        ("en", "HUF", 2, "HUF 1,234.50", "4 July 2026"),  # CLDR prints forints without decimals
        # What has no catalogue is English throughout.
        ("ja", "JPY", 0, "¥1,234", "4 July 2026"),
        ("klingon", "EUR", 2, "€1,234.50", "4 July 2026"),
    ],
)
def test_money_and_dates_are_written_in_the_buyers_locale(locale, currency, decimals, total, due):
    invoice = printed(locale=locale, currency=currency, decimals=decimals)

    text = words(invoice_pdf(invoice))

    assert total in text
    assert due in text


@pytest.mark.parametrize(
    ("changes", "expected", "absent"),
    [
        ({"status": "draft", "number": None, "finalized_at": None, "issued_on": None, "due_on": None},
         ["DRAFT – do not pay", "not given yet", "amounts may still change"], "Please pay"),
        ({"status": "void", "void_reason": "wrong address"},
         ["VOID – do not pay", "This invoice is void: wrong address"], "Please pay"),
        ({"status": "paid", "paid_on": "2026-06-30"}, ["PAID 30 June 2026"], "Please pay"),
        ({"title": "Credit note", "total": "-1234.50"},
         ["Credit note", "€1,234.50 is credited to you."], "Due"),
        ({"total": "0.00"}, ["Nothing is to be paid."], "Due"),
    ],
)  # fmt: skip
def test_the_pdf_says_what_to_do(changes, expected, absent):
    text = words(invoice_pdf(printed(**changes)))

    for sentence in expected:
        assert sentence in text
    assert absent not in text


def test_a_title_that_is_too_long_for_its_column_goes_on_in_more_lines():
    invoice = printed()
    invoice["lines"][0]["course_title"] = "Kubernetes " * 18 + "ends here"

    text = words(invoice_pdf(invoice))

    assert text.count("Kubernetes") == 18
    assert "ends here (K8S-101)" in text


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (300, 13)])
def test_lines_go_on_over_pages_that_are_numbered(count, pages):
    invoice = printed()
    invoice["lines"] = [
        invoice["lines"][0] | {"course": f"C-{number:05d}", "amount": f"{number}.25"}
        for number in range(1, count + 1)
    ]

    pdf = invoice_pdf(invoice)

    text = words(pdf)
    found = re.findall(r"\(C-(\d{5})\)", text)
    assert [int(number) for number in found] == list(range(1, count + 1))
    assert len(PdfReader(io.BytesIO(pdf)).pages) == pages
    assert f"page {pages} of {pages}" in text
    assert text.count("Unit price") == pages  # each page has the columns' names


def test_ten_thousand_lines_are_printed():
    invoice = printed()
    invoice["lines"] *= 10_000
    began = time.process_time()

    pdf = invoice_pdf(invoice)

    assert len(PdfReader(io.BytesIO(pdf)).pages) > 400
    assert time.process_time() - began < 60


# Languages ----------------------------------------------------------------------------------------

ENGLISH = {
    "Invoice", "Number", "Date", "Billing", "month", "Due", "Currency", "Your", "reference", "order",
    "Billed", "Tax", "Quantity", "Unit", "price", "Amount", "Subtotal", "VAT", "redeemed", "extended",
    "access", "credit", "Paid", "Open", "Please", "pay", "quoting", "Payment", "details", "Account",
    "holder", "Scan", "page", "May", "June", "July", "the", "learners", "draft", "void",
}  # fmt: skip


def full(**changes: Any) -> dict[str, Any]:
    """An invoice that has everything that paper can have."""
    invoice = printed(**changes)
    [line] = invoice["lines"]
    [tax] = invoice["taxes"]
    invoice["lines"] = [
        line | {"kind": kind, "tax_percent": percent}
        for kind, percent in (("redemption", "19"), ("extension", "7"), ("credit", "19"))
    ]
    reverse = "Reverse charge: the recipient is liable for the tax."
    invoice["taxes"] = [
        tax | {"percent": "19", "subtotal": "1000.00", "tax": "190.00"},
        tax | {"percent": "7", "subtotal": "234.50", "tax": "16.42"},
        tax | {"label": "Tax", "category": "AE", "exemption": reverse},
    ]
    invoice["payments"] = [{"id": "1", "on": "2026-06-20", "amount": "34.50", "reference": "X"}]
    invoice["open"] = "1200.00"
    invoice["learner_organizations"] = [
        {"organization": "Academia", "amount": "1000.00"},
        {"organization": "Filial", "amount": "234.50"},
    ]
    bank = {"iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}
    invoice["seller"] = parties.seller(
        {"name": "Operator", "city": "Berlin", "country": "DE", "tax_id": "DE1", "bank": bank}
    )
    invoice["buyer"] |= {"buyer_reference": "04011000-1", "purchase_order": "PO-1", "tax_id": "X1"}
    return invoice


@pytest.mark.parametrize("status", ["draft", "finalized", "paid", "void"])
@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_no_english_word_is_left_on_paper_in_another_language(language, status):
    changes: dict[str, Any] = {"status": status, "paid_on": "2026-06-30", "void_reason": "X"}
    if status == "draft":
        changes |= {"number": None, "issued_on": None, "due_on": None, "finalized_at": None}

    text = words(invoice_pdf(full(locale=language, **changes)))

    left = ENGLISH & set(re.findall(r"\w+", text))
    assert left - {"Description", "Total", "page", "credit", "Date", "Subtotal"} == set()
    assert ("Subtotal" in text) == (language == "es")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Invoice", "May 2026", "VAT 19 % on €1,000.00", "Tax 0 % on €1,234.50", "Germany",
                "Paid 20 June 2026", "-€34.50", "Open", "page 1 of 1", "Account holder: Operator",
                "Reverse charge: the recipient is liable for the tax.",
                "Please pay €1,200.00 by 4 July 2026, quoting 2026-000001."]),
        ("de", ["Rechnung", "Mai 2026", "USt 19 % auf 1.000,00 €", "Deutschland",
                "Bezahlt am 20. Juni 2026", "Offen", "Seite 1 von 1", "Kontoinhaber: Operator",
                "Steuerschuldnerschaft des Leistungsempfängers.",
                "Bitte zahlen Sie 1.200,00 € bis zum 4. Juli 2026 unter Angabe von 2026-000001."]),
        ("fr", ["Facture", "mai 2026", "TVA 19 % sur 1 000,00 €", "Allemagne",
                "Payé le 20 juin 2026", "Reste à payer", "page 1 sur 1",
                "Autoliquidation : la taxe est due par le preneur.",
                "Veuillez payer 1 200,00 € au plus tard le 4 juillet 2026, en indiquant 2026-000001."]),
        ("es", ["Factura", "mayo de 2026", "IVA 19 % sobre 1.000,00 €", "Alemania",
                "Pagado el 20 de junio de 2026", "Pendiente", "página 1 de 1",
                "Inversión del sujeto pasivo",
                "pague 1.200,00 € a más tardar el 4 de julio de 2026, indicando 2026-000001."]),
    ],
)  # fmt: skip
def test_every_word_is_in_the_buyers_language(language, expected):
    text = words(invoice_pdf(full(locale=language)))

    for sentence in expected:
        assert sentence in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_document_says_its_language(language):
    document = PdfReader(io.BytesIO(invoice_pdf(printed(locale=language))))

    assert document.trailer["/Root"]["/Lang"] == language
    assert document.metadata.title.startswith(phrasebook(language).say("Invoice"))


@pytest.mark.parametrize(
    ("language", "title", "note"),
    [
        ("en", "Credit note", "Credits invoice 2026-000007 of 4 June 2026: half a day lost"),
        ("de", "Gutschrift", "Gutschrift zu Rechnung 2026-000007 vom 4. Juni 2026: half a day lost"),
        ("fr", "Avoir", "Avoir sur la facture 2026-000007 du 4 juin 2026 : half a day lost"),
        ("es", "Nota de crédito",
         "Abono de la factura 2026-000007 del 4 de junio de 2026: half a day lost"),
    ],
)  # fmt: skip
def test_a_credit_note_says_which_invoice_each_line_credits_and_why(language, title, note):
    invoice = printed(locale=language, title="Credit note", total="-9.90", open="-9.90")
    invoice["lines"][0] |= {
        "kind": "credit",
        "credits": {
            "invoice": "2026-000007",
            "issued_on": "2026-06-04",
            "reason": "half a day lost",
        },
    }

    text = words(invoice_pdf(invoice))

    assert title in text
    assert note in text


def test_a_tax_label_of_the_operators_own_is_printed_as_it_is_written():
    invoice = printed(locale="de")
    invoice["taxes"][0] |= {"label": "GST {of 5}", "percent": "5"}

    assert "GST {of 5} 5 %" in words(invoice_pdf(invoice))


# Names --------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch) -> Callable[[], list[str]]:
    """The lines of the page, each from the left to the right; cells apart by a stroke.

    What is read from the right is turned round, so that a letter stands where it is seen.
    """
    runs: list[tuple[float, float, float, str]] = []
    draw = Paper._draw

    def recorded(paper: Paper, run: Run, x: float, middle: float, size: float, bold: bool) -> None:
        seen = run.text[::-1] if run.leftward else run.text
        runs.append((round(middle, 3), x, x + paper._width(run, size, bold), seen))
        draw(paper, run, x, middle, size, bold)

    def lines() -> list[str]:
        told, before = [""], (0.0, 0.0)
        for y, left, right, seen in sorted(runs):
            if y != before[0]:
                told.append("")
            elif left > before[1] + 0.01:
                told[-1] += "|"
            told[-1] += seen
            before = (y, right)
        return [re.sub("\u202f|\xa0", " ", line) for line in told]

    monkeypatch.setattr(Paper, "_draw", recorded)
    return lines


@pytest.mark.parametrize(
    ("name", "seen"),  # as it stands on the page, from the left
    [
        ("شركة 2026 للتدريب", "بيردتلل 2026 ةكرش"),
        ("אקדמיה 2026 בע״מ", "מ״עב 2026 הימדקא"),
    ],
)
def test_names_that_are_read_from_the_right_stay_whole_beside_dates_and_amounts(name, seen, drawn):
    invoice = printed(locale="de", status="void", void_reason=name)
    invoice["lines"][0] |= {"course_title": name, "pool_name": name}
    invoice["learner_organizations"] = [{"organization": name, "amount": "5.00"}]

    invoice_pdf(invoice)

    lines = drawn()
    assert f"{seen} (K8S-101)|1|1.234,50|1.234,50" in lines
    assert f"{seen}  ·  eingelöst Mai 2026" in lines
    assert f"{seen}|5,00 €" in lines
    assert f"Diese Rechnung ist storniert: {seen}" in lines


# The page -----------------------------------------------------------------------------------------


def pages(invoice: dict[str, Any]) -> list[str]:
    reader = PdfReader(io.BytesIO(invoice_pdf(invoice)))
    return [re.sub(r"\s+", " ", page.extract_text()) for page in reader.pages]


def test_title_and_number_stay_on_the_first_page_however_long_the_addresses_are():
    invoice = printed()
    invoice["seller"]["address"] = "\n".join(f"Row {row}" for row in range(50))
    invoice["buyer"]["address"] = "\n".join(f"Line {row}" for row in range(50))

    first, *rest = pages(invoice)

    assert "Invoice" in first
    assert "Number 2026-000001" in first
    assert rest
    whole = " ".join([first, *rest])
    assert all(f"{word} {row} " in whole for word in ("Row", "Line") for row in range(50))


@pytest.mark.parametrize("rows", range(30, 48))
def test_the_tables_head_never_stands_alone(rows):
    invoice = printed()
    invoice["buyer"]["address"] = "\n".join(f"Line {row}" for row in range(rows))

    heads = [page for page in pages(invoice) if "Unit price" in page]

    assert len(heads) == 1
    assert "Kubernetes (K8S-101)" in heads[0]


def test_on_thirty_pages_each_head_has_lines_and_each_line_is_whole():
    invoice = printed()
    invoice["lines"] = [
        invoice["lines"][0]
        | {
            "course": f"C-{n:05d}",
            "course_title": "Kubernetes " * (1 + n % 9),
            "pool_name": f"P{n}.",
        }
        for n in range(550)
    ]

    told = pages(invoice)

    assert len(told) >= 30
    with_head = [page for page in told if "Unit price" in page]
    assert with_head == [page for page in told if "(C-" in page]
    for page in with_head:
        assert page.count("(C-") == page.count("redeemed May 2026")


def test_a_tax_label_of_300_letters_wraps():
    invoice = printed()
    label = " ".join(f"word{n:03d}" for n in range(38))[:300]
    invoice["taxes"][0]["label"] = label
    unbroken = printed()
    unbroken["taxes"][0]["label"] = "W" * 300

    [told], [broken] = pages(invoice), pages(unbroken)

    assert len(label) == 300
    assert f"{label} 0 %".replace(" ", "") in told.replace("€0.00", "").replace(" ", "")
    assert broken.count("W") == 300


# Paying -------------------------------------------------------------------------------------------


def modules(document: bytes) -> list[list[int]]:
    """Read a QR code off its page: where dark rectangles stand, module by module."""
    content = PdfReader(io.BytesIO(document)).pages[-1].get_contents()
    number = r"(-?[\d.]+)"
    found = re.findall(
        rf"{number} {number} {number} {number} re f\s".encode(),
        content.get_data() if content is not None else b"",
    )
    rectangles = [[float(value) for value in one] for one in found]
    left, right = min(r[0] for r in rectangles), max(r[0] + r[2] for r in rectangles)
    rows = sorted({r[1] for r in rectangles}, reverse=True)
    side = (right - left) / len(rows)
    code = [[0] * len(rows) for _ in rows]
    for x, y, width, _ in rectangles:
        first = round((x - left) / side)
        for column in range(first, first + round(width / side)):
            code[rows.index(y)][column] = 1
    return code


def test_an_invoice_in_euros_has_the_account_and_a_code_that_fills_in_the_transfer():
    invoice = full()

    document = invoice_pdf(invoice)

    text = words(document)
    assert "IBAN: DE89 3704 0044 0532 0130 00 BIC: COBADEFFXXX" in text
    expected = helpers.make_epc_qr(
        name="Operator", iban="DE89370400440532013000", bic="COBADEFFXXX", amount=Decimal("1200"),
        text="2026-000001", encoding="utf-8",
    )  # fmt: skip
    assert modules(document) == [list(row) for row in expected.matrix]


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "USD"},
        {"status": "draft", "number": None},
        {"status": "paid", "paid_on": "2026-06-30", "open": "0.00"},
        {"status": "void", "void_reason": "X", "open": "0.00"},
        {"total": "-5.00", "open": "-5.00"},
    ],
)
def test_there_is_no_code_where_no_euros_are_to_be_paid(changes):
    document = invoice_pdf(full() | changes)

    assert "Scan to pay" not in words(document)


def test_an_account_without_a_code_is_printed_for_other_currencies():
    text = words(invoice_pdf(full() | {"currency": "USD"}))

    assert "IBAN: DE89 3704 0044 0532 0130 00" in text
