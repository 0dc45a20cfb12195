"""Reports that are kept, on the command line: made here, and written to files."""

from pathlib import Path
from typing import Any

import pytest

from tests.world import OPERATOR
from worker.database import connections as databases
from worker.reporting import claims, keeping


@pytest.fixture
def kept(world):
    """Keep a report that is done, in a format; gives its id."""

    def keep(format: str, pdf: bytes | None = None) -> str:
        about: dict[str, Any] = {"notebook": "usage", "organization": str(world.parent)}
        with databases.session() as session:
            asked = keeping.ask(session, actor=OPERATOR, format=format, **about)["id"]
            claim = claims.take(session, only=int(asked))
            assert claim is not None
            claims.finish(session, claim=claim, page="<p>page</p>", pdf=pdf)
        return str(asked)

    return keep


def test_a_report_is_made_here_and_kept_as_pdf(run, give, world, chromium):
    about = ("--organization", str(world.parent), "--keep", "--format", "pdf")

    made = run("reports", "run", "learners_at_risk", *about, "--json").json

    assert (made["state"], made["format"], made["pdf_bytes"]) == ("done", "pdf", 8)
    assert made["id"] in {report["id"] for report in give("reports", "kept")["items"]}


def test_what_is_kept_is_written_to_no_file(run, tmp_path):
    done = run("reports", "run", "usage", "--keep", "-o", str(tmp_path / "usage.pdf"))

    assert done.code == 2
    assert "--keep writes no file" in done.err


def test_the_pdf_that_is_kept_is_written_without_a_browser(give, kept, browser, tmp_path):
    report, file = kept("pdf", b"%PDF-1.4 kept"), tmp_path / "report.pdf"
    browser(Path("/nowhere"))

    give("reports", "export", report, "--format", "pdf", "-o", str(file))

    assert file.read_bytes() == b"%PDF-1.4 kept"


@pytest.mark.parametrize("format", ["html", "pdf"])
def test_a_page_without_a_pdf_is_printed_here(give, kept, chromium, tmp_path, format):
    report, file = kept(format), tmp_path / "report.pdf"

    give("reports", "export", report, "--format", "pdf", "-o", str(file))

    assert file.read_bytes() == b"%PDF-1.4"
    assert chromium.exists()


def test_a_report_is_scheduled_listed_paused_resumed_and_ended(give, run, world):
    about = ("--organization", str(world.parent))
    mail = ("--mail", "boss@example.org", "--mail", "clerk@example.org")

    made = give(
        "reports", "schedule", "usage", *about, "--every", "month", "--format", "xlsx", *mail
    )
    listed = give("reports", "schedules", *about)["items"]
    clerk = ("--mail", "clerk@example.org")
    moved = give("reports", "reschedule", made["id"], "--every", "day", "--format", "pdf", *clerk)
    silent = give("reports", "reschedule", made["id"], "--every", "month", "--no-mail")
    unclear = run("reports", "reschedule", made["id"], "--no-mail", *clerk)
    paused = give("reports", "pause", made["id"])
    resumed = give("reports", "resume", made["id"])
    ended = give("reports", "unschedule", made["id"])
    refused = run("reports", "schedule", "usage", "--every", "week", "-p", "at_least=3")

    assert (made["every"], made["format"]) == ("month", "xlsx")
    assert made["mail"] == ["boss@example.org", "clerk@example.org"]
    assert listed == [made]
    assert (moved["every"], moved["format"], moved["mail"]) == ("day", "pdf", ["clerk@example.org"])
    assert (silent["every"], silent["format"], silent["mail"]) == ("month", "pdf", [])
    assert "not both" in unclear.err
    assert (paused["next_on"], resumed["next_on"]) == (None, made["next_on"])
    assert (ended["id"], give("reports", "schedules", *about)["items"]) == (made["id"], [])
    assert refused.code == 2
    assert "has no parameter “at_least”" in refused.err
