from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.audit import auditing
from worker.audit.rules import CHECKS
from worker.billing import runs
from worker.database.connections import clock_now, transaction
from worker.database.connections import session as transaction_of
from worker.errors import NotFoundError
from worker.learning import cancelling
from worker.pools import distributions, retiring, tallies
from worker.redemption import deciding


@pytest.fixture(autouse=True)
def _slices_of_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [one and replace(one, rows=one.rows and replace(one.rows, size=2)) for one in CHECKS]
    monkeypatch.setattr(auditing, "CHECKS", small)


@pytest.fixture
def world(fresh_database) -> World:
    """A ledger of every sort: redeemed, refused, undone, cancelled late, invoiced, credited."""
    with transaction_of() as opened:
        pass_time(opened, days=-45)
        world = worlds.build(opened)
        events = [world.request(k, f"{n}@example.org") for n, k in enumerate(world.keys(6))]
        events.append(world.request("NO-SUCH-KEY-1", "x@example.org"))
        deciding.settle(opened, event_ids=events)
        cancelling.cancel(opened, actor=OPERATOR, assignment="1")
        pass_time(opened, days=2)
        cancelling.cancel(opened, actor=OPERATOR, assignment="2", reason="left")
        held = world.keys(tallies.FEW + 1)
        give = {"actor": OPERATOR, "pool": world.pool, "count": len(held)}
        distributions.distribute(opened, recipient="shop@example.com", **give)
        tallies.fold(opened)
        retiring.retire(opened, actor=OPERATOR, codes=held[:3])
    runs.run(actor=OPERATOR, finalize=True)
    return world


def failed(**asked: object) -> list[str]:
    checks = transaction(auditing.audit, **asked)["checks"]
    return [check["name"] for check in checks if not check["ok"]]


def damage(*statements: str) -> None:
    """Change rows behind the triggers' backs."""
    with transaction_of() as opened:
        for table in GUARDED:
            opened.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            opened.execute(text(statement))


def test_a_sound_ledger_passes_with_its_figures(world):
    result = transaction(auditing.audit)

    assert result["ok"]
    assert result["checks"][0]["figures"] == {"redeemed_keys": 5, "assignments": 5, "charges": 5}


GUARDED = ["key", "charge", "invoice", "invoice_line", "invoice_share", "invoice_charge"]
DAMAGES = {
    "UPDATE key SET state = 'issued' WHERE id = 3": "redeemed keys =",
    "UPDATE charge SET kind = 'extension' WHERE id = 4": "redeemed keys =",
    "DELETE FROM redemption WHERE event_id = 5": "redeemed keys =",
    "DROP INDEX key_is_spent_once; UPDATE assignment SET key_id = 3 WHERE id IN (4, 5)": (
        "no key is spent twice"
    ),
    "UPDATE charge SET amount = 0 WHERE kind = 'credit'": "undone assignments are credited",
    "UPDATE charge SET amount = amount * 2 WHERE kind = 'credit'": "credits stay within",
    "UPDATE charge SET unbilled = NOT unbilled WHERE id = 4": "no charge is on two",
    "UPDATE invoice SET subtotal = subtotal + 1, total = total + 1": "every finalized invoice",
    "UPDATE invoice_line SET quantity = quantity + 1, amount = amount + unit_price"
    " WHERE kind = 'redemption'": ("every finalized invoice"),
    "UPDATE invoice_share SET quantity = quantity + 1": "every line = its shares",
    "UPDATE invoice_share SET learner_organization_id = 2": "every line = its shares",
    "DELETE FROM invoice_share": "every line = its shares",
    "UPDATE invoice SET serial = serial + 1": "invoice numbers",
    "UPDATE event SET status = 'recorded', outcome = NULL, settled_at = NULL,"
    " received_at = received_at - interval '1 hour' WHERE id = 1": "no event is unsettled",
    "UPDATE pool_tally SET issued = issued + 1": "pools' figures",
    "UPDATE distribution_tally SET redeemed = redeemed + 1": "large distributions' figures",
    "UPDATE pool_tally SET their_retired = NULL": "large distributions' figures",
    "UPDATE pool_charged SET amount = amount + 1": "what pools were charged",
    "DELETE FROM pool_charged": "what pools were charged",
}


