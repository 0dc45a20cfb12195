import csv
import io
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import Addresses
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.pools import batches, codes, distributions, exporting, keys, pools, retiring
from worker.pools.keys import Filters
from worker.redemption import deciding, trouble
from worker.tables.labels import KeyState
from worker.tenancy.actors import Actor, Role

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def add(world: World, *lines: str) -> dict:
    return keys.add_keys(world.session, actor=OPERATOR, pool=world.pool, codes=lines)


def results(report: dict) -> list[tuple[int, str]]:
    return [(line["line"], line["result"]) for line in report["refused"]]


def figures(world: World) -> dict[str, int]:
    return pools.show(world.session, actor=OPERATOR, pool=world.pool)["keys"]


def redeem(world: World, code: str, email: str, **options) -> None:
    world.request(code, email, **options)
    waiting = world.figures("SELECT array_agg(id) AS ids FROM event WHERE status = 'recorded'").ids
    deciding.settle(world.session, event_ids=waiting)


@pytest.fixture
def exported(fresh_database: Addresses):
    """Export a committed world's pool, as rows under their header."""

    def rows(world: World, **filters) -> list[dict[str, str]]:
        with connections.session(snapshot=True) as opened:
            wanted = Filters(**filters)
            blocks = exporting.export(opened, actor=OPERATOR, pool=world.pool, filters=wanted)
            written = b"".join(blocks).decode()
        return list(csv.DictReader(io.StringIO(written, newline="")))

    return rows


@pytest.fixture
def committed(fresh_database: Addresses) -> World:
    """A world that other transactions see; the test's own are made with `database.transaction`."""
    with connections.session() as opened:
        return worlds.build(opened)


# Adding


def test_each_line_comes_to_its_own_result(world):
    add(world, "AAAA-0001")

    report = add(world, "AAAA-0002", "aaaa 0001", "=1+1", "", "aaaa.0002", "AAAA-0003")

    assert (report["batch"], report["added"]) == (None, 2)
    assert results(report) == [
        (2, "already_exists"),
        (3, "invalid"),
        (5, "duplicate_in_input"),
    ]
    counts = [report[result] for result in ("duplicate_in_input", "already_exists", "invalid")]
    assert counts == [1, 1, 1]


def test_a_refused_line_says_why(world):
    report = add(world, "AAAA-0001", "AAAA-0001", "=1+1")

    assert [(line["code"], line["reason"]) for line in report["refused"]] == [
        ("AAAA-0001", "An earlier line has the same key."),
        (
            "=1+1",
            "“=” cannot be in a key; use letters, digits, hyphens, underscores, dots and spaces.",
        ),
    ]


def test_a_line_after_one_that_exists_already_is_a_duplicate(world):
    add(world, "AAAA-0001")

    assert results(add(world, "AAAA-0001", "aaaa0001")) == [
        (1, "already_exists"),
        (2, "duplicate_in_input"),
    ]


def test_a_key_is_unique_in_the_whole_system(world):
    add(world, "AAAA-0001")
    elsewhere = worlds.build(world.session)

    assert results(add(elsewhere, "AAAA_0001")) == [(1, "already_exists")]


def test_a_code_is_kept_as_it_was_supplied(world):
    add(world, "  aaaa.Bbbb_1  ")

    (key,) = keys.listing(world.session, actor=OPERATOR, pool=world.pool).items

    assert key["code"] == "aaaa.Bbbb_1"


def test_up_to_500_lines_are_added_at_once_and_more_are_a_batch(world):
    at_once = add(world, *[f"AAAA-{n:04}" for n in range(500)])
    queued = add(world, *[f"BBBB-{n:04}" for n in range(501)])

    assert (at_once["batch"], at_once["added"]) == (None, 500)
    assert (queued["batch"] is not None, queued["added"]) == (True, 0)
    assert figures(world)["issued"] == 500


def test_nothing_to_add_is_refused(world):
    with pytest.raises(errors.InvalidInputError, match="nothing in the input"):
        add(world, "", "  ")


@pytest.mark.parametrize("pool", ["no such pool", "999999", ""])
def test_an_unknown_pool_is_not_found(world, pool):
    with pytest.raises(errors.NotFoundError, match="There is no pool"):
        keys.add_keys(world.session, actor=OPERATOR, pool=pool, codes=["AAAA-0001"])


