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
from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.world import OPERATOR, World
from worker import settings as configured
from worker.audit import auditing, rules
from worker.catalogue import courses
from worker.database import connections, locks
from worker.database.connections import Login
from worker.database.connections import session as transaction_of
from worker.errors import DatabaseAwayError
from worker.pools import pools
from worker.redemption import claims, deciding, settling, waiting
from worker.redemption.claims import Round
from worker.tables.tenancy import Organization
from worker.tenancy import organizations

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


@contextmanager
def settlers(monkeypatch: pytest.MonkeyPatch, count: int, *, batch: int = 500) -> Iterator[None]:
    """Let so many settlers work at once, on batches of so many events."""
    with monkeypatch.context() as patch:
        patch.setenv("KEYPOOL_SETTLERS", str(count))
        patch.setenv("KEYPOOL_SETTLE_BATCH", str(batch))
        configured.settings.cache_clear()
        yield
    configured.settings.cache_clear()


def settle_at_once(count: int) -> None:
    """Let so many settlers work at once until nothing waits."""
    threads = [threading.Thread(target=settling.settle_all) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def at_work(root: int, events: list[int]) -> Iterator[Session]:
    """A settler that has claimed events of a tree and does not come to an end; it gives its transaction."""
    with transaction_of() as deciding:
        locks.take_trees(deciding, [root])
        with transaction_of() as claiming:
            claiming.execute(
                text(
                    "INSERT INTO settlement (root_id, size, event_ids) VALUES (:root, :size, :events)"
                ),
                {"root": root, "size": len(events), "events": events},
            )
        yield deciding


def outcomes(world: World) -> Counter:
    with transaction_of() as opened:
        rows = opened.execute(text("SELECT coalesce(outcome, status::text) FROM event")).scalars()
        return Counter(rows)


# Who looks for undecided events, and with which login.
UNDECIDED = {
    "where a round begins": (claims.LONGEST_WAITING.text, Login.OWNER),
    "the first that waits": (waiting.FIRST.text, Login.OWNER),
    "whose turn it is": (
        claims.NEXT.text.replace(":limit", "500").replace(":after", "0"),
        Login.OWNER,
    ),
    "a claim": (
        claims.CLAIM.text.replace(":limit", "500")
        .replace(":share", "500")
        .replace(":trees", "'{1}'"),
        Login.OWNER,
    ),
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


def test_many_settlers_at_once_settle_each_event_once(world, monkeypatch):
    committed(
        world,
        lambda w: [
            w.request(key, f"{i}-{n}@example.org")
            for i, key in enumerate(w.keys(40))
            for n in range(5)
        ],
    )

    with settlers(monkeypatch, 6, batch=50):
        settle_at_once(6)

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
    assert (failed.status, failed.deaths) == ("failed", claims.MAX_DEATHS)
    assert "TEST-POISON-1" not in failed.error


def test_a_claim_whose_settler_died_is_taken_up_in_halves_at_once(world):
    events = committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(8))]
    )

    with at_work(world.parent, events):
        alive = settling.settle_batch(limit=500)
    after_its_death = settling.settle_batch(limit=500)

    assert alive == []
    assert after_its_death == ["redeemed"] * 4


def test_a_dead_settlers_claim_is_found_in_the_tree_that_its_root_was_moved_to(world):
    events = committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(8))]
    )
    with at_work(world.parent, events):
        pass
    with transaction_of() as opened:
        organizations.edit(
            opened, actor=OPERATOR, organization=str(world.parent), parent=str(world.sibling)
        )

    assert settling.settle_batch(limit=500) == ["redeemed"] * 4


def test_a_settler_whose_transaction_the_server_ended_changes_nothing(world):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))

    def decide_and_sleep() -> None:
        with transaction_of() as paused:
            assert settling._settle(paused, on=Round(), limit=10) == ["redeemed"]
            with transaction_of() as server:
                ended = text("SELECT pg_terminate_backend(:pid, 10000)")
                server.execute(ended, {"pid": paused.scalar(text("SELECT pg_backend_pid()"))})

    with pytest.raises(DatabaseAwayError):
        decide_and_sleep()

    assert outcomes(world) == {"recorded": 1}
    assert settling.settle_batch(limit=10) == ["redeemed"]


def test_a_claim_that_another_settler_released_blames_no_event(world):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))
    with transaction_of() as opened:
        claimed = claims.claim(opened, trees=[world.parent], limit=10)
        opened.execute(text("DELETE FROM settlement"))

        claims.release(opened, claimed, error="Too late.")

        assert opened.scalar(text("SELECT deaths FROM event")) == 0


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


def released_once(release):
    """The work releases a claim; there is no room to hand it back."""
    calls = iter([release])
    return lambda *args, **given: next(calls, no_room)(*args, **given)


