import psycopg
import pytest

from benchmarks import lean, redemption, shop
from benchmarks.frame import plain

FACTS = {
    "key": "SELECT id, state FROM {}.key",
    "learner": "SELECT organization_id, email, name FROM {}.learner",
    "assignment": """
        SELECT key_id, pool_id, course_id, email, assignment.organization_id, status, redeemed_at, expires_at
          FROM {0}.assignment JOIN {0}.learner ON learner.id = learner_id""",
    "charge": """
        SELECT key_id, kind, charge.organization_id, learner_organization_id, charge.course_id,
               charge.pool_id, amount, currency, occurred_at, unbilled
          FROM {0}.charge JOIN {0}.assignment ON assignment.id = assignment_id""",
    "redemption": """
        SELECT event_id, redemption.organization_id, learner_organization_id, learner_email,
               redemption.key_id, redemption.pool_id, assignment.key_id, outcome, received_at
          FROM {0}.redemption JOIN {0}.assignment ON assignment.id = assignment_id""",
    "event": """
        SELECT event.id, event.status, outcome, settled_at IS NULL, assignment.key_id
          FROM {0}.event JOIN {0}.assignment ON assignment.id = assignment_id""",
}


@pytest.fixture
def shopping(fresh_database):
    shop.opened()
    shop.recorded(30)
    with psycopg.connect(plain(), autocommit=True) as connection:
        yield connection


def test_lean_tables_keep_the_rows_and_the_unique_keys_alone(shopping):
    lean.copied(shopping, "key", "redemption")

    assert shopping.execute("SELECT count(*) FROM lean.key").fetchone() == (30,)
    kinds = "SELECT DISTINCT contype FROM pg_constraint WHERE connamespace = 'lean'::regnamespace"
    assert shopping.execute(kinds).fetchall() == [("n",)]  # NOT NULL
    indexes = """SELECT indexname FROM pg_indexes
                  WHERE schemaname = 'lean' AND indexdef NOT LIKE 'CREATE UNIQUE INDEX %'"""
    assert shopping.execute(indexes).fetchall() == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        shopping.execute("INSERT INTO lean.key (pool_id, code) SELECT pool_id, code FROM key")


def test_the_lean_limit_of_settling_writes_the_facts_that_settling_writes(shopping):
    rate = redemption.lean_rate(30)

    redemption.settle()

    assert rate > 0
    for table, facts in FACTS.items():
        ours, theirs = (
            set(shopping.execute(facts.format(place)).fetchall()) for place in ("public", "lean")
        )
        assert len(ours) == 30, table
        assert ours == theirs, table
