"""Reminding: each occasion once, where an organization wants it, of what still holds."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker.billing import invoices, payments, runs
from worker.learning import extending
from worker.outgoing import composing, messages, reminders, reminding
from worker.outgoing.messages import Filters
from worker.pools import distributions, pools
from worker.tables.labels import ReminderKind as Kind
from worker.tenancy import passwords, users

ANN, BOB, MAX = "ann@example.org", "bob@example.org", "max@example.org"


@pytest.fixture
def world(session):
    made = worlds.build(session)
    made.keys(10)
    return made


def wants(world, kind: Kind, **asked) -> dict:
    return reminders.save(
        world.session, actor=OPERATOR, organization=str(world.parent), kind=kind, **asked
    )


def sql(world, statement: str, **given) -> None:
    world.session.execute(text(statement), {"parent": world.parent, **given})


def sweep(world, *kinds: Kind) -> list[str]:
    """Write the reminders of some kinds, and give whom they went to in this world."""
    before = {one["id"] for one in listed(world)}
    for kind in kinds or Kind:
        reminding.write(world.session, kind)
    return [one["recipient"] for one in listed(world) if one["id"] not in before]


def listed(world) -> list:
    page = messages.listing(world.session, actor=OPERATOR, filters=Filters(), limit=1000)
    name = world.figures("SELECT name FROM organization WHERE id = :id", id=world.parent).name
    return [one for one in reversed(page.items) if one["organization"] == name]


def said(world) -> dict:
    """Give the newest mail with what it says."""
    return messages.show(world.session, actor=OPERATOR, message=listed(world)[-1]["id"])


def give(world, recipient: str = ANN, **asked) -> list[str]:
    given = distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=recipient, **asked
    )
    return given["keys"]


def manager(world, email: str = MAX, role: str = "manager") -> None:
    users.add(
        world.session, actor=OPERATOR, email=email, role=role, organization=str(world.parent),
        new_hash=passwords.hashed("correct horse battery", about=email),
    )  # fmt: skip


# --------------------------------------------------------------------------------------- to learners


def test_a_key_that_is_not_used_is_reminded_of_once(world):
    wants(world, Kind.KEY_UNUSED, days=14)
    [key] = give(world, name="Ann")

    early = sweep(world)
    pass_time(world.session, days=14)

    assert (early, sweep(world), sweep(world)) == ([], [ANN], [])
    shown = said(world)
    assert shown["subject"] == "Your key for A course is still unused"
    assert f"it is not redeemed yet:\n\n    {key}\n" in shown["text"]
    assert "It can be redeemed until the end of 31 Dec 2090 (UTC)." in shown["text"]
    assert (
        f"No more reminders from {shown['organization']}: http://127.0.0.1:8080/unsub"
        in shown["text"]
    )


def test_only_the_keys_that_are_left_are_reminded_of(world):
    wants(world, Kind.KEY_UNUSED, days=14)
    first, *left = give(world, "shop@example.org", count=3)
    world.redeemed(code=first)
    world.redeemed(BOB, *give(world, BOB))
    pass_time(world.session, days=15)

    assert sweep(world) == ["shop@example.org"]
    shown = said(world)
    assert shown["subject"] == "2 of your keys for A course are still unused"
    assert [key in shown["text"] for key in (first, *left)] == [False, True, True]


def test_a_name_a_recalled_key_and_a_pool_that_rests_are_not_reminded_of(world):
    wants(world, Kind.KEY_UNUSED, days=14)
    give(world, "Desk three")
    give(world, BOB)
    distributions.recall(world.session, actor=OPERATOR, pool=world.pool, recipient=BOB)
    give(world, ANN)
    pools.pause(world.session, actor=OPERATOR, pool=world.pool)
    pass_time(world.session, days=15)

    assert sweep(world) == []


def test_days_count_from_when_a_key_can_be_redeemed(world):
    wants(world, Kind.KEY_UNUSED, days=14)
    start = world.figures("SELECT clock_now() + interval '10 days' AS at").at
    sql(world, "UPDATE pool SET starts_at = :at WHERE id = :id", at=start, id=int(world.pool))
    give(world)

    pass_time(world.session, days=20)
    early = sweep(world)
    pass_time(world.session, days=5)

    assert (early, sweep(world), sweep(world)) == ([], [ANN], [])


def test_what_was_before_a_reminder_was_wanted_is_not_reminded_of(world):
    give(world)
    world.redeemed(BOB)
    pass_time(world.session, days=20)
    wants(world, Kind.KEY_UNUSED, days=14)
    wants(world, Kind.ACCESS_UNLAUNCHED, days=7)

    assert sweep(world) == []


def test_a_smaller_number_of_days_reminds_of_those_between(world):
    wants(world, Kind.KEY_UNUSED, days=14)
    give(world)
    pass_time(world.session, days=10)
    early = sweep(world)
    wants(world, Kind.KEY_UNUSED, days=7)

    assert (early, sweep(world)) == ([], [ANN])


def test_an_end_of_access_is_told_once_and_again_when_it_was_put_off(world):
    wants(world, Kind.ACCESS_ENDING, days=7)
    assignment = world.redeemed()
    pass_time(world.session, days=23.1)
    first, again = sweep(world), sweep(world)
    text_ = said(world)["text"]

    extending.extend(world.session, actor=OPERATOR, assignment=assignment, by_days=30)
    pass_time(world.session, days=3)
    early = sweep(world)
    pass_time(world.session, days=27.5)

    assert (first, again, early, sweep(world)) == ([ANN], [], [], [ANN])
    assert "Hello Ann,\n\nyour access to the course “A course” ends on " in text_


def test_access_that_was_not_launched_is_reminded_of(world):
    wants(world, Kind.ACCESS_UNLAUNCHED, days=7)
    world.redeemed(ANN)
    world.launched(world.redeemed(BOB))
    pass_time(world.session, days=7.1)

    assert (sweep(world), sweep(world)) == ([ANN], [])
    shown = said(world)
    assert shown["subject"] == "You have not begun the course A course yet"
    assert "Your access lasts until " in shown["text"]


def test_after_an_outage_the_newest_occasion_of_a_thing_alone_is_told(world):
    wants(world, Kind.ACCESS_UNLAUNCHED, days=7)
    wants(world, Kind.ACCESS_ENDING, days=7)
    world.redeemed()
    pass_time(world.session, days=25)

    assert sweep(world, *reminding.OCCASIONS) == [ANN]
    assert listed(world)[-1]["kind"] == "access_ending"
    pass_time(world.session, days=1)
    assert sweep(world, *reminding.OCCASIONS) == []


def test_access_that_is_over_is_not_told_of_after_an_outage(world):
    wants(world, Kind.ACCESS_UNLAUNCHED, days=7)
    wants(world, Kind.ACCESS_ENDING, days=7)
    world.redeemed()
    pass_time(world.session, days=31)

    assert sweep(world) == []


def test_a_child_organizations_learner_reads_it_in_their_own_language(world):
    sql(world, "UPDATE organization SET locale = 'de', time_zone = 'Europe/Berlin' WHERE id = :child",
        child=world.child)  # fmt: skip
    sql(world, "UPDATE pool SET share_with_children = true WHERE id = :id", id=int(world.pool))
    wants(world, Kind.ACCESS_ENDING, days=7)
    world.redeemed(organization=world.child)
    pass_time(world.session, days=25)

    assert sweep(world) == [ANN]
    shown = said(world)
    assert shown["subject"] == "Ihr Zugang zu A course endet bald"
    assert "(Europe/Berlin)" in shown["text"]


@pytest.mark.parametrize(
    ("kind", "index", "range_"),
    [
        (Kind.ACCESS_ENDING, "assignment_to_expire", "expires_at > wanted"),
        (Kind.ACCESS_UNLAUNCHED, "assignment_by_pool", "redeemed_at > wanted"),
        (Kind.TROUBLE, "event_guessed", "(received_at > "),
    ],
)
def test_a_sweep_reads_the_rows_of_the_last_minutes_alone(world, kind, index, range_):
    sql(world, "SET LOCAL enable_seqscan = off")
    sql(world, "SET LOCAL enable_bitmapscan = off")

    plan = world.session.scalars(text(f"EXPLAIN {reminding.SWEEPS[kind]}")).all()

    [at] = [n for n, line in enumerate(plan) if f"using {index} on" in line][:1]
    assert range_ in plan[at + 1]


# ---------------------------------------------------------------------------------- about invoices


@pytest.fixture
def invoice(world):
    """The id of an invoice over one key that is finalized today, to be paid in 30 days."""
    sql(world, "UPDATE organization SET billing_email = 'pay@example.org' WHERE id = :parent")
    wants(world, Kind.INVOICE_DUE, days=3)
    wants(world, Kind.INVOICE_OVERDUE, days=7)
    wants(world, Kind.INVOICE_SENT)
    return finalized(world)


def finalized(world) -> str:
    at = world.request_of_last_month(ANN)
    worlds.deciding.settle(world.session, event_ids=[
        world.figures("SELECT max(id) AS id FROM event").id])  # fmt: skip
    drafted, _ = runs.bill(world.session, actor=OPERATOR, organization_id=world.parent)
    [made] = drafted
    invoices.finalize(world.session, actor=OPERATOR, invoice=str(made), anyway=True)
    assert at
    return str(made)


def number(world, invoice: str) -> str:
    return world.figures("SELECT number FROM invoice WHERE id = :id", id=int(invoice)).number


def test_an_invoice_is_sent_once_as_pdf_and_e_invoice_in_the_sellers_name(world, invoice):
    sql(
        world, "UPDATE organization SET country = 'DE', legal_name = 'Röhm GmbH' WHERE id = :parent"
    )

    assert (sweep(world), sweep(world)) == (["pay@example.org"], [])
    shown = said(world)
    assert shown["subject"] == f"Invoice {number(world, invoice)} from keypool operator"
    assert "Amount: €49.90\nDue on: " in shown["text"]
    assert shown["text"].endswith("keypool operator\n")


def test_an_invoice_is_told_before_it_is_due_and_when_it_is_overdue(world, invoice):
    sent = sweep(world)
    pass_time(world.session, days=26)
    early = sweep(world)
    pass_time(world.session, days=2)
    due, again = sweep(world), sweep(world)
    due_kind = listed(world)[-1]["kind"]
    pass_time(world.session, days=8)
    before = sweep(world)
    pass_time(world.session, days=2)
    overdue = sweep(world)

    assert [sent, early, due, again, before, overdue] == [
        ["pay@example.org"], [], ["pay@example.org"], [], [], ["pay@example.org"]]  # fmt: skip
    assert due_kind == "invoice_due"
    assert said(world)["subject"] == f"Invoice {number(world, invoice)} is overdue"
    assert "Still to be paid: €49.90" in said(world)["text"]


def test_after_a_long_outage_an_invoice_is_told_of_once(world, invoice):
    pass_time(world.session, days=60)

    assert sweep(world, *reminding.OCCASIONS) == ["pay@example.org"]
    assert listed(world)[-1]["kind"] == "invoice_overdue"


def test_what_is_paid_is_neither_due_nor_overdue(world, invoice):
    sweep(world)
    today = world.figures(
        "SELECT (clock_now() AT TIME ZONE time_zone)::date AS day FROM seller"
    ).day
    payments.pay(world.session, actor=OPERATOR, invoice=invoice, on=str(today))
    pass_time(world.session, days=60)

    assert sweep(world) == []


def test_a_reminder_that_waits_is_not_sent_once_its_occasion_is_over(world, invoice):
    pass_time(world.session, days=60)
    sweep(world, *reminding.OCCASIONS)
    ids = [int(listed(world)[-1]["id"])]
    [holds] = composing.facts(world.session, ids)
    today = world.figures(
        "SELECT (clock_now() AT TIME ZONE time_zone)::date AS day FROM seller"
    ).day
    payments.pay(world.session, actor=OPERATOR, invoice=invoice, on=str(today))
    [over] = composing.facts(world.session, ids)

    assert (holds.holds, over.holds) == (True, False)
    with pytest.raises(composing.NothingToSendError, match="Its occasion is over"):
        composing.letter(over)


def test_without_a_billing_address_finance_is_told(world, invoice):
    sql(world, "UPDATE organization SET billing_email = '' WHERE id = :parent")
    manager(world)
    manager(world, "fin@example.org", "finance")

    assert sweep(world) == ["fin@example.org"]


# ------------------------------------------------------------------------------- to the organization


def test_a_pool_that_runs_low_is_told_to_the_managers_until_it_is_filled(world):
    wants(world, Kind.POOL_LOW, keys=9)
    manager(world)
    manager(world, "second@example.org")
    manager(world, "reader@example.org", "analyst")

    full = sweep(world)
    give(world, count=2)
    low, again = sweep(world), sweep(world)
    world.keys(10)
    filled = sweep(world)
    give(world, BOB, count=10)
    pass_time(world.session, days=1)

    assert (full, low, again, filled) == ([], [MAX, "second@example.org"], [], [])
    assert said(world)["subject"].startswith("8 keys left in Pool ")
    assert f"http://127.0.0.1:8080/console/pools/{world.pool}" in said(world)["text"]
    assert sweep(world) == [MAX, "second@example.org"]


def test_what_is_for_the_organization_comes_to_the_address_it_names_else_to_its_own(world):
    wants(world, Kind.POOL_ENDING, days=14, to="office@example.org")
    world.session.execute(text("UPDATE pool SET expires_at = clock_now() + interval '10 days'"))
    named = sweep(world)
    wants(world, Kind.POOL_LOW, keys=1000)
    nobody = sweep(world)
    sql(world, "UPDATE organization SET reply_to = 'desk@example.org' WHERE id = :parent")

    pass_time(world.session, days=1)

    assert (named, nobody, sweep(world)) == (["office@example.org"], [], ["desk@example.org"])


def test_a_pool_that_ends_with_keys_left_is_told_once_an_end(world):
    wants(world, Kind.POOL_ENDING, days=14)
    manager(world)
    far = sweep(world)
    sql(world, "UPDATE pool SET expires_at = clock_now() + interval '10 days' WHERE id = :id",
        id=int(world.pool))  # fmt: skip

    assert (far, sweep(world), sweep(world)) == ([], [MAX], [])
    assert "and 10 of its keys are not redeemed." in said(world)["text"]
    assert said(world)["subject"].endswith("ends soon")


def test_a_report_is_told_to_who_reads_it(world):
    wants(world, Kind.REPORT_MADE)
    manager(world)
    manager(world, "fin@example.org", "finance")
    for notebook in ("usage", "billing"):
        sql(world, "INSERT INTO report_run (organization_id, notebook, first_day, last_day, asked_by,"
            " state, finished_at, page, data_at) VALUES (:parent, :notebook, '2026-10-01', '2026-10-31',"
            " 'schedule', 'done', clock_now(), 'page', clock_now())", notebook=notebook)  # fmt: skip

    assert (sweep(world), sweep(world)) == ([MAX, "fin@example.org"], [])
    shown = said(world)
    assert shown["subject"] == "The report “billing” is ready"
    assert "It is about 1 Oct 2026 to 31 Oct 2026." in shown["text"]


def test_what_fails_since_a_day_is_told_in_one_mail_until_something_else_fails(world):
    wants(world, Kind.TROUBLE)
    manager(world)
    ids = [
        world.figures(
            "INSERT INTO endpoint (organization_id, url, types) VALUES (:id, :url, '{pool.low}')"
            " RETURNING id",
            id=world.parent,
            url=f"https://hooks.example/{n}",
        ).id
        for n in range(3)
    ]
    fail = "UPDATE endpoint SET failures = failures + 1 WHERE id = :id"
    sql(world, fail, id=ids[0])
    sql(world, fail, id=ids[1])
    sql(world, "UPDATE endpoint SET failures = 0 WHERE id = :id", id=ids[1])
    early = sweep(world)
    pass_time(world.session, days=1.1)
    sql(world, fail, id=ids[0])
    first, again = sweep(world), sweep(world)
    text_ = said(world)["text"]
    sql(world, fail, id=ids[2])
    pass_time(world.session, days=1.1)

    assert (early, first, again, sweep(world)) == ([], [MAX], [], [MAX])
    assert "Endpoint https://hooks.example/0: no answer since " in text_
    assert "hooks.example/1" not in text_
    assert "hooks.example/0" in said(world)["text"]
    assert "hooks.example/2" in said(world)["text"]


def test_an_endpoint_that_is_gone_is_told_at_once_and_one_that_a_person_paused_never(world):
    wants(world, Kind.TROUBLE)
    manager(world)
    for name in ("gone", "paused"):
        sql(world, "INSERT INTO endpoint (organization_id, url, types, failures, failing_since)"
            " VALUES (:id, :url, '{pool.low}', 9, clock_now())", id=world.parent,
            url=f"https://hooks.example/{name}")  # fmt: skip
    sql(world, "UPDATE endpoint SET paused_at = clock_now(), paused_because = CASE"
        " WHEN url LIKE '%gone' THEN 'It answered 410: it is gone.' END")  # fmt: skip
    first, again = sweep(world), sweep(world)
    pass_time(world.session, days=1.1)

    assert (first, again, sweep(world)) == ([MAX], [], [])
    shown = said(world)
    assert "is gone and was paused" in shown["subject"]
    assert "Endpoint https://hooks.example/gone: it answered on " in shown["text"]
    assert "hooks.example/paused" not in shown["text"]


def test_a_source_that_sends_nothing_that_works_is_told(world):
    wants(world, Kind.TROUBLE)
    manager(world)
    for wrong in ("NOSUCHKEY-1", "NOSUCHKEY-2"):
        event = world.request(wrong, ANN)
        worlds.deciding.settle(world.session, event_ids=[event])
        pass_time(world.session, days=1.1)
    silent = sweep(world)
    worlds.deciding.settle(world.session, event_ids=[world.request("NOSUCHKEY-3", ANN)])
    failing = sweep(world)
    pass_time(world.session, days=1)
    world.redeemed()

    assert (silent, failing, sweep(world)) == ([], [MAX], [])
    assert "Source shop: sends nothing that works since " in said(world)["text"]
