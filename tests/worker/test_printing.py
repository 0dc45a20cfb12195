"""A report on paper: printed by the Chromium that the machine has."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import forget
from worker import reporting
from worker.reporting import printing


@pytest.fixture
def chromium(tmp_path, monkeypatch) -> Iterator[Path]:
    """A Chromium that writes down how it was called, and prints what it was given."""
    told = tmp_path / "chromium"
    told.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/called\n'
        'for word in "$@"; do case "$word" in\n'
        '--print-to-pdf=*) printf "%%PDF-1.4" > "${word#*=}";;\n'
        "esac; done\n"
    )
    told.chmod(0o755)
    monkeypatch.setenv("KEYPOOL_CHROMIUM", str(told))
    forget()
    yield tmp_path / "called"
    forget()


@pytest.mark.parametrize(("user", "sandboxed"), [(0, False), (1000, True)])
def test_chromium_keeps_its_sandbox_unless_root_runs_it(chromium, monkeypatch, user, sandboxed):
    monkeypatch.setattr(printing.os, "geteuid", lambda: user)

    assert printing.pdf("<p>page</p>") == b"%PDF-1.4"
    assert ("--no-sandbox" not in chromium.read_text()) == sandboxed


def test_without_chromium_a_pdf_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPOOL_CHROMIUM", str(tmp_path / "nowhere"))
    forget()

    with pytest.raises(reporting.NoBrowserError, match="KEYPOOL_CHROMIUM"):
        reporting.run("redemptions", output=tmp_path / "r.pdf", format="pdf")
    forget()


@pytest.mark.skipif(not any(map(shutil.which, printing.NAMES)), reason="there is no Chromium here")
def test_a_page_is_printed_as_pdf():
    printed = printing.pdf("<h1>One</h1><h1 style='break-before: page'>Two</h1>")

    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", printed)) == 2
