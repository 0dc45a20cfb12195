"""A report on paper: printed by the Chromium that the machine has."""

import io
import re
from decimal import Decimal

import babel
import pandas as pd
import pytest
from pypdf import PdfReader

from tests.conftest import NEEDS_CHROMIUM
from tests.webhook.console import browsing
from worker import reporting
from worker.reporting import printing, rendering, showing


@pytest.mark.parametrize(("user", "sandboxed"), [(0, False), (1000, True)])
def test_an_unfenced_chromium_keeps_its_sandbox_unless_root_runs_it(
    chromium, monkeypatch, user, sandboxed
):
    monkeypatch.setattr(printing.os, "geteuid", lambda: user)

    assert printing.pdf("<p>page</p>") == b"%PDF-1.4"
    assert ("--no-sandbox" not in chromium.read_text()) == sandboxed


def test_without_chromium_a_pdf_is_refused_before_anything_runs(tmp_path, browser):
    browser(tmp_path / "nowhere")

    with pytest.raises(reporting.NoBrowserError, match="KEYPOOL_CHROMIUM"):
        reporting.run("redemptions", output=tmp_path / "r.pdf", format="pdf")


@NEEDS_CHROMIUM
def test_a_page_is_printed_as_pdf():
    printed = printing.pdf("<h1>One</h1><h1 style='break-before: page'>Two</h1>")

    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", printed)) == 2


@NEEDS_CHROMIUM
def test_a_printed_page_has_its_foot_and_our_fonts_for_letters_of_every_script():
    foot = '@page { @bottom-left { content: "Alder \\b7  2026"; width: 85% } '
    foot += '@bottom-right { content: counter(page) " / " counter(pages); width: 15% } }'
    style = f"<style>html {{ font-family: {printing.FAMILY} }} {foot}</style>"

    printed = printing.pdf(
        f"{style}<p>東京 한국 हिन्दी ไทย</p><h1 style='break-before: page'>Two</h1>"
    )

    first, second = PdfReader(io.BytesIO(printed)).pages
    assert "Alder · 2026" in first.extract_text()
    assert "1 / 2" in first.extract_text()
    assert "2 / 2" in second.extract_text()
    fonts = {font.get_object()["/BaseFont"] for font in first["/Resources"]["/Font"].values()}
    named = "".join(map(str, fonts))
    for font in ("DroidSansFallback", "NotoSansDevanagari", "NotoSansThai"):
        assert font in named


HEAD = "<thead><tr><th>Still<br>started<br>share</th></tr></thead>"
TABLE = f"<table>{HEAD}<tbody>{'<tr><td>A<br>B<br>C<br>D</td></tr>' * 3}</tbody></table>"
FIGURE = "<div><figure><p style='height: 400px'>started</p></figure></div>"


@NEEDS_CHROMIUM
@pytest.mark.parametrize(("answer", "space"), [(TABLE, 850), (FIGURE, 600)])
def test_no_heading_stands_alone_at_the_foot_of_a_page(answer, space):
    style = (rendering.NOTEBOOKS / "page" / "page.css").read_text()

    printed = printing.pdf(
        f"<style>{style}</style><main><p style='height: {space}px'>.</p>"
        f"<section class='text'><h2>Who?</h2></section><section class='answer'>{answer}</section></main>"
    )

    texts = [page.extract_text() for page in PdfReader(io.BytesIO(printed)).pages]
    assert ["Who?" in page for page in texts] == ["started" in page for page in texts]
    assert len(texts) == 2


def test_large_amounts_in_eight_currencies_do_not_run_into_one_another():
    currencies = ["EUR", "USD", "JPY", "GBP", "CHF", "KWD", "SEK", "PLN"]
    frame = pd.DataFrame({"currency": currencies, "revenue": [Decimal("53319440.123")] * 8})
    frame.attrs["figures"] = True
    style = (rendering.NOTEBOOKS / "page" / "page.css").read_text()
    shown = showing.table(frame, babel.Locale("de"))

    with browsing.chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_content(f"<style>{style}</style><main>{shown}</main>")
        tiles = page.locator(".figures div")
        widths = tiles.evaluate_all("all => all.map(one => [one.scrollWidth, one.clientWidth])")

    assert len(widths) == 8
    assert all(needed <= given for needed, given in widths), widths