def test_a_foreign_pool_is_as_unknown_as_one_that_is_not_there(world):
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError, match="There is no pool"):
        keys.add_keys(world.session, actor=stranger, pool=world.pool, codes=["AAAA-0001"])


def test_only_managers_add_keys(world):
    analyst = Actor("analyst", Role.ANALYST, world.parent)

    with pytest.raises(errors.ForbiddenError):
        keys.add_keys(world.session, actor=analyst, pool=world.pool, codes=["AAAA-0001"])


def test_a_file_hands_its_keys_to_their_recipients(world):
    content = (
        b"key,email,name,order\nAAAA-0001,a@example.com,Ann,A-1\nAAAA-0002,A@EXAMPLE.com,,A-1\n"
    )

    keys.import_keys(world.session, actor=OPERATOR, pool=world.pool, stream=io.BytesIO(content))

    (held,) = distributions.listing(world.session, actor=OPERATOR, pool=world.pool).items
    assert (held["recipient"], held["name"], held["reference"], held["given"]) == (
        "a@example.com",
        "Ann",
        "A-1",
        2,
    )
    assert figures(world)["distributed"] == 2


@pytest.mark.parametrize("at_once", [500, 0])
def test_whoever_has_a_later_line_of_the_same_key_is_handed_nothing(world, monkeypatch, at_once):
    monkeypatch.setattr(keys, "AT_ONCE", at_once)
    content = b"key,email\nAAAA-0001,a@example.com\naaaa 0001,b@example.com\n"

    keys.import_keys(world.session, actor=OPERATOR, pool=world.pool, stream=io.BytesIO(content))
    while batches.work_chunk(world.session) is not None:
        pass

    (held,) = distributions.listing(world.session, actor=OPERATOR, pool=world.pool).items
    assert (held["recipient"], held["given"]) == ("a@example.com", 1)


def test_who_was_to_have_a_key_that_exists_already_gets_none(world):
    add(world, "AAAA-0001")
    content = b"key,email\nAAAA-0001,a@example.com\n"

    keys.import_keys(world.session, actor=OPERATOR, pool=world.pool, stream=io.BytesIO(content))

    assert distributions.listing(world.session, actor=OPERATOR, pool=world.pool).items == []


def test_two_who_add_the_same_keys_at_once_add_each_key_once(committed):
    lines = [f"AAAA-{n:04}" for n in range(400)]
    reports = []

    def adding(codes_: list[str]) -> None:
        reports.append(
            connections.transaction(
                keys.add_keys, actor=OPERATOR, pool=committed.pool, codes=codes_
            )
        )

    racers = [threading.Thread(target=adding, args=[order]) for order in (lines, lines[::-1])]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert sum(report["added"] for report in reports) == 400
    assert sum(report["already_exists"] for report in reports) == 400


# Listing and showing


def test_keys_are_listed_in_pages(world):
    add(world, *[f"AAAA-{n:04}" for n in range(5)])

    first = keys.listing(world.session, actor=OPERATOR, pool=world.pool, limit=3)
    rest = keys.listing(world.session, actor=OPERATOR, pool=world.pool, after=first.next)

    assert (len(first.items), len(rest.items), rest.next) == (3, 2, None)


def test_an_issued_key_has_the_fields_of_its_shape(world):
    add(world, "AAAA-0001")

    (key,) = keys.listing(world.session, actor=OPERATOR, pool=world.pool).items

    assert key == {
        "id": str(keys.find(world.session, actor=OPERATOR, code="AAAA-0001").id),
        "code": "AAAA-0001",
        "pool": world.pool,
        "state": "issued",
        "recipient": None,
        "reference": None,
        "distributed_at": None,
        "redeemed_by": None,
        "redeemed_at": None,
        "assignment": None,
        "labels": [],
    }


