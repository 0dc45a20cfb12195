import csv
import io
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.bulk import bulk_acts, previewing, selecting
from worker.bulk.selecting import Assignments, Keys, Selection
from worker.learning import assignments, cancelling
from worker.learning.assignments import Filters
from worker.outgoing import composing
from worker.pools import distributions, keys
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def redeemed(world: World, count: int) -> list[str]:
    return [world.redeemed(f"learner{n}@example.org") for n in range(count)]


def manager(world: World, organization: int | None = None) -> Actor:
    return Actor("user ann@example.org", Role.MANAGER, organization or world.parent)


def ask(world: World, selection: Selection, act: str = "extend", actor=None, **fields):
    known = {name: fields.pop(name) for name in ("expected", "asked_as") if name in fields}
    if act == "extend":
        fields.setdefault("by_days", 10)
    return bulk_acts.ask(
        world.session,
        actor=actor or manager(world),
        act=act,
        selection=selection,
        fields=fields,
        **known,
    )


def some(ids) -> Selection:
    return Assignments(selecting.named(ids))


def of_pool(world: World) -> Selection:
    return Assignments(filters=Filters(pool=world.pool))


def rows(world: World, act, **filters):
    return bulk_acts.rows(world.session, actor=manager(world), act=act["id"], **filters).items


def end(world: World, assignment: str):
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)["expires_at"]


def test_each_row_has_its_result_and_a_refused_one_does_not_hold_up_the_others(world):
    ann, bob, eve = redeemed(world, 3)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=bob)
    before = end(world, ann)

    act = ask(world, some([eve, bob, ann, "999999999", ann]))

    assert (act["state"], act["requested"], act["done"], act["refused"]) == ("done", 4, 2, 2)
    assert end(world, ann) == before + timedelta(days=10)
    told = {row["id"]: row["code"] or row["result"] for row in rows(world, act)}
    assert told == {ann: "done", bob: "assignment_cancelled", eve: "done", "999999999": "not_found"}
    assert [row["id"] for row in rows(world, act, refused=True)] == [bob, "999999999"]
    [first, *_] = rows(world, act)
    assert first["name"].startswith("learner0@example.org, ")
    assert first["words"].startswith("Access lasts until ")


def test_all_that_fit_are_those_that_fit_when_it_is_asked_for(world):
    redeemed(world, 2)
    costs = previewing.preview(
        world.session, actor=manager(world), act="extend", selection=of_pool(world)
    )
    world.redeemed("late@example.org")

    act = ask(world, of_pool(world), expected=costs["requested"])

    assert (act["expected"], act["requested"], act["done"]) == (2, 3, 3)


def test_what_is_sent_again_is_not_done_again(world):
    [ann] = redeemed(world, 1)
    before = end(world, ann)

    first = ask(world, some([ann]), asked_as="form 1")
    again = ask(world, some([ann]), asked_as="form 1")
    other = ask(world, some([ann]), asked_as="form 2")

    assert (again, other["id"] != first["id"]) == (first, True)
    assert end(world, ann) == before + timedelta(days=20)


def test_more_rows_than_at_once_are_the_workers_and_stay_done_where_it_is_cancelled(
    world, monkeypatch
):
    ids = redeemed(world, 5)
    ends = [end(world, one) for one in ids]
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 4)
    monkeypatch.setattr(bulk_acts, "CHUNK", 2)

    queued = ask(world, of_pool(world))
    chunks = [bulk_acts.work_chunk(world.session) for _ in range(2)]
    running = bulk_acts.show(world.session, actor=manager(world), act=queued["id"])
    waiting = rows(world, queued)[-1]
    stopped = bulk_acts.cancel(world.session, actor=manager(world), act=queued["id"])

    assert (queued["state"], queued["worked"], chunks) == ("queued", 0, [2, 2])
    assert (running["state"], running["worked"], waiting["result"]) == ("running", 4, None)
    assert (stopped["state"], bulk_acts.work_chunk(world.session)) == ("cancelled", None)
    later = [end(world, one) > before for one, before in zip(ids, ends, strict=True)]
    assert later == [True] * 4 + [False]
    with pytest.raises(errors.BatchFinishedError):
        bulk_acts.cancel(world.session, actor=manager(world), act=queued["id"])


