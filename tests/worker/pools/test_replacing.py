"""A key that serves nobody is replaced by another of its pool (K11)."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.pools import distributions, keys, pools, replacing
from worker.redemption import trouble
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session) -> World:
    return worlds.build(session)


def handed(world: World, recipient: str = "ann@example.org", reference: str = "PO-1") -> str:
    """Hand one key to a recipient, of a pool that has another left; give its code."""
    world.keys(2)
    given = distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient=recipient, reference=reference
    )
    return given["keys"][0]


def replace(world: World, code: str, reason: str = "Torn", **given):
    return replacing.replace(world.session, actor=OPERATOR, code=code, reason=reason, **given)


def figures(world: World):
    return pools.show(world.session, actor=OPERATOR, pool=world.pool)["keys"]


def test_the_recipient_gets_another_key_under_the_same_reference(world):
    old = handed(world)

    new = replace(world, old)

    assert new["code"] != old
    assert (new["recipient"], new["reference"], new["state"]) == (
        "ann@example.org",
        "PO-1",
        "issued",
    )
    assert figures(world) == {"issued": 1, "distributed": 1, "redeemed": 0, "retired": 1}


def test_asking_again_under_the_reference_gives_the_new_key(world):
    old = handed(world)
    new = replace(world, old)["code"]

    again = distributions.distribute(
        world.session,
        actor=OPERATOR,
        pool=world.pool,
        recipient="ann@example.org",
        reference="PO-1",
    )

    assert again["keys"] == [new]


def test_both_keys_know_each_other(world):
    old = handed(world)
    new = replace(world, old, reason="Lost in the post")["code"]

    before = trouble.show(world.session, actor=OPERATOR, code=old)
    after = trouble.show(world.session, actor=OPERATOR, code=new)

    assert (before["state"], before["replaced_by"]) == ("retired", new)
    assert (before["replaced_because"], before["recipient"]) == (
        "Lost in the post",
        "ann@example.org",
    )
    assert (after["replaces"], after["replaced_by"]) == (old, None)


def test_a_replacement_can_be_replaced_too(world):
    first = handed(world)
    world.keys(1)
    second = replace(world, first)["code"]

    third = replace(world, second)["code"]

    shown = trouble.show(world.session, actor=OPERATOR, code=second)
    assert (shown["replaces"], shown["replaced_by"]) == (first, third)


def test_the_history_says_who_replaced_it_and_why_without_a_code(world):
    old = handed(world)
    replace(world, old)

    (act,) = history.of(
        world.session,
        thing="key",
        thing_id=keys.find(world.session, actor=OPERATOR, code=old).id,
    )

    assert (act["action"], act["detail"]["reason"]) == ("key replaced", "Torn")
    assert old not in str(act)


def test_a_key_that_nobody_was_handed_is_replaced_for_whom_one_names(world):
    old, _ = world.keys(2)

    new = replace(world, old, recipient="bob@example.org")

    assert new["recipient"] == "bob@example.org"


@pytest.mark.parametrize("typed", ["Bob@Example.org", " bob@example.org\u200b", "ｂob@example.org"])
def test_whom_one_names_is_known_by_the_normalized_address(world, typed):
    old, _ = world.keys(2)

    new = replace(world, old, recipient=typed)

    assert new["recipient"] == "bob@example.org"


def test_a_malformed_address_gets_no_key_in_anothers_place(world):
    old, _ = world.keys(2)

    with pytest.raises(errors.InvalidInputError, match="not an e-mail address") as refused:
        replace(world, old, recipient="mailto:bob@example.org")

    assert refused.value.field == "recipient"
    assert figures(world)["issued"] == 2


def test_a_key_that_nobody_was_handed_is_not_replaced_for_nobody(world):
    old, _ = world.keys(2)

    with pytest.raises(errors.InvalidInputError, match="has no recipient") as refused:
        replace(world, old)

    assert refused.value.field == "recipient"


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001])
def test_a_replacement_needs_a_reason(world, reason):
    old = handed(world)

    with pytest.raises(errors.InvalidInputError) as refused:
        replace(world, old, reason=reason)

    assert refused.value.field == "reason"


@pytest.mark.parametrize("state", ["redeemed", "retired"])
def test_only_an_issued_key_is_replaced(world, state):
    old = handed(world)
    world.session.execute(
        text("UPDATE key SET state = CAST(:state AS key_state) WHERE code = :code"),
        {"state": state, "code": old},
    )

    with pytest.raises(errors.KeyNotIssuedError, match=state):
        replace(world, old)

    assert figures(world)["issued"] == 1


def test_without_another_key_nothing_changes(world):
    world.keys(1)
    given = distributions.distribute(
        world.session, actor=OPERATOR, pool=world.pool, recipient="ann@example.org"
    )
    old = given["keys"][0]

    with pytest.raises(errors.NotEnoughKeysError), world.session.begin_nested():
        replace(world, old)

    assert trouble.show(world.session, actor=OPERATOR, code=old)["state"] == "issued"


def test_a_pool_that_is_over_gives_no_other_key(world):
    old = handed(world)
    pass_time(world.session, days=40_000)

    with pytest.raises(errors.PoolOverError):
        replace(world, old)


def test_a_key_of_a_strangers_pool_is_not_found(world):
    old = handed(world)
    stranger = Actor("stranger", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        replacing.replace(world.session, actor=stranger, code=old, reason="Torn")
