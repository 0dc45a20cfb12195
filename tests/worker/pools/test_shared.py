"""What a child is told of the pools that are shared with it, by the web's own login (P4)."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.world import OPERATOR, entry_of
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.pools import pools, shared
from worker.redemption import settling
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role


@pytest.fixture(scope="module")
def place(database):
    """A parent whose shared pool has redemptions of its own learner, two children's and a grandchild's."""
    with connections.session() as session:
        world = worlds.build(session, share_with_children=True)
        ids = {"parent": world.parent, "child": world.child, "stranger": world.sibling}
        for name, above in (("other", "parent"), ("grandchild", "child")):
            made = organizations.add(
                session, actor=OPERATOR, name=f"{name} {world.parent}", parent=str(ids[above])
            )
            ids[name] = int(made["id"])
        codes = world.keys(5)
        people = ("parent", "child", "other", "grandchild")
        for name, code in zip(people, codes, strict=False):
            world.request(code, f"{name}@example.org", organization=ids[name])
    settling.settle_batch(limit=10)
    return ids | {"pool": world.pool, "codes": dict(zip(people, codes, strict=False))}


def ask(place, function, *, of: str, by: str | None = None, role: Role = Role.MANAGER, **asked):
    """Ask as somebody of an organization does: by the web's login, which sees that one's tree."""
    actor = Actor("somebody", role, place[by or of])
    with connections.session(Login.WEB, sees=entry_of(actor.organization_id)) as session:
        return function(session, actor=actor, organization=str(place[of]), **asked)


def test_a_child_sees_the_name_the_course_and_the_window_of_a_shared_pool_and_no_more(place):
    [told] = ask(place, shared.listing, of="child")

    assert told.keys() == {"id", "name", "course", "starts_at", "expires_at", "keys_work_until"}
    assert told["id"] == place["pool"]
    assert told["keys_work_until"] == "the end of 31 Dec 2090, UTC"


def test_a_grandchild_sees_the_pool_too_and_its_owner_and_strangers_do_not(place):
    seen = {
        name: ask(place, shared.listing, of=name) for name in ("grandchild", "parent", "stranger")
    }

    assert [len(seen[name]) for name in ("grandchild", "parent", "stranger")] == [1, 0, 0]


@pytest.mark.parametrize(
    ("of", "told"),
    [("child", ["grandchild", "child"]), ("other", ["other"]), ("grandchild", ["grandchild"])],
)
def test_a_child_sees_its_own_learners_redemptions_and_their_keys_alone(place, of, told):
    page = ask(place, shared.redemptions, of=of, pool=place["pool"])

    assert [(one["learner"], one["key"]) for one in page.items] == [
        (f"{name}@example.org", place["codes"][name]) for name in told
    ]


def test_redemptions_come_in_pages(place):
    first = ask(place, shared.redemptions, of="child", pool=place["pool"], limit=1)
    second = ask(
        place, shared.redemptions, of="child", pool=place["pool"], limit=1, after=first.next
    )

    learners = [one["learner"] for one in first.items + second.items]
    assert learners == ["grandchild@example.org", "child@example.org"]
    assert second.next is None


@pytest.mark.parametrize(
    ("of", "by"),
    [("parent", "child"), ("other", "child"), ("child", "grandchild"), ("child", "stranger")],
)
def test_nobody_asks_for_an_organization_out_of_sight(place, of, by):
    with pytest.raises(errors.NotFoundError):
        ask(place, shared.listing, of=of, by=by)
    with pytest.raises(errors.NotFoundError):
        ask(place, shared.redemptions, of=of, by=by, pool=place["pool"])


@pytest.mark.parametrize("role", [Role.FINANCE, Role.SENDER])
def test_other_roles_are_told_nothing(place, role):
    with pytest.raises(errors.ForbiddenError):
        ask(place, shared.listing, of="child", role=role)


def test_the_owner_sees_what_its_child_is_told(place):
    assert ask(place, shared.listing, of="child", by="parent") == ask(
        place, shared.listing, of="child"
    )


def test_the_webs_login_is_told_nothing_out_of_its_scope_even_by_the_functions_themselves(place):
    with connections.session(Login.WEB, sees=entry_of(place["grandchild"])) as session:
        pools_, redeemed = (
            session.execute(text(f"SELECT * FROM {function}"), place).all()
            for function in ("shared_pool(:child)", "shared_redemption(:child, :pool)")
        )

    assert (pools_, redeemed) == ([], [])


def test_the_pool_itself_and_its_keys_stay_behind_the_wall(place):
    actor = Actor("somebody", Role.MANAGER, place["child"])
    with connections.session(Login.WEB, sees=entry_of(actor.organization_id)) as session:
        with pytest.raises(errors.NotFoundError):
            pools.show(session, actor=actor, pool=place["pool"])
        counts = [
            session.scalar(text(f"SELECT count(*) FROM {table}"))
            for table in ("pool", "key", "pool_tally", "distribution")
        ]

    assert counts == [0, 0, 0, 0]


def test_a_pool_that_is_shared_no_more_is_not_found(place):
    share(place, on=False)

    with pytest.raises(errors.NotFoundError):
        ask(place, shared.redemptions, of="child", pool=place["pool"])
    assert ask(place, shared.listing, of="child") == []
    share(place, on=True)


def test_an_undone_redemptions_key_is_told_to_nobody_who_lost_it(place):
    undone = "UPDATE assignment SET undone = true, status = 'cancelled', cancelled_at = clock_now()"
    with connections.session() as session:
        session.execute(text(f"{undone} WHERE organization_id = :child"), place)

    page = ask(place, shared.redemptions, of="child", pool=place["pool"])

    assert [one["learner"] for one in page.items] == ["grandchild@example.org"]


def test_a_shared_pool_is_found_by_its_name_where_one_alone_has_it(place):
    [named] = ask(place, shared.listing, of="grandchild")

    found = ask(place, shared.show, of="grandchild", pool=named["name"])
    with connections.session() as session:
        pools.create(
            session,
            actor=OPERATOR,
            name=named["name"],
            organization=str(place["child"]),
            course=named["course"],
            starts="2020-01-01",
            expires="2090-12-31",
            content_availability=30,
            share_with_children=True,
        )

    assert found == named
    with pytest.raises(errors.AmbiguousError):
        ask(place, shared.show, of="grandchild", pool=named["name"])
    assert ask(place, shared.show, of="grandchild", pool=named["id"]) == named


def share(place, *, on: bool) -> None:
    with connections.session() as session:
        pools.edit(session, actor=OPERATOR, pool=place["pool"], share_with_children=on)
