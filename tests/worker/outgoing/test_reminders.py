"""Reminders: which ones an organization wants, how its managers say so, and what they count."""

import pytest

from tests import world as worlds
from tests.world import OPERATOR
from worker import errors
from worker.outgoing import reminders
from worker.tables.labels import ReminderKind as Kind
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session):
    return worlds.build(session)


def save(world, kind: str, *, actor: Actor = OPERATOR, **asked) -> dict:
    asked = {"organization": str(world.parent), **asked}
    return reminders.save(world.session, actor=actor, kind=kind, **asked)


def listed(world, actor: Actor = OPERATOR) -> list:
    ours = save(world, "trouble")["organization"]
    reminders.stop(world.session, actor=OPERATOR, organization=ours, kind="trouble")
    return [
        one
        for one in reminders.listing(world.session, actor=actor).items
        if one["organization"] == ours
    ]


def test_none_is_wanted_until_somebody_wants_it(world):
    before = listed(world)
    saved = save(world, "key_unused")

    assert before == []
    assert (saved["kind"], saved["days"], saved["keys"], saved["to"]) == (
        "key_unused",
        14,
        None,
        None,
    )
    assert listed(world) == [saved]


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_has_a_usual_number_or_none(world, kind):
    saved = save(world, kind)

    usual = reminders.USUAL.get(kind)
    assert saved["keys" if kind is Kind.POOL_LOW else "days"] == usual


def test_what_is_not_said_stays_as_it_was(world):
    save(world, "pool_low", keys=20, to="Office@Example.org")

    more = save(world, "pool_low", keys=30)
    managers = save(world, "pool_low", to="")

    assert (more["keys"], more["to"]) == (30, "office@example.org")
    assert (managers["keys"], managers["to"]) == (30, None)


@pytest.mark.parametrize(
    ("kind", "asked", "sentence"),
    [
        ("pool_low", {"days": 3}, "The reminder “pool_low” counts keys."),
        ("key_unused", {"keys": 3}, "The reminder “key_unused” counts days."),
        ("trouble", {"days": 3}, "The reminder “trouble” counts nothing."),
        ("key_unused", {"to": "max@example.org"}, "“key_unused” goes to learners."),
        ("invoice_due", {"to": "max@example.org"}, "goes to the organization’s billing address."),
        ("pool_low", {"to": "nobody"}, "“nobody” is not an e-mail address"),
        ("birthday", {}, "birthday"),
        ("key_unused", {"days": 0}, "1 to 3650 days"),
        ("pool_low", {"keys": 0}, "below 1 to 1,000,000,000 keys"),
    ],
)
def test_what_a_kind_does_not_count_or_nobody_gets_is_refused(world, kind, asked, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        save(world, kind, **asked)


def test_a_reminder_that_is_stopped_is_wanted_no_more(world):
    saved = save(world, "access_ending", days=3)
    asked = {"actor": OPERATOR, "organization": str(world.parent), "kind": "access_ending"}

    stopped = reminders.stop(world.session, **asked)

    assert (stopped, listed(world)) == (saved, [])
    with pytest.raises(errors.NotFoundError, match="has no reminder “access_ending”"):
        reminders.stop(world.session, **asked)


def test_managers_see_and_change_those_of_their_own_organizations_alone(world):
    save(world, "pool_low")
    stranger = Actor("test", Role.MANAGER, world.sibling)

    assert reminders.listing(world.session, actor=stranger).items == []
    for act in (reminders.save, reminders.stop):
        with pytest.raises(errors.NotFoundError):
            act(world.session, actor=stranger, organization=str(world.parent), kind="pool_low")
        with pytest.raises(errors.ForbiddenError):
            act(
                world.session, actor=Actor("test", Role.ANALYST, world.parent),
                organization=str(world.parent), kind="pool_low",
            )  # fmt: skip


def test_who_changed_a_reminder_is_remembered(world):
    save(world, "pool_low", keys=20)

    [act, *_] = history.listing(
        world.session, actor=OPERATOR, filters=history.Filters(thing="organization")
    ).items
    assert (act["action"], act["detail"]["kind"]) == ("reminder saved", "pool_low")
    assert act["detail"]["threshold"] == 20
