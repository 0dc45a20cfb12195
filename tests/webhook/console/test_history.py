"""The history's page: who did what, filtered, and as a file."""

import csv
import io
import re
import secrets
from html import unescape

from tests.webhook.conftest import redemption, settle
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


def acts(page: str) -> dict[str, str]:
    """The newest act of each kind on a page, with its details."""
    rows = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", page, re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows]
    return {row[2]: re.sub("<[^>]+>", "", unescape(row[4])).strip() for row in reversed(cells)}


def test_a_pools_history_says_what_was_done_to_its_parts_how_many_and_for_whom(somebody, place):
    manager, where = somebody(), f"/pools/{place.world.pool}"
    manager.post(f"{where}/pause", page=where)
    manager.post(f"{where}/resume", page=where)
    place.keys()
    given = {"recipient": "hist@example.com", "count": "1", "reference": "PO-9"}
    manager.post(f"{where}/distribute", page=where, **given)
    manager.post(f"{where}/recall", page=where, **given)
    [code, other, _spare] = place.keys(3)
    manager.post(f"{where}/keys/generate", page=f"{where}/keys/add", generate="7")
    manager.post(f"{where}/keys/retire", page=where, code=code)
    manager.post(f"/keys/{other}/replace", page="/trouble", recipient="eve", reason="torn")
    link = re.search(r'/console(/history[^"]+)">What was done', manager.get(where).text)[1]

    told = acts(manager.get(unescape(link)).text)
    others = acts(manager.get("/history?pool=0").text)

    assert "count: 1; recipient: hist@example.com; reference: PO-9" in told["keys distributed"]
    assert "count: 1" in told["distribution recalled"]
    assert "kind: generate; pool: 1; count: 7" in told["batch requested"]
    assert "reason: torn" in told["key replaced"]
    assert "recipient: eve" in told["key replaced"]
    assert {"key retired", "pool paused"} <= told.keys()
    assert others == {}


def test_an_address_finds_what_its_owner_did(somebody, place):
    manager, where = somebody(), f"/pools/{place.world.pool}"
    manager.post(f"{where}/pause", page=where)
    manager.post(f"{where}/resume", page=where)

    found = acts(manager.get(f"/history?by={manager.email.upper()}").text)
    nobodys = acts(manager.get("/history?by=nobody@example.com").text)

    assert {"pool paused", "pool resumed"} <= found.keys()
    assert nobodys == {}


def test_an_act_on_an_assignment_is_in_its_pools_history(somebody, place):
    manager, [code] = somebody(), place.keys()
    place.sender().post(redemption(code, "whose@example.com"))
    settle()
    page = manager.get("/assignments?learner=whose@example.com").text
    where = re.search(r"/console(/assignments/\d+)", page)[1]
    manager.post(f"{where}/extend", page=where, by_days="3")
    manager.post(f"{where}/cancel", page=where, reason="left")

    told = acts(manager.get(f"/history?pool={place.world.pool}").text)

    assert "learner: whose@example.com" in told["assignment extended"]
    assert "learner: whose@example.com" in told["assignment cancelled"]
    assert "to: " in told["assignment extended"]
    assert "None" not in told["assignment extended"]
