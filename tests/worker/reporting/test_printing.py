"""A report on paper: printed by the Chromium that the machine has."""

import re

import pytest

from tests.conftest import NEEDS_CHROMIUM
from worker import reporting
from worker.reporting import printing


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