def test_a_redeemed_key_says_by_whom(world):
    add(world, "AAAA-0001", "AAAA-0002")
    redeem(world, "AAAA-0001", "Ann@example.org")

    spent = Filters(state=KeyState.REDEEMED)
    page = keys.listing(world.session, actor=OPERATOR, pool=world.pool, filters=spent)

    (key,) = page.items
    assert (key["code"], key["redeemed_by"]) == ("AAAA-0001", "Ann@example.org")
    assert key["redeemed_at"] is not None
    assert key["assignment"] is not None


@pytest.mark.parametrize("typed", ["aaaa 0001", "AAAA0001", " a-a-a-a-0.0_01 "])
def test_a_key_is_shown_however_it_is_typed(world, typed):
    add(world, "AAAA-0001")

    assert trouble.show(world.session, actor=OPERATOR, code=typed)["code"] == "AAAA-0001"


def generated(world: World) -> str:
    """Generate keys until one has a 0 or a 1 in it, and give that one."""
    batches.generate(world.session, actor=OPERATOR, pool=world.pool, count=50)
    while batches.work_chunk(world.session) is not None:
        pass
    page = keys.listing(world.session, actor=OPERATOR, pool=world.pool)
    return next(key["code"] for key in page.items if {"0", "1"} & set(key["code"]))


def test_a_generated_key_is_shown_though_letters_were_read_for_digits(world):
    code = generated(world)

    shown = trouble.show(
        world.session, actor=OPERATOR, code=code.replace("0", "O").replace("1", "I")
    )

    assert shown["code"] == code


def test_a_supplied_key_is_not_guessed_at(world):
    add(world, "AAAA-0001")

    with pytest.raises(errors.NotFoundError):
        trouble.show(world.session, actor=OPERATOR, code="AAAA-OOOI")


def test_the_key_of_a_code_is_found_by_looks_into_its_index_alone(world):
    generated(world)
    world.session.execute(text("SET LOCAL enable_seqscan = off"))

    plan = "\n".join(
        world.session.scalars(
            text("""EXPLAIN (ANALYZE, COSTS OFF)
                    SELECT meant.id FROM (SELECT canonical FROM key) AS typed
                     CROSS JOIN LATERAL meant_key(typed.canonical) AS meant""")
        )
    )

    assert "Function Scan" not in plan  # it is inlined
    assert plan.count("Index Scan using key_is_unique_in_the_whole_system") == 2
    assert "Index Searches: 0" in plan  # none for a lookalike, where the code itself is a key


def test_a_mistyped_key_is_called_so_and_never_repeated_whole(world):
    code = codes.canonical(generated(world))
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")

    with pytest.raises(errors.NotFoundError, match="mistyped") as refused:
        trouble.show(world.session, actor=OPERATOR, code=wrong)

    assert wrong not in str(refused.value)


def test_a_foreign_key_is_as_unknown_as_one_that_is_not_there(world):
    add(world, "AAAA-0001")
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError, match="There is no key “AAAA…”"):
        trouble.show(world.session, actor=stranger, code="AAAA-0001")


def test_showing_a_key_tells_its_attempts_and_what_would_happen_now(world):
    add(world, "AAAA-0001")
    redeem(world, "AAAA-0001", "ann@example.org")

    shown = trouble.show(world.session, actor=OPERATOR, code="AAAA-0001", dry_run="Bob@example.org")

    assert [(a["learner"], a["outcome"]) for a in shown["attempts"]] == [
        ("ann@example.org", "redeemed")
    ]
    assert (shown["dry_run"]["learner"], shown["dry_run"]["outcome"]) == (
        "bob@example.org",
        "already_redeemed",
    )


def test_a_dry_run_changes_nothing(world):
    add(world, "AAAA-0001")

    shown = trouble.show(world.session, actor=OPERATOR, code="AAAA-0001", dry_run="ann@example.org")

    assert shown["dry_run"]["outcome"] == "redeemed"
    assert figures(world)["redeemed"] == 0


def test_a_dry_run_is_for_the_organization_in_which_the_learner_is_known(world):
    add(world, "AAAA-0001")
    world.session.execute(
        text("INSERT INTO learner (organization_id, email) VALUES (:id, 'kim@example.org')"),
        {"id": world.child},
    )

    shown = trouble.show(world.session, actor=OPERATOR, code="AAAA-0001", dry_run="KIM@example.org")

    assert shown["dry_run"]["outcome"] == "not_available_to_organization"


