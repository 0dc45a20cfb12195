"""Home: each figure opens the list that it counts, and shows as many rows; each role sees its own first."""

import re
from datetime import UTC, datetime
from html import unescape

import pytest
from sqlalchemy import text

from tests.webhook.api.test_statements import asked
from tests.webhook.conftest import Place, redemption, settle
from webhook.console import home, periods, plotting
from worker.database import connections as databases
from worker.tenancy.actors import Role

# Beside the redemptions and refusals of today: one of everything that may need somebody.
TROUBLE = """
    INSERT INTO endpoint (organization_id, url, types, failures)
    VALUES (:parent, 'https://hooks.example/fails', '{pool.low}', 3);
    INSERT INTO message (organization_id, kind, recipient, state, error, ended_at)
    VALUES (:parent, 'keys', 'ann@example.com', 'failed', 'no such mailbox', clock_now());
    INSERT INTO report_run (organization_id, notebook, first_day, last_day, asked_by, state, finished_at,
                            traceback)
    VALUES (:parent, 'usage', '2026-01-01', '2026-01-31', 'test', 'failed', clock_now(), 'why');
    UPDATE event SET status = 'failed', outcome = NULL, settled_at = NULL, error = 'why'
     WHERE id = (SELECT max(event_id) FROM redemption WHERE outcome = 'unknown_key');
    UPDATE pool SET starts_at = clock_now() - interval '2 days', expires_at = clock_now() + interval '20 days'
     WHERE id = :pool;
    INSERT INTO invoice (organization_id, month, currency, status, year, serial, finalized_at, issued_on,
                         due_on, seller, buyer, subtotal, total)
    VALUES (:parent, '2026-01-01', 'EUR', 'finalized', 2026, 1, '2026-02-03', '2026-02-03', '2026-03-05',
            '{}', '{}', 10, 10)
"""


@pytest.fixture(scope="module")
def lived_in(place: Place) -> None:
    """A day's redemptions, refusals and trouble."""
    sender, keys = place.sender(), place.keys(5)
    for number, key in enumerate([*keys[:3], keys[0], "NO-SUCH-KEY-1", "NO-SUCH-KEY-2"]):
        sender.post(redemption(key, f"learner{number}@example.com"))
    settle()
    sender.post(redemption(keys[4], "late@example.com"))
    with databases.session() as session:
        ids = {"parent": place.world.parent, "pool": int(place.world.pool)}
        for statement in TROUBLE.split(";\n"):
            session.execute(text(statement), ids)
        session.execute(
            text(
                "UPDATE assignment SET redeemed_at = clock_now() - interval '16 days',"
                " expires_at = clock_now() + interval '14 days'"
            )
        )
        session.execute(
            text("UPDATE event SET received_at = received_at - interval '6 minutes'"
                 " WHERE status = 'recorded'")
        )  # fmt: skip


def main(page: str) -> str:
    return page.partition("<main")[2].partition("</main>")[0]


def figures(page: str) -> list[tuple[str, str]]:
    """Give the figures of a page's main part, each with its address."""
    links = re.findall(r'<a href="(/console/[^"]*\?[^"]*)">(.*?)</a>', main(page), re.S)
    return [(unescape(address), re.sub("<[^>]+>", "", words).strip()) for address, words in links]


def rows(page: str) -> int:
    table = re.search(r'<table class="striped[^"]*">.*?<tbody>(.*?)</tbody>', page, re.S)
    return len(re.findall(r"<tr\b", table[1])) if table else 0


@pytest.mark.parametrize(
    "role", [Role.MANAGER, Role.ANALYST, Role.FINANCE, Role.SENDER, Role.OPERATOR]
)
def test_each_figure_opens_a_list_with_as_many_rows(somebody, lived_in, role):
    visitor = somebody(role)

    told = [one for one in figures(visitor.get("/").text) if " days" not in one[1][:8]]

    for address, words in told:
        shown = visitor.client.get(address)
        assert shown.status_code == 200, address
        expected = int(words.split()[0]) if "charges" not in address else CHARGED[words]
        assert rows(shown.text) == expected, (address, words)
    assert len({address for address, _ in told}) >= {Role.SENDER: 2, Role.FINANCE: 7}.get(role, 10)


CHARGED = {"149.70 EUR": 3, "0 EUR": 0}


def test_whatever_needs_somebody_is_told_to_who_may_see_its_list(somebody, lived_in):
    told = {role: needs(somebody(role).get("/").text) for role in (Role.MANAGER, Role.FINANCE)}

    assert told[Role.MANAGER] == [
        "1 event waits for more than five minutes: the inbox stands still",
        "1 event failed too often",
        "1 pool runs out of keys within 30 days",
        "1 pool ends within 30 days with keys left",
        "3 learners are at risk: half of the access is gone, and nothing was launched",
        "1 endpoint fails",
        "1 mail was not sent",
        "1 report failed",
    ]
    assert told[Role.FINANCE] == ["1 invoice is overdue"]