def test_the_worker_ends_what_it_began_and_its_report_has_every_row(world, monkeypatch):
    ids = redeemed(world, 3)
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 1)
    monkeypatch.setattr(bulk_acts, "CHUNK", 2)

    act = ask(world, of_pool(world), act="cancel", reason="=moved()")
    while bulk_acts.work_chunk(world.session) is not None:
        pass
    written = bulk_acts.report_csv(world.session, actor=manager(world), act=act["id"])

    table = list(csv.DictReader(io.StringIO(b"".join(written).decode())))
    assert [line["id"] for line in table] == ids
    assert {line["result"] for line in table} == {"done"}
    assert all("49.90 EUR is credited" in line["words"] for line in table)
    done = bulk_acts.show(world.session, actor=manager(world), act=act["id"])
    assert (done["state"], done["done"]) == ("done", 3)


def test_a_chunk_that_fails_is_tried_again_and_given_up_after_five_times(world, monkeypatch):
    redeemed(world, 2)
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 1)
    act = ask(world, of_pool(world))

    def broken(*_):
        raise errors.BusyError

    broken_act = replace(bulk_acts.ACTS[bulk_acts.Kind.EXTEND], does=broken)
    monkeypatch.setattr(bulk_acts, "ACTS", {bulk_acts.Kind.EXTEND: broken_act})
    tried = []
    for _ in range(5):
        tried.append(bulk_acts.work_chunk(world.session))
        at_once = bulk_acts.work_chunk(world.session)
        pass_time(world.session, days=1)

    failed = bulk_acts.show(world.session, actor=manager(world), act=act["id"])
    assert (tried, at_once) == ([0] * 5, None)
    assert (failed["state"], failed["worked"], failed["error"]) == ("failed", 0, "BusyError")


def test_what_cancelling_credits_and_what_stays_charged_is_said_before(world):
    ids = redeemed(world, 4)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=ids[3])
    world.launched(ids[0])

    costs = previewing.preview(
        world.session,
        actor=manager(world),
        act="cancel",
        selection=some([*ids, "999999999"]),
    )

    assert (costs["requested"], costs["refused"]) == (5, 2)
    assert costs["credited"] == [{"currency": "EUR", "count": 2, "amount": "99.80"}]
    assert costs["kept"] == [{"currency": "EUR", "count": 1, "amount": "49.90"}]
    [share] = costs["pools"]
    assert (share["pool"], share["count"]) == (world.pool, 4)


def test_a_price_for_each_is_said_before_and_charged_to_the_pools_owner(world):
    ids = redeemed(world, 2)

    costs = previewing.preview(
        world.session, actor=manager(world), act="extend", selection=some(ids)
    )
    act = ask(world, some(ids), price="5.00")

    assert [(one["currency"], one["count"]) for one in costs["chargeable"]] == [("EUR", 2)]
    charged = "SELECT count(*) AS n, sum(amount) AS s FROM charge WHERE kind = 'extension' AND pool_id = :p"
    figures = world.figures(charged, p=int(world.pool))
    assert (act["done"], figures.n, str(figures.s)) == (2, 2, "10.0000")


def test_strangers_see_neither_the_rows_nor_the_act(world):
    ids = redeemed(world, 1)
    act = ask(world, some(ids))
    stranger = manager(world, world.sibling)

    for asked in (
        lambda: ask(world, some(ids), actor=stranger),
        lambda: bulk_acts.show(world.session, actor=stranger, act=act["id"]),
        lambda: previewing.preview(
            world.session, actor=stranger, act="extend", selection=some(ids)
        ),
    ):
        with pytest.raises(errors.NotFoundError):
            asked()
    assert bulk_acts.listing(world.session, actor=stranger).items == []


@pytest.mark.parametrize(
    ("act", "fields", "field"),
    [
        ("extend", {"by_days": None}, "until"),
        ("extend", {"by_days": 3, "until": "2099-01-01"}, "until"),
        ("extend", {"by_days": 0}, "by_days"),
        ("extend", {"by_days": None, "until": "01.02.2099"}, "until"),
        ("extend", {"price": "a lot"}, "price"),
        ("extend", {"price": "NaN"}, "price"),
        ("burn", {}, "act"),
    ],
)
def test_what_is_wrong_for_every_row_is_refused_before_any_is_touched(world, act, fields, field):
    ids = redeemed(world, 1)

    with pytest.raises(errors.InvalidInputError) as refused:
        ask(world, some(ids), act=act, **fields)

    assert refused.value.field == field
    assert bulk_acts.listing(world.session, actor=manager(world)).items == []


@pytest.mark.parametrize("ids", [[], ["ann"], ["", "7"], ["1"] * 10_001, ["9" * 30]])
def test_a_selection_names_ids_and_not_too_many(ids):
    with pytest.raises(errors.InvalidInputError):
        selecting.named(ids)


