"""Acting on selected rows of a list at once, without a script."""

import csv
import io
import re
from collections.abc import Callable
from html import unescape

import pytest
from sqlalchemy import text

from tests.webhook.conftest import Place
from tests.webhook.console.conftest import Person
from tests.world import OPERATOR, World
from webhook.console import choosing
from worker.bulk import bulk_acts
from worker.database import connections
from worker.pools import distributions
from worker.tenancy.actors import Role

WHERE = "/assignments/selected"


@pytest.fixture
def manager(somebody: Callable[..., Person]) -> Person:
    return somebody(Role.MANAGER)


@pytest.fixture
def learners(place: Place) -> Callable[..., list[str]]:
    """Have learners redeem keys, and give their assignments."""

    def redeemed(*names: str) -> list[str]:
        with connections.session() as session:
            world = World(session, *list(vars(place.world).values())[1:])
            return [world.redeemed(f"{name}@example.net") for name in names]

    return redeemed


def confirm(person: Person, act: str, query: str, where: str = WHERE, **fields: str):
    """Ask for an act, and send the form that comes, filled in."""
    asked = person.get(f"{where}/{act}?{query}").text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked))
    action = unescape(re.search(rf'action="(/console{where}/{act}[^"]*)"', asked)[1])
    return person.client.post(action, data={**hidden, **fields}), {**hidden, **fields}, action


def results(person: Person, answer) -> dict[str, str]:
    """Give the results that an act's answer leads to, by row."""
    assert answer.status_code == 303, answer.text
    report = person.get(f"{answer.location.removeprefix('/console')}.csv")
    return {
        row["id"]: row["code"] or row["result"] for row in csv.DictReader(io.StringIO(report.text))
    }


def test_some_are_extended_and_a_strangers_is_not_found(manager, place, learners):
    ann, bob = learners("ext-ann", "ext-bob")
    [stranger] = learners("ext-eve")
    with connections.session() as session:
        session.connection().exec_driver_sql(
            f"UPDATE assignment SET organization_id = {place.world.sibling} WHERE id = {stranger}"
        )
    rows = f"row={ann}&row={bob}&row={stranger}"

    asked = manager.get(f"{WHERE}/extend?{rows}").text
    answer, form, action = confirm(manager, "extend", rows, by_days="5")
    again = manager.client.post(action, data=form)

    assert "Extend 3 assignments?" in asked
    assert "1 will be refused as it is now" in asked
    assert results(manager, answer) == {ann: "done", bob: "done", stranger: "not_found"}
    assert again.location == answer.location
    page = manager.get(answer.location.removeprefix("/console")).text
    assert "ext-ann@example.net" in page
    assert "ext-eve@example.net" not in page


def test_all_that_fit_are_cancelled_and_what_is_credited_is_said_before(manager, learners):
    ids = learners("fit-ann", "fit-ann2")
    query = "all=1&status=active&learner=fit-ann@example.net"

    asked = manager.get(f"{WHERE}/cancel?{query}").text
    more = learners("fit-ann3")
    answer, _, _ = confirm(manager, "cancel", query, retire_key="on")

    assert "Cancel 1 assignment?" in asked
    assert "49.90 EUR is credited" in asked
    assert results(manager, answer) == {ids[0]: "done"}
    assert not {ids[1], *more} & results(manager, answer).keys()


def test_what_fits_meanwhile_is_told_afterwards(manager, place, learners):
    learners("now-1")
    query = f"all=1&organization={place.world.parent}"
    asked = manager.get(f"{WHERE}/extend?{query}").text
    before = int(re.search(r'name="expected" value="(\d+)"', asked)[1])
    learners("now-2")

    answer, _, _ = confirm(manager, "extend", query, by_days="1", expected=str(before))

    page = manager.get(answer.location.removeprefix("/console")).text
    assert f"{before} fitted when you looked, and {before + 1} when you confirmed" in page


def test_a_form_that_is_wrong_is_shown_again_and_touches_nothing(manager, learners):
    [ann] = learners("wrong-ann")

    answer, _, _ = confirm(manager, "extend", f"row={ann}", by_days="soon", price="3")

    assert answer.status_code == 422
    assert "Give a whole number." in answer.text
    assert 'value="soon"' in answer.text
    assert "Extend 1 assignment?" in answer.text


