"""Reports over HTTP: asked for, followed, read, and nobody else's."""

import io

import babel
import pandas as pd
import pytest
from python_calamine import CalamineWorkbook

from tests.webhook.conftest import Place
from worker.database import connections as databases
from worker.reporting import claims, keeping, showing
from worker.tenancy.actors import Role

PATH = "/api/v1/reports"
PAGE = "<!doctype html><title>Usage</title>"
PDF = b"%PDF-1.4 usage"


@pytest.fixture(scope="module")
def analyst(place: Place) -> dict[str, str]:
    return place.token(Role.ANALYST)


def ask(place: Place, headers: dict[str, str], **body: object) -> dict:
    answer = place.client.post(PATH, json={"notebook": "usage"} | body, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{PATH}/{answer.json['id']}"
    return answer.json


def finish(report: dict, page: str = PAGE) -> None:
    with databases.session() as session:
        claim = claims.take(session, only=int(report["id"]))
        assert claim is not None
        pdf = PDF if claim.format == "pdf" else None
        claims.finish(session, claim=claim, page=page, pdf=pdf)


def test_a_report_is_asked_for_followed_and_read(place, analyst):
    asked = ask(place, analyst, **{"from": "2026-01-01", "to": "2026-01-31"})
    early = place.client.get(f"{PATH}/{asked['id']}.html", headers=analyst)
    finish(asked)

    shown = place.client.get(f"{PATH}/{asked['id']}", headers=analyst).json
    listed = place.client.get(f"{PATH}?state=done", headers=analyst).json["items"]
    page = place.client.get(f"{PATH}/{asked['id']}.html", headers=analyst)

    assert (asked["state"], asked["from"], asked["to"]) == ("queued", "2026-01-01", "2026-01-31")
    assert (early.status_code, early.json["type"]) == (409, "/problems/report_not_done")
    assert shown["state"] == "done"
    assert asked["id"] in {report["id"] for report in listed}
    assert (page.text, page.mimetype) == (PAGE, "text/html")


def test_a_notebook_of_ones_own_is_asked_for_with_its_parameter(place, analyst, own_notebook):
    listed = place.client.get(f"{PATH}/notebooks", headers=analyst).json["items"]
    asked = ask(place, analyst, notebook=own_notebook, parameters={"at_least": 3})
    unknown = {"notebook": own_notebook, "parameters": {"most": 3}}

    refused = place.client.post(PATH, json=unknown, headers=analyst)

    assert {"at_least": 1} in [notebook["parameters"] for notebook in listed]
    assert (asked["notebook"], asked["parameters"]) == (own_notebook, {"at_least": 3})
    assert refused.status_code == 422
    assert "it has at_least" in refused.text


def test_the_data_behind_each_table_is_given_as_csv_and_all_of_it_as_a_workbook(place, analyst):
    asked = ask(place, analyst)
    shown = [pd.DataFrame({"pool": ["=1+1", "b"], "keys": [3, n]}) for n in (7, 1.5)]
    made = [showing.table(frame, babel.Locale("en")) for frame in shown]
    finish(asked, f"<h2>Which pools?</h2>{made[0]}<h2>Which pools?</h2>{made[1]}")
    where = f"{PATH}/{asked['id']}"

    first, third = (place.client.get(f"{where}/tables/{n}.csv", headers=analyst) for n in (1, 3))
    given = place.client.get(f"{where}.xlsx", headers=analyst)

    assert (first.text, first.mimetype) == ("pool,keys\n'=1+1,3\nb,7\n", "text/csv")
    assert (third.status_code, third.json["detail"]) == (
        404, f"Report {asked['id']} has 2 tables, and no table 3.",
    )  # fmt: skip
    book = CalamineWorkbook.from_filelike(io.BytesIO(given.data))
    assert book.sheet_names == ["Which pools", "Which pools 2"]
    assert book.get_sheet_by_index(1).to_python() == [
        ["pool", "keys"], ["'=1+1", 3.0], ["b", 1.5],
    ]  # fmt: skip


def test_a_report_that_is_asked_for_as_pdf_is_read_as_pdf_and_as_html(place, analyst):
    asked = ask(place, analyst, format="pdf")
    early = place.client.get(f"{PATH}/{asked['id']}.pdf", headers=analyst)
    finish(asked)

    shown = place.client.get(f"{PATH}/{asked['id']}", headers=analyst).json
    printed = place.client.get(f"{PATH}/{asked['id']}.pdf", headers=analyst)
    page = place.client.get(f"{PATH}/{asked['id']}.html", headers=analyst)

    assert (asked["format"], asked["pdf_bytes"]) == ("pdf", 0)
    assert (early.status_code, early.json["type"]) == (409, "/problems/report_not_done")
    assert "so it has no PDF" in early.json["detail"]
    assert (shown["format"], shown["pdf_bytes"]) == ("pdf", len(PDF))
    assert (printed.data, printed.mimetype) == (PDF, "application/pdf")
    assert page.text == PAGE


def test_a_report_that_was_asked_for_as_html_has_no_pdf_and_says_how_to_get_one(place, analyst):
    asked = ask(place, analyst)
    finish(asked)

    answer = place.client.get(f"{PATH}/{asked['id']}.pdf", headers=analyst)

    assert asked["format"] == "html"
    assert (answer.status_code, answer.json["type"]) == (404, "/problems/not_found")
    assert "ask for one with format pdf" in answer.json["detail"]


def test_a_pdf_is_not_given_once_somebody_was_erased_from_its_page(place, analyst, things):
    asked, email = ask(place, analyst, format="pdf"), things.ids["email"]
    finish(asked, f'<table><tr><td class="person">{email}</td></tr></table>')
    before = place.client.get(f"{PATH}/{asked['id']}.pdf", headers=analyst)

    operator = place.token(Role.OPERATOR)
    erased = place.client.post(f"/api/v1/learners/{email}/erase", headers=operator)

    page = place.client.get(f"{PATH}/{asked['id']}.html", headers=analyst)
    printed = place.client.get(f"{PATH}/{asked['id']}.pdf", headers=analyst)
    assert (before.status_code, erased.status_code) == (200, 200)
    assert erased.json["pseudonym"] in page.text
    assert (printed.status_code, printed.json["type"]) == (409, "/problems/report_not_done")
    assert "printed again" in printed.json["detail"]


@pytest.mark.parametrize("format", ["html", "pdf"])
def test_a_page_runs_no_script_loads_nothing_and_is_saved_as_a_file(place, analyst, format):
    asked = ask(place, analyst, format=format)
    finish(asked)

    headers = place.client.get(f"{PATH}/{asked['id']}.{format}", headers=analyst).headers

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    name = f"report-{asked['id']}.{format}"
    assert headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_what_can_be_asked_for_is_listed(place, analyst):
    listed = place.client.get(f"{PATH}/notebooks", headers=analyst).json["items"]

    assert {entry["name"] for entry in listed} == set(keeping.OURS)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"notebook": "rumours"}, 404),
        ({"notebook": "usage", "organization": "Nobody"}, 404),
        ({"notebook": "usage", "from": "yesterday"}, 422),
        ({"notebook": "usage", "from": "2026-02-01", "to": "2026-01-01"}, 422),
        ({"notebook": "usage", "format": "jpeg"}, 422),
        ({"notebook": "usage", "code": "1"}, 422),
        ({}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(place, analyst, body, status):
    assert place.client.post(PATH, json=body, headers=analyst).status_code == status


def test_a_strangers_report_is_not_there(place, analyst):
    asked = ask(place, analyst, format="pdf")
    finish(asked)
    stranger = place.token(Role.ANALYST, place.world.sibling)

    for ending in ("", ".html", ".pdf"):
        answer = place.client.get(f"{PATH}/{asked['id']}{ending}", headers=stranger)
        assert answer.status_code == 404
        assert "format" not in answer.json["detail"]
    assert place.client.get(PATH, headers=stranger).json["items"] == []


def test_a_sender_reads_no_reports_and_a_manager_asks_for_no_bills(place):
    sender, manager = place.token(Role.SENDER), place.token(Role.MANAGER)

    assert place.client.get(PATH, headers=sender).status_code == 403
    refused = place.client.post(PATH, json={"notebook": "billing"}, headers=manager)
    assert refused.status_code == 403