@pytest.mark.parametrize("role", [Role.ANALYST, Role.FINANCE, Role.SENDER])
def test_only_managers_act_on_many(world, role):
    ids = redeemed(world, 1)

    with pytest.raises(errors.ForbiddenError):
        ask(world, some(ids), actor=Actor("token 9", role, world.parent))


# -------------------------------------------------------------------------------------------- keys


def key_ids(world: World, codes) -> list[str]:
    found = world.session.execute(
        text("SELECT id FROM key WHERE code = ANY (:codes) ORDER BY id"), {"codes": list(codes)}
    )
    return [str(row.id) for row in found]


def of_keys(world: World, ids=(), **filters) -> Keys:
    return Keys(world.pool, tuple(map(int, ids)), keys.Filters(**filters))


def shown(world: World, code: str):
    return world.figures(
        "SELECT key.state, recipient, reference FROM key LEFT JOIN distribution"
        " ON distribution.id = distribution_id WHERE code = :code",
        code=code,
    )


def test_keys_are_retired_but_for_those_that_are_not_issued_or_not_of_the_pool(world):
    codes = world.keys(3)
    world.redeemed("ann@example.org", codes[1])
    elsewhere = worlds.build(world.session)
    foreign = key_ids(world, elsewhere.keys(1))
    ids = key_ids(world, codes)

    costs = previewing.preview(
        world.session, actor=manager(world), act="retire", selection=of_keys(world, ids)
    )
    act = ask(world, of_keys(world, [*ids, *foreign]), act="retire")

    assert (costs["requested"], costs["refused"], costs["held"]) == (3, 1, 0)
    told = {row["id"]: row["code"] or row["result"] for row in rows(world, act)}
    assert told == {
        ids[0]: "done",
        ids[1]: "key_not_issued",
        ids[2]: "done",
        foreign[0]: "not_found",
    }
    assert [row["name"] for row in rows(world, act)] == [*codes, None]


def test_keys_are_given_to_one_recipient_but_for_those_that_somebody_holds(world):
    codes = world.keys(3)
    ids = key_ids(world, codes)
    distributions.distribute(
        world.session, actor=manager(world), pool=world.pool, recipient="bob@example.org"
    )

    costs = previewing.preview(
        world.session, actor=manager(world), act="distribute", selection=of_keys(world, ids)
    )
    given = {"recipient": "Ann@example.org", "reference": "PO-1"}
    act = ask(world, of_keys(world), act="distribute", **given)
    again = ask(world, of_keys(world, ids), act="distribute", **given)

    assert (costs["refused"], costs["when_redeemed"][0]["amount"]) == (1, "99.80")
    assert (act["done"], act["refused"], again["done"]) == (2, 1, 2)
    assert "ann" not in str(act["how"]).lower()
    held = shown(world, codes[2])
    assert (held.recipient.lower(), held.reference) == ("ann@example.org", "PO-1")
    assert shown(world, codes[0]).recipient == "bob@example.org"
    [entry] = [
        one
        for one in history.listing(world.session, actor=manager(world)).items
        if one["action"] == "keys distributed" and one["detail"]["reference"] == "PO-1"
    ]
    assert entry["detail"]["count"] == 2


def test_keys_are_replaced_as_long_as_the_pool_has_others(world):
    world.keys(3)
    made = distributions.distribute(
        world.session, actor=manager(world), pool=world.pool, recipient="bob@example.org", count=2
    )
    ids = key_ids(world, made["keys"])

    costs = previewing.preview(
        world.session, actor=manager(world), act="replace", selection=of_keys(world, ids)
    )
    act = ask(world, of_keys(world, recipient="bob@example.org"), act="replace", reason="Torn card")

    assert (costs["refused"], costs["free"], costs["held"]) == (0, 1, 2)
    [first, second] = rows(world, act)
    assert (first["result"], second["code"]) == ("done", "not_enough_keys")
    new = first["words"].split()[0]
    assert shown(world, new).recipient == "bob@example.org"
    assert shown(world, made["keys"][0]).state == "retired"


@pytest.mark.parametrize(
    ("act", "fields", "field"),
    [
        ("replace", {}, "reason"),
        ("distribute", {}, "recipient"),
        ("distribute", {"recipient": "ann@exa mple.org"}, "recipient"),
        ("extend", {"by_days": 1}, "act"),
    ],
)
def test_what_is_wrong_for_every_key_is_refused_before_any_is_touched(world, act, fields, field):
    world.keys(1)

    with pytest.raises(errors.InvalidInputError) as refused:
        ask(world, of_keys(world), act=act, **fields)

    assert refused.value.field == field


