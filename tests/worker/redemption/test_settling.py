"""The settler itself: claims, deaths, poison, and the order in which a batch is decided."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.world import OPERATOR, World
from worker.audit import rules
from worker.catalogue import courses
from worker.database import locks
from worker.database.connections import Login
from worker.database.connections import session as transaction_of
from worker.errors import DatabaseAwayError
from worker.pools import pools
from worker.redemption import deciding, settling
from worker.tables.tenancy import Organization

POISON = {"key": "TEST-POISON-1", "learner": {"email": None}}


@pytest.fixture
def world(fresh_database):
    with transaction_of() as opened:
        built = worlds.build(opened)
        opened.commit()
    return built


def committed(world: World, build):
    """Run something over the world in a transaction of its own, and commit it."""
    with transaction_of() as opened:
        return build(World(**{**world.__dict__, "session": opened}))


def outcomes(world: World) -> Counter:
    with transaction_of() as opened:
        rows = opened.execute(text("SELECT coalesce(outcome, status::text) FROM event")).scalars()
        return Counter(rows)


# Who looks for undecided events, and with which login.
UNDECIDED = {
    "whether anything waits": (settling.WAITING.text, Login.OWNER),
    "the first that waits": (settling.FIRST.text, Login.OWNER),
    "a claim": (settling.CLAIM.text.replace(":limit", "500"), Login.OWNER),
    "the audit": (
        next(check.broken for check in rules.CHECKS if check.name.startswith("no event is")),
        Login.OWNER,
    ),
}


def test_whoever_looks_for_undecided_events_reads_the_index_of_those_alone(world):
    settled = text("""
        INSERT INTO event (source_id, organization_id, webhook_id, body_hash, type, status, outcome,
                           settled_at)
        SELECT :source, :parent, number, '', 'training.ended', 'settled', 'ended', clock_now()
          FROM generate_series(1, 1000) AS number""")
    committed(
        world,
        lambda w: w.session.execute(settled, {"source": w.source, "parent": w.parent}),
    )
    committed(world, lambda w: w.session.execute(text("ANALYZE event")))

    plans = {}
    for reader, (query, login) in UNDECIDED.items():
        with transaction_of(login) as opened:
            opened.execute(text("SET LOCAL enable_seqscan = off"))  # so few are read as fast whole
            plans[reader] = "\n".join(opened.scalars(text(f"EXPLAIN {query}")))

    assert [reader for reader, plan in plans.items() if "event_unsettled" not in plan] == []


def test_everything_that_waits_is_settled_in_batches(world):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(25))]
    )

    batches = []
    while batch := settling.settle_batch(limit=10):
        batches.append(len(batch))

    assert batches == [10, 10, 5]
    assert outcomes(world) == {"redeemed": 25}


def test_many_settlers_at_once_settle_each_event_once(world):
    committed(
        world,
        lambda w: [
            w.request(key, f"{i}-{n}@example.org")
            for i, key in enumerate(w.keys(40))
            for n in range(5)
        ],
    )

    threads = [threading.Thread(target=settling.settle_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes(world) == {"redeemed": 40, "already_redeemed": 160}


def test_a_poisonous_event_is_set_apart_and_its_neighbours_are_settled(world):
    def fill(w: World) -> int:
        for i, key in enumerate(w.keys(10)):
            w.request(key, f"{i}@example.org")
        poison = w.event("redemption.requested", POISON, organization=w.parent)
        for i, key in enumerate(w.keys(10)):
            w.request(key, f"late-{i}@example.org")
        return poison

    poison = committed(world, fill)
    settling.settle_all()

    assert outcomes(world) == {"redeemed": 20, "failed": 1}
    with transaction_of() as opened:
        failed = opened.execute(
            text("SELECT status::text, deaths, error FROM event WHERE id = :id"), {"id": poison}
        ).one()
    assert (failed.status, failed.deaths) == ("failed", settling.MAX_DEATHS)
    assert "TEST-POISON-1" not in failed.error


@contextmanager
def settler(*, claims: str) -> Iterator[None]:
    """A settler between its claim and its decision."""
    with transaction_of() as deciding:
        assert locks.take(deciding, "settling")
        with transaction_of() as claiming:
            claiming.execute(text(claims))
        yield
        deciding.rollback()


CLAIM_ALL = (
    "INSERT INTO settlement (event_ids) SELECT array_agg(id ORDER BY received_at, id) FROM event"
)


def test_a_claim_whose_settler_died_is_taken_up_in_halves(world):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(8))]
    )

    with settler(claims=CLAIM_ALL):
        alive = settling.settle_batch(limit=500)
    after_its_death = settling.settle_batch(limit=500)

    assert alive is None
    assert after_its_death == ["redeemed"] * 4


def claim_taken_away(world: World) -> settling.Claim:
    """Claim a request; another settler releases the claim."""
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))
    with transaction_of() as opened:
        claim = settling._claim(opened, limit=10)
    with transaction_of() as opened:
        opened.execute(text("DELETE FROM settlement"))
    assert claim
    return claim


def test_a_claim_that_another_settler_released_blames_no_event(world):
    claim = claim_taken_away(world)

    with transaction_of() as opened:
        settling._give_up(opened, claim=claim, error="Too late.")

    with transaction_of() as opened:
        assert opened.scalar(text("SELECT deaths FROM event")) == 0


def test_a_settler_whose_claim_was_taken_away_changes_nothing(world):
    claim = claim_taken_away(world)

    with transaction_of() as opened:
        settled = settling._settle(opened, claim=claim)

    assert settled == []
    assert outcomes(world) == {"recorded": 1}


def test_while_a_batch_is_decided_no_other_settler_takes_its_claim(world, monkeypatch):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))
    decide, others = deciding.settle, []

    def watched(session, **events):
        others.append(settling.settle_batch(limit=10))
        return decide(session, **events)

    monkeypatch.setattr(deciding, "settle", watched)

    assert settling.settle_batch(limit=10) == ["redeemed"]
    assert others == [None]


def no_room(*_, **__):
    raise DatabaseAwayError


def test_a_claim_that_the_database_had_no_room_for_is_handed_back_without_blame(world, monkeypatch):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(4))]
    )

    with monkeypatch.context() as patch:
        patch.setattr(deciding, "settle", no_room)
        with pytest.raises(DatabaseAwayError):
            settling.settle_batch(limit=10)

    assert settling.settle_batch(limit=10) == ["redeemed"] * 4


def test_a_claim_that_cannot_be_handed_back_is_known_to_be_abandoned(world, monkeypatch):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(4))]
    )

    with monkeypatch.context() as patch:
        patch.setattr(deciding, "settle", no_room)
        patch.setattr(settling, "_give_up", no_room)
        with pytest.raises(DatabaseAwayError):
            settling.settle_batch(limit=10)

    assert settling.settle_batch(limit=10) == ["redeemed"] * 2  # in halves: its settler may be dead


def test_an_event_whose_decision_takes_too_long_is_set_apart(world, monkeypatch):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))

    def slow(session, **_):
        session.execute(text("SET LOCAL statement_timeout = 1"))
        session.execute(text("SELECT pg_sleep(60)"))

    monkeypatch.setattr(deciding, "settle", slow)
    settling.settle_all()

    assert outcomes(world) == {"failed": 1}


def test_a_batch_reads_no_table_whole_however_small_they_are(world):
    # The plan is kept while the tables grow.
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(40))]
    )
    with transaction_of() as opened:
        claim = settling._claim(opened, limit=20)

    with transaction_of() as opened:
        assert settling._settle(opened, claim=claim) == ["redeemed"] * 20
        read = opened.execute(
            text("SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables")
        ).all()

    grow = {"key", "event", "learner", "assignment", "redemption", "charge"}
    assert {row.relname for row in read if row.seq_scan and row.relname in grow} == set()
    assert next(row.idx_scan for row in read if row.relname == "key") >= 20


def test_a_key_that_somebody_holds_is_left_to_the_next_round(world, fresh_database):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))

    with psycopg.connect(fresh_database.database_url.replace("+psycopg", "")) as holder:
        holder.execute("SELECT FROM key FOR UPDATE")
        while_held = settling.settle_batch(limit=10)
    afterwards = settling.settle_batch(limit=10)

    assert (while_held, afterwards) == ([], ["redeemed"])


# Chains inside a batch come out as if decided one by one: compare with a plain model.

LEARNERS = ["ann@example.org", "bob@example.org", "Ann@Example.org", "eve@example.org"]

attempt = st.tuples(
    st.integers(0, 5),  # which key; 5 is unknown
    st.sampled_from(LEARNERS),
    st.sampled_from(["parent", "child", "sibling"]),
)


class Model:
    """Redemption, one by one, in plain Python."""

    def __init__(self, pools_of_keys: list[dict]) -> None:
        self.keys = pools_of_keys
        self.spent: dict[int, tuple] = {}
        self.live: set[tuple] = set()

    def decide(self, key: int, email: str, organization: str) -> str:
        learner = (email.lower(), organization)
        if key >= len(self.keys):
            return "unknown_key"
        pool = self.keys[key]
        if key in self.spent:
            return "already_yours" if self.spent[key] == learner else "already_redeemed"
        if organization == "sibling" or (organization == "child" and not pool["shared"]):
            return "not_available_to_organization"
        if pool["paused"]:
            return "pool_paused"
        if (*learner, pool["course"]) in self.live:
            return "already_assigned"
        self.spent[key] = learner
        self.live.add((*learner, pool["course"]))
        return "redeemed"


POOLS = [
    {"course": "A", "shared": True, "paused": False},
    {"course": "A", "shared": False, "paused": False},
    {"course": "B", "shared": True, "paused": False},
    {"course": "B", "shared": True, "paused": True},
    {"course": "A", "shared": True, "paused": False},
]


def build_pools(session: Session, world: World) -> list[str]:
    """Make POOLS, with one key each, and give the keys."""
    owner = session.get_one(Organization, world.parent).name
    codes = []
    for number, pool in enumerate(POOLS):
        course = f"{pool['course']}-{world.parent}"
        if pool["course"] not in [p["course"] for p in POOLS[:number]]:
            courses.add(session, actor=OPERATOR, code=course, title="T", price="1", currency="EUR")
        made = pools.create(
            session,
            actor=OPERATOR,
            name=f"Pool {number}",
            organization=owner,
            course=course,
            starts="2020-01-01",
            expires="2090-01-01",
            content_availability=10,
            share_with_children=pool["shared"],
        )
        if pool["paused"]:
            pools.pause(session, actor=OPERATOR, pool=made["id"])
        codes += world.keys(1, pool=made["id"])
    return codes


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(attempts=st.lists(attempt, min_size=1, max_size=25))
@example(
    attempts=[(0, LEARNERS[0], "child"), (1, LEARNERS[0], "child"), (1, LEARNERS[0], "parent")]
)
def test_a_batch_comes_out_as_if_its_events_were_decided_one_by_one(session, attempts):
    with session.begin_nested() as trial:
        world = worlds.build(session)
        codes = [*build_pools(session, world), "NO-SUCH-KEY-AT-ALL"]
        places = {"parent": world.parent, "child": world.child, "sibling": world.sibling}
        events = [
            world.request(codes[key], email, organization=places[place])
            for key, email, place in attempts
        ]
        model = Model(POOLS)
        expected = [model.decide(*one) for one in attempts]

        while deciding.settle(session, event_ids=undecided(session, events)):
            pass

        assert [world.outcome(event) for event in events] == expected
        trial.rollback()


def undecided(session: Session, events: list[int]) -> list[int]:
    return list(
        session.scalars(
            text("SELECT id FROM event WHERE id = ANY (:ids) AND status = 'recorded'"),
            {"ids": events},
        )
    )
