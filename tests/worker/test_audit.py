import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import audit
from worker.billing import runs
from worker.database.connections import session as transaction_of
from worker.database.connections import transaction
from worker.learning import cancelling
from worker.pools import distributions, keys, tallies
from worker.redemption import deciding


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
        keys.retire(opened, actor=OPERATOR, codes=held[:3])
    runs.run(actor=OPERATOR, finalize=True)
    return world


def failed() -> list[str]:
    return [check["name"] for check in transaction(audit.audit)["checks"] if not check["ok"]]


def test_a_sound_ledger_passes_with_its_figures(world):
    result = transaction(audit.audit)

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


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_fails_the_check_that_it_breaks(world, damage):
    with transaction_of() as opened:
        for table in GUARDED:
            opened.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in damage.split("; "):
            opened.execute(text(statement))

    assert any(name.startswith(DAMAGES[damage]) for name in failed())
