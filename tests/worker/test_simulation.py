import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.conftest import Addresses, cloned, connect, using
from worker import errors, simulation
from worker.audit import auditing
from worker.database import connections as databases
from worker.pools import codes
from worker.tables.labels import RedemptionOutcome

NOW = datetime(2026, 3, 18, 15, 0, tzinfo=UTC)
ATTEMPTS = 3000

CATALOG = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
      JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
     ORDER BY 1"""

TABLES = [
    "organization",
    "tax_rate",
    "source",
    "course",
    "price",
    "pool",
    "batch",
    "distribution",
    "key",
    "learner",
    "assignment",
    "event",
    "redemption",
    "launch",
    "charge",
]


def simulate(session: Session, *, redemptions: int = ATTEMPTS, seed: int = 1) -> dict[str, int]:
    return simulation.simulate(
        session, organizations=9, months=18, redemptions=redemptions, seed=seed, now=NOW
    )


@pytest.fixture(scope="module")
def copied(database: Addresses) -> dict[str, int]:
    return databases.transaction(simulate)


@pytest.fixture
def history(copied: dict[str, int]) -> Iterator[Session]:
    with databases.session() as opened:
        yield opened


def rows(session: Session, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in session.execute(text(query))]


def test_as_many_redemptions_are_made_as_were_asked_for(copied, history):
    assert copied["redemption"] == ATTEMPTS
    assert rows(history, "SELECT count(*) FROM redemption") == [(ATTEMPTS,)]


def test_every_outcome_occurs(history):
    told = {
        outcome for (outcome,) in rows(history, "SELECT DISTINCT outcome::text FROM redemption")
    }

    assert told == set(RedemptionOutcome)


def test_the_audit_finds_nothing_wrong(copied):
    proven = databases.transaction(auditing.audit)

    assert [check for check in proven["checks"] if not check["ok"]] == []


def test_every_charge_is_the_price_in_force(history):
    wrong = rows(
        history,
        """SELECT charge.id FROM charge
             LEFT JOIN LATERAL price_in_force(course_id, organization_id, occurred_at) AS price ON true
            WHERE kind = 'redemption'
              AND (price.amount, price.currency) IS DISTINCT FROM (charge.amount, charge.currency)""",
    )

    assert wrong == []


def test_nobody_holds_two_live_assignments_for_a_course_at_once(history):
    overlapping = rows(
        history,
        """SELECT FROM (SELECT coalesce(cancelled_at, expires_at) AS ended, lead(redeemed_at) OVER (
                               PARTITION BY learner_id, course_id ORDER BY redeemed_at) AS next
                          FROM assignment) AS spell WHERE next < ended""",
    )

    assert overlapping == []


def test_learners_come_back_after_their_access_ended(history):
    again = rows(
        history,
        "SELECT FROM assignment GROUP BY learner_id, course_id HAVING count(*) > 1",
    )

    assert again


def test_keys_are_redeemed_after_they_were_made_and_handed_out_and_while_their_pool_is_open(
    history,
):
    wrong = rows(
        history,
        """SELECT redemption.event_id FROM redemption
             JOIN key ON key.id = key_id JOIN pool ON pool.id = key.pool_id
             LEFT JOIN distribution ON distribution.id = distribution_id
            WHERE outcome = 'redeemed'
              AND (received_at < key.created_at OR received_at < distributed_at
                   OR received_at < starts_at OR received_at >= pool.expires_at)""",
    )

    assert wrong == []


@pytest.mark.parametrize(
    ("outcome", "condition"),
    [
        ("already_yours", "assignment.learner_id = learner.id AND assignment.redeemed_at < at"),
        ("already_redeemed", "assignment.learner_id IS NOT NULL AND assignment.redeemed_at < at"),
        ("key_retired", "key.state = 'retired'"),
        ("not_available_to_organization", "NOT allowed"),
        ("course_archived", "allowed AND at >= course.archived_at"),
        ("pool_paused", "allowed AND at >= pool.paused_at"),
        ("pool_not_started", "allowed AND at < pool.starts_at"),
        ("pool_expired", "allowed AND at >= pool.expires_at AND pool.paused_at IS NULL"),
        (
            "already_assigned",
            """key.state = 'issued' AND at < pool.expires_at AND EXISTS (
               SELECT FROM assignment AS held WHERE held.learner_id = learner.id
                  AND held.course_id = pool.course_id AND held.redeemed_at < at
                  AND at < held.expires_at AND held.status <> 'cancelled')""",
        ),
    ],
)
def test_a_refusal_has_its_reason(history, outcome, condition):
    unreasonable = rows(
        history,
        f"""SELECT redemption.event_id FROM redemption
             JOIN key ON key.id = redemption.key_id
             JOIN pool ON pool.id = redemption.pool_id
             JOIN course ON course.id = pool.course_id
             LEFT JOIN assignment ON assignment.key_id = key.id AND assignment.status <> 'cancelled'
             LEFT JOIN learner ON learner.organization_id = redemption.learner_organization_id
                              AND learner.email = learner_email
            CROSS JOIN LATERAL (SELECT received_at AS at,
                  redemption.learner_organization_id = pool.organization_id
                  OR share_with_children AND EXISTS (SELECT FROM organization_ancestry
                     WHERE ancestor_id = pool.organization_id
                       AND descendant_id = redemption.learner_organization_id) AS allowed) AS facts
            WHERE outcome = '{outcome}' AND ({condition}) IS NOT TRUE""",
    )

    assert unreasonable == []


def test_launches_happen_while_access_lasts_and_never_under_an_undone_assignment(history):
    wrong = rows(
        history,
        """SELECT launch.id FROM launch JOIN assignment ON assignment.id = assignment_id
            WHERE undone OR launched_at < redeemed_at
               OR launched_at >= coalesce(cancelled_at, expires_at)""",
    )

    assert wrong == []


def test_there_are_retakes_and_unused_and_late_keys_and_keys_spent_again(history):
    (figures,) = rows(
        history,
        """SELECT (SELECT count(*) FROM launch) > (SELECT count(DISTINCT assignment_id) FROM launch),
                  (SELECT count(*) FROM key WHERE state = 'issued') > 0,
                  EXISTS (SELECT FROM assignment JOIN key ON key.id = key_id
                            JOIN distribution ON distribution.id = distribution_id
                           WHERE redeemed_at > distributed_at + interval '60 days'),
                  EXISTS (SELECT FROM assignment GROUP BY key_id HAVING count(*) > 1)""",
    )

    assert figures == (True, True, True, True)


def test_weekends_are_quiet(history):
    (figures,) = rows(
        history,
        """SELECT count(*) FILTER (WHERE extract(isodow FROM received_at) = 2),
                  count(*) FILTER (WHERE extract(isodow FROM received_at) = 7) FROM redemption""",
    )

    tuesdays, sundays = figures
    assert tuesdays > 2 * sundays


def test_generated_codes_carry_their_check_symbol(history):
    generated = rows(history, "SELECT canonical FROM key WHERE generated LIMIT 200")

    assert all(codes.check_symbol(code[:-1]) == code[-1] for (code,) in generated)


def test_constraints_and_indexes_are_back_afterwards(copied, servers, template, history):
    with cloned(servers, template) as untouched, connect(untouched.database_url) as connection:
        expected = connection.execute(CATALOG).fetchall()

    assert rows(history, CATALOG) == expected


def test_the_same_seed_gives_the_same_history(copied, history, servers, template):
    first = fingerprints(history)
    with cloned(servers, template) as another, using(another), databases.session() as session:
        simulate(session)
        second = fingerprints(session)

    assert second == first


def fingerprints(session: Session) -> dict[str, str]:
    return {
        table: hashlib.sha256(
            repr(rows(session, f'SELECT * FROM "{table}" ORDER BY 1, 2')).encode()
        ).hexdigest()
        for table in TABLES
    }


def test_simulating_again_adds_to_what_is_there(fresh_database):
    with databases.session() as session:
        simulate(session, redemptions=200)
        simulate(session, redemptions=300)

        assert rows(session, "SELECT count(*) FROM redemption") == [(500,)]


def test_nothing_redeemed_is_a_history_too(session):
    copied = simulate(session, redemptions=0)

    assert copied["redemption"] == 0
    assert copied["key"] > 0


@pytest.mark.parametrize("wrong", [{"organizations": 0}, {"months": 241}, {"redemptions": -1}])
def test_a_number_out_of_range_is_refused(session, wrong):
    asked = {"organizations": 1, "months": 1, "redemptions": 1} | wrong

    with pytest.raises(errors.InvalidInputError):
        simulation.simulate(session, **asked)


def test_closed_months_are_invoiced_to_the_last_charge(fresh_database):
    with databases.session() as session:
        simulation.simulate(session, organizations=4, months=4, redemptions=200, seed=3)

    billed = simulation.bill(reports=False)

    with databases.session() as session:
        (figures,) = rows(
            session,
            """SELECT (SELECT count(*) FROM invoice WHERE status IN ('finalized', 'paid')),
                      (SELECT count(*) FROM charge JOIN organization ON organization.id = organization_id
                        WHERE unbilled AND date_trunc('month', occurred_at AT TIME ZONE time_zone)
                              < date_trunc('month', clock_now() AT TIME ZONE time_zone)),
                      (SELECT count(*) FROM report_run)""",
        )
        dates = rows(
            session,
            "SELECT month, issued_on, paid_on FROM invoice ORDER BY year, serial",
        )
    assert figures == (billed["invoices"], 0, 0)
    assert billed["invoices"] > 0
    assert all(0 <= (issued - month).days - 28 <= 7 for month, issued, _ in dates)
    assert [issued for _, issued, _ in dates] == sorted(issued for _, issued, _ in dates)
    assert all(paid is None or paid >= issued for _, issued, paid in dates)
    assert any(paid is not None for *_, paid in dates)