def test_a_claim_that_cannot_be_handed_back_is_known_to_be_abandoned(world, monkeypatch):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(4))]
    )

    with monkeypatch.context() as patch:
        patch.setattr(deciding, "settle", no_room)
        patch.setattr(claims, "release", released_once(claims.release))
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
        assert settling._settle(opened, on=Round(), limit=20) == ["redeemed"] * 20
        read = opened.execute(
            text("SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables")
        ).all()

    grow = {"key", "event", "learner", "assignment", "redemption", "charge"}
    assert {row.relname for row in read if row.seq_scan and row.relname in grow} == set()
    assert next(row.idx_scan for row in read if row.relname == "key") >= 20


def test_a_batch_reads_no_more_assignments_where_the_course_has_more(world):
    committed(
        world, lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(100))]
    )
    fetched = text(
        "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'assignment'"
    )

    reads = []
    for _ in range(5):
        with transaction_of() as opened:
            before = opened.scalar(fetched)
            assert settling._settle(opened, on=Round(), limit=20) == ["redeemed"] * 20
            reads.append(opened.scalar(fetched) - before)

    assert reads == [reads[0]] * 5


def test_a_claim_does_not_wait_for_the_disk_and_a_decision_does(world):
    ask(world, 1)
    disk = text("SHOW synchronous_commit")

    with transaction_of() as claiming, transaction_of() as deciding_in:
        for opened in (claiming, deciding_in):
            opened.execute(text("SET LOCAL synchronous_commit = on"))
        claim = settling._claim(claiming, trees=[world.parent], limit=1)
        claiming_waits = claiming.scalar(disk)
        claiming.rollback()
        outcomes = settling._settle(deciding_in, on=Round(), limit=1)

        assert (len(claim.event_ids), claiming_waits) == (1, "off")
        assert (outcomes, deciding_in.scalar(disk)) == (["redeemed"], "on")


def test_a_key_that_somebody_holds_is_left_to_the_next_round(world, fresh_database):
    committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))

    with psycopg.connect(fresh_database.database_url.replace("+psycopg", "")) as holder:
        holder.execute("SELECT FROM key FOR UPDATE")
        while_held = settling.settle_batch(limit=10)
    afterwards = settling.settle_batch(limit=10)

    assert (while_held, afterwards) == ([], ["redeemed"])


def test_a_learner_whom_somebody_adds_meanwhile_is_met_in_the_next_try(world, fresh_database):
    event = committed(world, lambda w: w.request(w.keys(1)[0], "ann@example.org"))
    settler = threading.Thread(target=settling.settle_all)

    with psycopg.connect(fresh_database.database_url.replace("+psycopg", "")) as other:
        other.execute(
            "INSERT INTO learner (organization_id, email)"
            " SELECT learner_organization_id, 'Ann@Example.org' FROM event"
        )
        settler.start()
        assert eventually(somebody_waits_for_a_lock)
    settler.join()

    assert world.outcome(event) == "redeemed"
    assert world.figures("SELECT array_agg(email) AS emails FROM learner").emails == [
        "Ann@Example.org"
    ]


# Trees take turns, and settlers take different ones.


def ask(world: World, count: int) -> list[int]:
    """Record so many requests for keys of a world's tree."""
    return committed(
        world,
        lambda w: [w.request(key, f"{i}@example.org") for i, key in enumerate(w.keys(count))],
    )


@pytest.fixture
def another(world):
    with transaction_of() as opened:
        return worlds.build(opened)


def undecided_of(world: World) -> int:
    with transaction_of() as opened:
        return opened.scalar(
            text(
                "SELECT count(*) FROM event"
                " WHERE is_undecided(status, waits_for) AND organization_id = :id"
            ),
            {"id": world.parent},
        )


def test_a_settler_goes_past_a_tree_that_another_one_holds(world, another):
    held = ask(world, 3)
    ask(another, 3)

    with at_work(world.parent, held):
        settling.settle_all()
        while_held = undecided_of(world), undecided_of(another)
    settling.settle_all()

    assert while_held == (3, 0)
    assert (undecided_of(world), undecided_of(another)) == (0, 0)


def test_a_small_tree_waits_for_one_batch_of_a_huge_one_at_most(world, another):
    ask(world, 30)
    ask(another, 1)
    way = Round()

    settling.settle_batch(limit=10, on=way)
    after_one = undecided_of(world), undecided_of(another)
    settling.settle_batch(limit=10, on=way)

    assert after_one == (20, 1)
    assert undecided_of(another) == 0


def test_a_huge_tree_gets_its_share_of_a_batch_beside_many_small_ones(world, another):
    ask(world, 3)
    ask(another, 30)

    settled = settling.settle_batch(limit=10)

    assert settled == ["redeemed"] * 8
    assert (undecided_of(world), undecided_of(another)) == (0, 25)


