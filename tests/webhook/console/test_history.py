"""The history's page: who did what, filtered, and as a file."""

import csv
import io
import secrets

from worker.tenancy.actors import Role


def test_who_did_what_is_shown_and_filtered(somebody, things):
    manager, owner = somebody(), things.ids["organization"]
    name = f"<b>{secrets.token_hex(4)}</b>"
    manager.post("/sources", name=name, organization=owner)
    shown = name.replace("<", "&lt;").replace(">", "&gt;")

    page = manager.get("/history").text
    others = manager.get("/history?action=paused").text
    own = manager.get(f"/history?by=user {manager.email}&thing=source&organization={owner}").text

    assert f"name: {shown}" in page
    assert name not in page
    assert shown not in others
    assert f"name: {shown}" in own


def test_a_day_is_the_visitors_and_the_last_one_is_included(somebody):
    operator = somebody(Role.OPERATOR)
    operator.post("/seller", name="Anybody", address="", tax_id="", payment_details="")

    until_now = operator.get("/history?thing=seller&since=2020-01-01&until=2090-12-31").text
    before = operator.get("/history?thing=seller&until=2020-01-01").text

    assert "seller edited" in until_now
    assert "Nothing fits." in before


def test_the_history_is_exported_as_it_is_filtered(somebody, things):
    manager = somebody()
    manager.post(
        "/sources", name=f"={secrets.token_hex(4)}", organization=things.ids["organization"]
    )

    answer = manager.get("/history.csv?thing=source")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="history.csv"'
    assert {row["thing"] for row in rows} == {"source"}
    assert rows[-1]["actor"] == f"user {manager.email}"


def test_a_filter_that_is_none_is_told_before_anything_is_exported(somebody):
    for query in ("since=yesterday", "thing_id=first"):
        assert somebody().get(f"/history.csv?{query}").status_code == 422
        assert somebody().get(f"/history?{query}").status_code == 422