@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_ledger_fails_the_check_that_it_breaks(world, harm):
    damage(*harm.split("; "))

    assert any(name.startswith(DAMAGES[harm]) for name in failed())


def test_what_an_audit_found_is_kept_with_its_times(world):
    damage("UPDATE key SET state = 'issued' WHERE id = 3")

    result = transaction(auditing.audit)

    with transaction_of() as opened:
        kept = opened.execute(text("SELECT * FROM audit_run")).one()
        keys = opened.scalar(text("SELECT count(*) FROM key"))
    assert kept.begun_at <= kept.ended_at
    assert (kept.since, kept.checked, kept.faults) == (None, result["checked"], result["faults"])
    assert kept.checked > keys
    assert kept.faults == sum(len(check["rows"]) for check in result["checks"])


def test_an_interrupted_audit_goes_on_where_it_stopped(world, monkeypatch):
    whole = transaction(auditing.audit)
    monkeypatch.setattr(auditing, "STINT", 0)  # one slice a transaction
    transaction(auditing.begin)

    slices = 0
    while not transaction(auditing.work, run=transaction(auditing.interrupted)):
        slices += 1

    resumed = transaction(auditing.show, run=2)
    assert slices > len(CHECKS)
    assert (resumed["checks"], resumed["checked"]) == (whole["checks"], whole["checked"])
    with pytest.raises(NotFoundError, match="begin one without"):
        transaction(auditing.interrupted)


def test_an_audit_says_how_far_it_is(world, monkeypatch):
    monkeypatch.setattr(auditing, "STINT", 0)
    run = transaction(auditing.begin)

    told = [transaction(auditing.percent, run=run)]
    while not transaction(auditing.work, run=run):
        told.append(transaction(auditing.percent, run=run))

    assert told[0] == 0
    assert told == sorted(told)
    assert len(set(told)) > len(CHECKS)
    assert transaction(auditing.percent, run=run) == 100


def test_rows_that_come_meanwhile_do_not_keep_an_audit_from_its_end(world, monkeypatch):
    monkeypatch.setattr(auditing, "STINT", 0)
    run = transaction(auditing.begin)
    transaction(auditing.work, run=run)
    with transaction_of() as opened:
        opened.execute(
            text("""
            INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id, redeemed_at,
                                    expires_at)
            SELECT key.id, pool_id, 1, 1, 1, clock_now(), clock_now() + interval '1 day'
              FROM key WHERE key.state = 'retired' LIMIT 1""")
        )

    while not transaction(auditing.work, run=run):
        pass

    assert transaction(auditing.show, run=run)["checks"][0]["ok"]
    assert not transaction(auditing.audit)["checks"][0]["ok"]


def test_an_audit_since_a_time_looks_at_what_was_made_since(world):
    with transaction_of() as opened:
        lately = clock_now(opened) - timedelta(hours=2)
        live = replace(world, session=opened)
        deciding.settle(opened, event_ids=[live.request(live.keys(1)[0], "new@example.org")])
        ids = text("SELECT key_id FROM assignment WHERE id IN (4, 7) ORDER BY id")
        old, new = opened.scalars(ids)

    damage(f"UPDATE key SET state = 'issued' WHERE id IN ({old}, {new})")

    assert broken_keys(since=lately) == [f"key {new}"]
    assert broken_keys(since=lately + timedelta(days=1)) == []
    assert broken_keys(since=None) == [f"key {old}", f"key {new}"]


def broken_keys(*, since: datetime | None) -> list[str]:
    return transaction(auditing.audit, since=since)["checks"][0]["rows"]


def test_no_slice_reads_a_large_table_whole(world):
    plans = {}
    with transaction_of() as opened:
        opened.execute(auditing.BY_INDEX)
        for check in CHECKS:
            for query in (check.figures, check.broken):
                plan = opened.scalars(text(f"EXPLAIN {query}"), {"after": 0, "upto": 10})
                plans[query] = "\n".join(plan)

    large = ("key", "assignment", "charge", "redemption", "event", "invoice_charge")
    read = {f"Seq Scan on {table} " for table in large}
    assert [plan for plan in plans.values() if any(one in plan for one in read)] == []