def test_small_trees_share_a_batch(world, another):
    ask(world, 2)
    ask(another, 2)

    assert settling.settle_batch(limit=10) == ["redeemed"] * 4


def test_the_events_of_all_a_trees_organizations_are_decided_in_the_order_of_receipt(world):
    [key] = committed(world, lambda w: w.keys(1))
    with transaction_of() as opened:
        opened.execute(text("UPDATE pool SET share_with_children = true"))
        source = "INSERT INTO source (organization_id, name) VALUES (:id, 'own') RETURNING id"
        childs = opened.scalar(text(source), {"id": world.child})

    def race(w: World) -> tuple[int, int]:
        child = World(**{**w.__dict__, "parent": w.child, "source": childs})
        first = child.request(key, "child@example.org", organization=w.child)
        return first, w.request(key, "parent@example.org")

    first, second = committed(world, race)
    settling.settle_all()

    with transaction_of() as opened:
        told = World(**{**world.__dict__, "session": opened})
        assert (told.outcome(first), told.outcome(second)) == ("redeemed", "already_redeemed")


def test_a_poisonous_event_holds_up_no_other_tree(world, another):
    def poison(w: World) -> None:
        w.event("redemption.requested", POISON, organization=w.parent)

    committed(world, poison)
    ask(another, 3)

    retried = settling.settle_batch(limit=10)
    way = Round()
    alone = settling.settle_batch(limit=10, on=way)
    settling.settle_all()

    assert (retried, alone) == (["retried"], ["retried"])
    assert outcomes(world) == {"redeemed": 3, "failed": 1}


def test_no_more_settlers_work_at_once_than_the_setting_says(world, monkeypatch):
    ask(world, 1)

    with settlers(monkeypatch, 2), transaction_of() as one, transaction_of() as two:
        taken = [locks.take_settler(session, most=2) for session in (one, two)]
        settling.settle_all()
        left = undecided_of(world)
    settling.settle_all()

    assert taken == [True, True]
    assert (left, undecided_of(world)) == (1, 0)


def test_an_organization_that_left_its_tree_is_settled_where_it_is_now(world, another):
    ask(world, 2)
    with transaction_of() as opened:
        organizations.edit(
            opened, actor=OPERATOR, organization=str(world.parent), parent=str(another.parent)
        )

    with transaction_of() as holder:
        locks.take_trees(holder, [another.parent])
        while_held = settling.settle_batch(limit=10)

    assert while_held == []
    assert settling.settle_batch(limit=10) == ["redeemed"] * 2


def test_the_root_of_no_tree_any_more_is_not_claimed(world, another):
    # The settler found the root, and then the organization moved.
    ask(world, 1)
    with transaction_of() as opened:
        organizations.edit(
            opened, actor=OPERATOR, organization=str(world.parent), parent=str(another.parent)
        )

    with transaction_of() as opened:
        assert claims.claim(opened, trees=[world.parent], limit=10) is None


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


attempts_in_trees = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), attempt), min_size=10, max_size=40
)


@pytest.mark.parametrize("count", [1, 2, 8])
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(attempts=attempts_in_trees)
def test_several_settlers_decide_each_tree_as_if_one_by_one(
    fresh_database, monkeypatch, count, attempts
):
    """Three trees; an attempt comes from one and names a key of its own or of another."""
    with transaction_of() as opened:
        trees = [worlds.build(opened) for _ in range(3)]
        codes = [[*build_pools(opened, tree), "NO-SUCH-KEY-AT-ALL"] for tree in trees]
        events = [
            trees[home].request(
                codes[to][key],
                email,
                organization={"parent": trees[home].parent}.get(place, trees[home].child),
            )
            for home, to, (key, email, place) in attempts
        ]
    models = [Model(POOLS) for _ in trees]
    expected = [
        models[home].decide(key, email, "parent" if place == "parent" else "child")
        if home == to or key == len(POOLS)
        else "of another tree"
        for home, to, (key, email, place) in attempts
    ]

    with settlers(monkeypatch, count, batch=7):
        settle_at_once(count)

    with transaction_of() as opened:
        decided = [World(**{**trees[0].__dict__, "session": opened}).outcome(one) for one in events]
    # Whose key is spent meanwhile is told either way: refused it is in any case.
    foreign = {"already_redeemed", "not_available_to_organization"}
    assert [
        "of another tree" if wanted == "of another tree" and told in foreign else told
        for told, wanted in zip(decided, expected, strict=True)
    ] == expected
    assert connections.transaction(auditing.audit)["ok"]


def undecided(session: Session, events: list[int]) -> list[int]:
    return list(
        session.scalars(
            text("SELECT id FROM event WHERE id = ANY (:ids) AND status = 'recorded'"),
            {"ids": events},
        )
    )