def test_more_than_at_once_is_the_workers_and_shows_how_far_it_is(manager, learners, monkeypatch):
    ids = learners("much-1", "much-2", "much-3")
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 2)
    rows = "&".join(f"row={one}" for one in ids)

    answer, _, _ = confirm(manager, "extend", rows, by_days="3")
    where = answer.location.removeprefix("/console")
    waiting = manager.get(where).text
    while connections.transaction(bulk_acts.work_chunk) is not None:
        pass
    done = manager.get(f"{where}/progress").text

    assert 'hx-trigger="every 1s"' in waiting
    assert "0 of 3 rows" in waiting
    assert "<strong>3</strong> done" in done
    assert "hx-trigger" not in done


def test_assignments_are_exported_all_that_fit_or_those_that_are_selected(manager, learners):
    ann, bob = learners("csv-ann", "csv-bob")

    some = manager.get(f"/assignments.csv?row={bob}").text
    fitting = manager.get("/assignments.csv?all=1&learner=csv-ann@example.net").text
    none = manager.get("/assignments.csv")

    [line] = csv.DictReader(io.StringIO(some))
    assert (line["id"], line["learner"], line["status"]) == (bob, "csv-bob@example.net", "active")
    assert [row["id"] for row in csv.DictReader(io.StringIO(fitting))] == [ann]
    assert none.status_code == 422


def test_a_list_counts_what_fits_up_to_a_bound(manager, learners, monkeypatch):
    learners("count-1", "count-2")
    monkeypatch.setattr(choosing, "COUNTED", 1)

    page = manager.get("/assignments").text

    assert "All that fit, more than 1" in page


def test_analysts_export_and_do_not_act(somebody, learners):
    learners("see-1")

    page = somebody(Role.ANALYST).get("/assignments").text

    assert "/console/assignments.csv" in page
    assert "/console/assignments/selected/" not in page


def test_keys_are_given_replaced_and_retired_from_a_pools_page(manager, place, learners):
    codes = place.keys(4)
    with connections.session() as session:
        rows = session.execute(
            text("SELECT id, code FROM key WHERE code = ANY (:codes) ORDER BY id"),
            {"codes": codes},
        ).all()
    ids = [str(row.id) for row in rows]
    where = f"/pools/{place.world.pool}/keys/selected"
    some = "&".join(f"row={one}" for one in ids[:2])

    asked = manager.get(f"{where}/distribute?{some}").text
    given, _, _ = confirm(
        manager, "distribute", some, where, recipient="desk@example.net", reference="PO-7"
    )
    listed = manager.get(f"/pools/{place.world.pool}?recipient=desk@example.net").text
    replaced, _, _ = confirm(
        manager, "replace", "all=1&recipient=desk@example.net", where, reason="Torn"
    )
    retired, _, _ = confirm(manager, "retire", f"row={ids[0]}&row={ids[3]}", where)
    export = manager.get(f"/pools/{place.world.pool}/keys.csv?{some}").text

    assert "Distribute 2 keys?" in asked
    assert "<strong>99.80 EUR</strong> in all" in asked
    assert results(manager, given) == {ids[0]: "done", ids[1]: "done"}
    assert f'value="{ids[0]}" form="selected" aria-label="Select {rows[0].code}"' in listed
    assert "All 2 that fit" in listed
    assert results(manager, replaced) == {ids[0]: "done", ids[1]: "done"}
    assert results(manager, retired)[ids[0]] == "key_not_issued"
    assert len(export.splitlines()) == 3


def test_a_mail_is_an_act_where_somebody_asks_about_a_key_or_an_access(
    manager, somebody, place, learners
):
    [ann] = learners("mail-ann")
    place.keys(1)
    with connections.session() as session:
        made = distributions.distribute(
            session, actor=OPERATOR, pool=place.world.pool, recipient="holder@example.net"
        )
    [code] = made["keys"]

    page = manager.get(f"/trouble?q={code}").text
    where, query = re.search(r'href="/console(/pools/[^"?]*/mail)[?]([^"]*)"', page).groups()
    answer, _, _ = confirm(manager, "mail", query, where.removesuffix("/mail"))
    about = manager.get(f"/assignments/{ann}").text
    reminded, _, _ = confirm(manager, "mail", f"row={ann}", mail="access_unlaunched")

    assert set(results(manager, answer).values()) == {"done"}
    assert f'href="/console/assignments/selected/mail?row={ann}"' in about
    assert results(manager, reminded) == {ann: "done"}
    assert "/mail?row" not in somebody(Role.ANALYST).get(f"/trouble?q={code}").text