def needs(page: str) -> list[str]:
    section = page.partition('class="needs"')[2].partition("</section>")[0]
    links = re.findall(r"<li><a [^>]*>(.*?)</a>", section, re.S)
    return [re.sub("<[^>]+>", "", link).strip() for link in links]


def test_finance_sees_money_first_an_analyst_reports_and_a_manager_redemptions(somebody, lived_in):
    heads = {
        role: re.findall(r"<h2[^>]*>(.*?)</h2>", main(somebody(role).get("/").text))
        for role in (Role.FINANCE, Role.ANALYST, Role.MANAGER, Role.SENDER)
    }

    assert heads[Role.FINANCE] == ["Needs you", "Charges in EUR", "Latest reports"]
    assert heads[Role.ANALYST] == [
        "Needs you", "Latest reports", "Redemptions", "Refusals", "Charges in EUR",
    ]  # fmt: skip
    assert heads[Role.MANAGER] == ["Needs you", "Redemptions", "Refusals", "Latest reports"]
    assert heads[Role.SENDER] == ["Needs you"]


def test_what_is_very_much_is_not_counted_to_its_end(somebody, lived_in, monkeypatch):
    monkeypatch.setattr(home, "COUNTED", 2)

    told = needs(somebody(Role.MANAGER).get("/").text)

    assert (
        "more than 2 learners are at risk: half of the access is gone, and nothing was launched"
        in told
    )


def test_a_stranger_is_told_of_nothing_and_the_operator_of_all(somebody, place, lived_in):
    stranger = somebody(Role.MANAGER, place.world.sibling).get("/").text
    operator = somebody(Role.OPERATOR).get("/").text

    assert "Nothing needs you." in stranger
    assert {words for address, words in figures(stranger) if "redemptions" in address} == {"0"}
    assert len(needs(operator)) == 9


def test_charts_show_as_many_days_as_are_chosen(somebody, lived_in):
    shown = {days: somebody().get(f"/?days={days}").text for days in (7, 30, "x")}

    bars = {days: page.count("<g data-words") for days, page in shown.items()}
    assert bars == {7: 2 * 7, 30: 2 * 30, "x": 2 * 30}
    assert 'days=7" aria-current="true"' in shown[7]
    assert "Redemptions a day, the last 7 days; the most:" in shown[7]


@pytest.mark.parametrize("role", [Role.MANAGER, Role.OPERATOR])
def test_each_day_of_a_pools_chart_opens_the_list_of_its_redemptions(
    somebody, place, lived_in, role
):
    visitor = somebody(role)
    page = visitor.get(f"/pools/{place.world.pool}?days=7&state=issued").text
    days = re.findall(r'<g data-words="([^"]*)" data-opens="([^"]*)"', page)

    counted = [int(words.rpartition(": ")[2]) for words, _ in days]
    listed = [rows(visitor.client.get(unescape(address)).text) for _, address in days[-2:]]

    assert (len(days), sum(counted)) == (7, 3)
    assert listed == counted[-2:]
    assert "Redemptions a day, the last 7 days; the most:" in page
    assert "Refused in 7 days" in page
    assert f'/pools/{place.world.pool}?days=90&amp;state=issued#redemptions"' in page


def test_home_asks_the_database_as_little_for_many_days_and_currencies(somebody, lived_in):
    operator = somebody(Role.OPERATOR)

    with asked() as statements:
        operator.get("/?days=7")
        few = len(statements)
        operator.get("/?days=90")

    assert len(statements) - few == few <= 20, statements


def test_a_period_stands_beside_the_same_part_of_the_one_before():
    now = datetime(
        2026, 3, 31, 22, 7, tzinfo=UTC
    )  # 1 April, 0:07 in Berlin, after the clocks changed

    today, week, month = periods.running(now, "Europe/Berlin")

    assert today.before.since == today.before.until == datetime(2026, 3, 30, 22, tzinfo=UTC)
    assert (week.now.since, week.now.until) == (
        datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 4, 5, 22, tzinfo=UTC),
    )  # fmt: skip
    assert week.before.until - week.before.since == now.replace(minute=0) - week.now.since
    assert month.before.since == datetime(2026, 2, 28, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("most", "ticks"), [(0, ["2", "1", "0"]), (3, ["4", "2", "0"]), (41, ["60", "30", "0"])]
)
def test_an_axis_ends_at_a_round_number(most, ticks):
    point = plotting.point(datetime(2026, 1, 1, tzinfo=UTC).date(), most, "", "")

    assert plotting.chart("", [point]).ticks == ticks


def test_a_bars_upper_part_is_what_was_refused_and_the_axis_has_room_for_both():
    day = datetime(2026, 1, 1, tzinfo=UTC).date()

    chart = plotting.chart("Requests", [plotting.point(day, 3, "3 accepted, 3 refused", refused=3)])

    assert chart.ticks == ["6", "3", "0"]
    assert (
        chart.summary
        == "Requests a day, the last 1 days; the most: Thu 1 Jan: 3 accepted, 3 refused"
    )