# Retiring


def test_issued_keys_are_retired(world):
    add(world, "AAAA-0001", "AAAA-0002", "AAAA-0003")

    retired = retiring.retire(world.session, actor=OPERATOR, codes=["aaaa0001", "AAAA-0003"])

    assert retired["retired"] == 2
    assert [(item["key"], item["result"]) for item in retired["items"]] == [
        ("aaaa0001", "retired"), ("AAAA-0003", "retired")
    ]  # fmt: skip
    assert figures(world) == {"issued": 1, "distributed": 0, "redeemed": 0, "retired": 2}


@pytest.mark.parametrize("state", ["redeemed", "retired"])
def test_each_of_many_codes_is_retired_or_refused_for_itself(world, state):
    add(world, "AAAA-0001", "BBBB-0002")
    if state == "redeemed":
        redeem(world, "AAAA-0001", "ann@example.org")
    else:
        retiring.retire_one(world.session, actor=OPERATOR, code="AAAA-0001")

    told = retiring.retire(
        world.session, actor=OPERATOR, codes=["AAAA-0001", "BBBB-0002", "bbbb0002", "ZZZZ-0001"]
    )

    assert told["retired"] == 1
    assert [(item["result"], item["code"]) for item in told["items"]] == [
        ("refused", "key_not_issued"),
        ("retired", None),
        ("refused", "duplicate_in_input"),
        ("refused", "not_found"),
    ]
    assert told["items"][0]["reason"].startswith(f"The key “AAAA…” is {state} already")
    assert figures(world)["issued"] == 0


@pytest.mark.parametrize("state", ["redeemed", "retired"])
def test_one_key_that_is_spent_cannot_be_retired(world, state):
    add(world, "AAAA-0001")
    if state == "redeemed":
        redeem(world, "AAAA-0001", "ann@example.org")
    else:
        retiring.retire_one(world.session, actor=OPERATOR, code="AAAA-0001")

    with pytest.raises(errors.KeyNotIssuedError, match=f"“AAAA…” is {state} already"):
        retiring.retire_one(world.session, actor=OPERATOR, code="AAAA-0001")


def test_a_generated_key_is_retired_though_letters_were_read_for_digits(world):
    code = generated(world)

    told = retiring.retire(
        world.session, actor=OPERATOR, codes=[code.replace("0", "O").replace("1", "I")]
    )

    assert told["retired"] == 1
    assert trouble.show(world.session, actor=OPERATOR, code=code)["state"] == "retired"


def test_the_history_knows_who_retired_a_key_and_not_its_code(world):
    add(world, "AAAA-0001")

    retiring.retire_one(world.session, actor=OPERATOR, code="AAAA-0001")

    act = world.figures("SELECT actor, detail FROM history WHERE action = 'key retired'")
    assert (act.actor, act.detail) == (OPERATOR.name, {"pool": world.pool})
    assert (
        world.figures("SELECT count(*) AS n FROM history WHERE detail::text LIKE '%AAAA%'").n == 0
    )


# Exporting


def test_an_export_has_its_header_and_a_line_a_key(committed, exported):
    with connections.session() as opened:
        keys.add_keys(opened, actor=OPERATOR, pool=committed.pool, codes=["AAAA-0001"])

    (row,) = exported(committed)

    assert ",".join(row) == exporting.HEADER.strip()
    assert [row["code"], row["state"], *list(row.values())[2:]] == [
        "AAAA-0001",
        "issued",
        *[""] * 8,
    ]


def test_an_export_of_an_empty_pool_is_its_header(committed, exported):
    assert exported(committed) == []


def test_an_export_tells_who_redeemed_and_when_access_ends(committed, exported):
    with connections.session() as opened:
        world = World(opened, *list(vars(committed).values())[1:])
        add(world, "AAAA-0001")
        redeem(world, "AAAA-0001", "ann@example.org")

    (row,) = exported(committed)

    assert (row["state"], row["redeemed_by_email"], row["redeemed_by_name"]) == (
        "redeemed",
        "ann@example.org",
        "Ann",
    )
    assert row["redeemed_by_organization"].startswith("Parent ")
    assert row["redeemed_at"].endswith("Z")
    assert row["redeemed_at"] < row["access_expires_at"]