def test_what_was_recalled_is_not_given_again_under_the_same_reference(world):
    codes = world.keys(2)
    given = {"recipient": "ann@example.org", "reference": "PO-1"}
    distributions.distribute(world.session, actor=manager(world), pool=world.pool, **given)
    distributions.recall(world.session, actor=manager(world), pool=world.pool, **given)

    act = ask(world, of_keys(world, key_ids(world, codes[1:])), act="distribute", **given)

    assert [row["code"] for row in rows(world, act)] == ["distribution_recalled"]


# ------------------------------------------------------------------------------------------- mails


def mails(world: World, kind: str):
    return world.session.execute(
        text("SELECT recipient, organization_id, data FROM message WHERE kind = :kind ORDER BY id"),
        {"kind": kind},
    ).all()


def remind(world: World, ids, mail="access_unlaunched", **who):
    return ask(world, some(ids), act="remind", mail=mail, **who)


def test_learners_are_mailed_once_an_occasion_but_for_those_who_begun_or_want_none(world):
    ann, bob, eve, over = redeemed(world, 4)
    world.launched(bob)
    world.session.execute(
        text("INSERT INTO unsubscribed VALUES (:parent, 'learner2@example.org')"),
        {"parent": world.parent},
    )
    cancelling.cancel(world.session, actor=OPERATOR, assignment=over)
    everybody = [ann, bob, eve, over]

    costs = previewing.preview(
        world.session, actor=manager(world), act="remind", selection=some(everybody)
    )
    act = remind(world, everybody)
    again = remind(world, everybody)
    pass_time(world.session, days=2)
    ending = remind(world, [ann], mail="access_ending")

    assert (costs["requested"], costs["refused"], costs["credited"]) == (4, 1, [])
    assert [row["result"] for row in rows(world, act)] == ["done", *["refused"] * 3]
    assert (again["done"], ending["done"]) == (0, 1)
    [mail] = mails(world, "access_unlaunched")
    assert (mail.recipient, mail.organization_id) == ("learner0@example.org", world.parent)
    assert len(mails(world, "access_ending")) == 1


def test_a_mail_about_access_says_what_a_reminder_says(world):
    [ann] = redeemed(world, 1)

    remind(world, [ann])

    [message] = world.session.scalars(
        text("SELECT id FROM message WHERE kind = 'access_unlaunched'")
    )
    [facts] = composing.facts(world.session, [message])
    assert facts.holds
    assert "have not begun it yet" in composing.compose(facts).text


def test_only_learners_of_ones_own_pools_are_mailed(world):
    [ann] = redeemed(world, 1)
    child = manager(world, world.child)
    world.session.execute(
        text("UPDATE assignment SET organization_id = :child"), {"child": world.child}
    )

    act = remind(world, [ann], actor=child)

    assert (act["refused"], mails(world, "access_unlaunched")) == (1, [])


def test_keys_are_mailed_to_their_holders_one_mail_a_distribution(world, monkeypatch):
    codes = world.keys(5)
    hand = {"actor": manager(world), "pool": world.pool}
    distributions.distribute(world.session, recipient="bob@example.org", count=2, **hand)
    distributions.distribute(world.session, recipient="Library", **hand)
    distributions.distribute(world.session, recipient="eve@example.org", mail=True, **hand)
    ids = key_ids(world, codes)
    pass_time(world.session, days=1)
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 1)
    monkeypatch.setattr(bulk_acts, "CHUNK", 1)

    costs = previewing.preview(
        world.session, actor=manager(world), act="mail", selection=of_keys(world, ids)
    )
    act = ask(world, of_keys(world, ids), act="mail")
    while bulk_acts.work_chunk(world.session) is not None:
        pass

    assert (costs["refused"], costs["held"]) == (1, 4)
    told = {row["id"]: row["words"] for row in rows(world, act)}
    assert told[ids[0]] == told[ids[1]] == "A mail brings it to its holder."
    assert "no e-mail address" in told[ids[2]]
    assert "mailed before" in told[ids[3]]
    assert "Nobody holds" in told[ids[4]]
    assert [mail.recipient for mail in mails(world, "keys")] == [
        "eve@example.org",
        "bob@example.org",
    ]


def test_a_mail_is_one_of_those_there_are(world):
    ids = redeemed(world, 1)

    with pytest.raises(errors.InvalidInputError) as refused:
        remind(world, ids, mail="spam")
    world.keys(1)
    with pytest.raises(errors.NotFoundError):
        ask(world, of_keys(world), act="mail", template="No such words")

    assert refused.value.field == "mail"