NASTY = [
    "=1+1",
    "+49 30 1",
    "-cmd",
    "@SUM(A1)",
    "＝1+1",
    '=HYPERLINK("http://x","y")',
    'a"b',
    "a;b",
]


def test_no_cell_of_an_export_is_a_formula(committed, exported):
    with connections.session() as opened:
        keys.add_keys(
            opened, actor=OPERATOR, pool=committed.pool, codes=[f"AAAA-{n:04}" for n in range(20)]
        )
        for recipient in NASTY:
            distributions.distribute(
                opened,
                actor=OPERATOR,
                pool=committed.pool,
                recipient=recipient,
                reference=recipient,
            )

    rows = exported(committed)

    assert [c for row in rows for c in row.values() if c.lstrip().startswith(FORMULA)] == []
    shown = {row["recipient"].removeprefix("'") for row in rows} - {""}
    assert shown == set(NASTY)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"state": "retired"}, [4]),
        ({"undistributed": True}, [3, 4]),
        ({"state": "issued", "undistributed": True}, [3]),
        ({"recipient": "SHOP@example.com"}, [0, 1, 2]),
        ({"recipient": "shop@example.com", "reference": "A-1"}, [0, 1]),
        ({"reference": "A-2"}, [2]),
        ({"recipient": "nobody@example.com"}, []),
    ],
)
def test_an_export_is_filtered(committed, exported, filters, expected):
    with connections.session() as opened:
        keys.add_keys(
            opened, actor=OPERATOR, pool=committed.pool, codes=[f"AAAA-000{n}" for n in range(5)]
        )
        for reference, count in [("A-1", 2), ("A-2", 1)]:
            distributions.distribute(
                opened,
                actor=OPERATOR,
                pool=committed.pool,
                recipient="shop@example.com",
                reference=reference,
                count=count,
            )
        retiring.retire(opened, actor=OPERATOR, codes=["AAAA-0004"])

    rows = exported(committed, **filters)

    assert [row["code"] for row in rows] == [f"AAAA-000{n}" for n in expected]


def test_an_export_is_of_one_moment_though_it_comes_in_blocks(committed, monkeypatch):
    monkeypatch.setattr(exporting, "BLOCK", 2)
    first = [f"AAAA-000{n}" for n in range(5)]
    connections.transaction(keys.add_keys, actor=OPERATOR, pool=committed.pool, codes=first)

    with connections.session(snapshot=True) as opened:
        blocks = exporting.export(opened, actor=OPERATOR, pool=committed.pool)
        header, begun = next(blocks), next(blocks)
        connections.transaction(
            keys.add_keys, actor=OPERATOR, pool=committed.pool, codes=["BBBB-0001"]
        )
        connections.transaction(retiring.retire, actor=OPERATOR, codes=["AAAA-0004"])
        rest = list(blocks)

    rows = (begun + b"".join(rest)).decode().splitlines()
    assert header.decode() == exporting.HEADER
    assert [row.split(",")[:2] for row in rows] == [[code, "issued"] for code in first]


def test_an_export_needs_a_snapshot(world):
    with pytest.raises(RuntimeError, match="snapshot=True"):
        exporting.export(world.session, actor=OPERATOR, pool=world.pool)


class Watched(io.BytesIO):
    """A file that notes how long its session may idle each time it is read."""

    def __init__(self, content: bytes, session: Session) -> None:
        super().__init__(content)
        self._session = session
        self.allowed: list[str] = []

    def read(self, *args) -> bytes:
        self.allowed.append(idle_timeout(self._session))
        return super().read(*args)


def idle_timeout(session: Session) -> str:
    return session.scalar(text("SHOW idle_in_transaction_session_timeout"))


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_session_may_idle_while_a_long_file_is_looked_at_and_no_longer(world, dry_run):
    world.session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '15s'"))
    file = Watched(b"IDLE-0001\nIDLE-0002\n", world.session)

    keys.import_keys(world.session, actor=OPERATOR, pool=world.pool, stream=file, dry_run=dry_run)

    assert file.allowed[-1] == "0"
    assert idle_timeout(world.session) == "15s"
