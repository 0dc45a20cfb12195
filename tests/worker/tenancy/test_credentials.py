"""Tokens and sources: who may come in, and with which secret."""

import base64
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker import errors
from worker.database.connections import clock_now
from worker.database.connections import session as transaction_of
from worker.redemption import sources
from worker.tables.tenancy import Organization
from worker.tenancy import links, organizations, tokens, users
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session):
    return worlds.build(session)


@pytest.fixture
def owner(world):
    return world.session.get_one(Organization, world.parent).name


def test_a_token_says_who_it_is_until_it_is_revoked(session, owner, world):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)

    known = tokens.authenticate(session, made["token"], client="192.0.2.7")
    tokens.revoke(session, actor=OPERATOR, token="ci")

    assert str(known.id) == made["id"]
    assert (known.actor.role, known.actor.organization_id) == (Role.SENDER, world.parent)
    assert tokens.authenticate(session, made["token"], client="192.0.2.7") is None


def test_a_token_works_through_its_last_day_where_its_organization_is(session, owner):
    organizations.edit(session, actor=OPERATOR, organization=owner, time_zone="Asia/Tokyo")
    today = clock_now(session).astimezone(ZoneInfo("Asia/Tokyo")).date()
    made = tokens.add(
        session,
        actor=OPERATOR,
        name="ci",
        role=Role.ANALYST,
        organization=owner,
        expires=today.isoformat(),
    )
    left = made["expires_at"] - clock_now(session)

    pass_time(session, seconds=left.total_seconds() - 1)
    before = tokens.authenticate(session, made["token"], client="192.0.2.7")
    pass_time(session, seconds=1)

    assert made["works_until"] == f"the end of {today:%-d %b %Y}, Asia/Tokyo"
    assert before is not None
    assert tokens.authenticate(session, made["token"], client="192.0.2.7") is None


@pytest.mark.parametrize("over", ["2020-01-01", "0000-01-01", "10000-01-01", "soon", ""])
def test_a_token_that_would_be_over_already_is_not_made(session, over):
    with pytest.raises(errors.InvalidInputError) as refused:
        tokens.add(session, actor=OPERATOR, name="ci", role=Role.OPERATOR, expires=over)

    assert refused.value.field == "expires_at"


def test_a_tokens_use_is_noted_once_a_minute(session, owner):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)

    def used() -> tuple[bool, datetime]:
        known = tokens.authenticate(session, made["token"], client="192.0.2.7")
        tokens.note(session, made["token"], client="192.0.2.7")
        session.expire_all()
        [listed] = [
            it for it in tokens.listing(session, actor=OPERATOR).items if it["id"] == made["id"]
        ]
        return known.to_note, listed["last_used_at"]

    first = used()
    pass_time(session, seconds=59)
    second = used()
    pass_time(session, seconds=1)
    third = used()

    assert (made["last_used_at"], first[0], second[0], third[0]) == (None, True, False, True)
    assert first[1] == second[1] == third[1] - timedelta(minutes=1)


def test_a_token_is_kept_as_a_hash_alone(session, owner):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.FINANCE, organization=owner)

    stored = session.scalars(text("SELECT t::text FROM token AS t")).all()

    assert not any(made["token"] in row for row in stored)
    assert "token" not in tokens.listing(session, actor=OPERATOR).items[0]


@pytest.mark.parametrize("wrong", ["", "kp_", "kp_x", "\x00", "é" * 1000])
def test_an_unknown_token_is_nobody(session, wrong):
    assert tokens.authenticate(session, wrong, client="192.0.2.7") is None


def test_an_operators_token_belongs_to_no_organization_and_others_to_one(session, owner):
    for role, organization in [(Role.OPERATOR, owner), (Role.MANAGER, None)]:
        with pytest.raises(errors.InvalidInputError):
            tokens.add(session, actor=OPERATOR, name="x", role=role, organization=organization)


def test_a_manager_cannot_make_an_operators_token(session, world):
    manager = Actor("token", Role.MANAGER, world.parent)

    with pytest.raises(errors.ForbiddenError):
        tokens.add(session, actor=manager, name="x", role=Role.OPERATOR)


def test_a_sources_secret_is_shown_once_and_kept_encrypted(session, owner):
    made = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    secret = base64.b64decode(made["secret"].removeprefix("whsec_"))

    _, live = sources.live_secrets(session, source_id=int(made["id"]))
    stored = session.scalars(text("SELECT encrypted FROM source_secret")).all()

    assert len(secret) >= 24
    assert live == [secret]
    assert not any(secret in bytes(row) for row in stored)
    assert "secret" not in sources.listing(session, actor=OPERATOR).items[0]


def test_an_old_secret_lives_on_for_as_long_as_the_rotation_says(session, owner):
    made = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    sources.rotate(session, actor=OPERATOR, source=made["id"], old_valid=timedelta(hours=2))

    pass_time(session, seconds=7199)
    both = sources.live_secrets(session, source_id=int(made["id"]))[1]
    pass_time(session, seconds=1)
    one = sources.live_secrets(session, source_id=int(made["id"]))[1]

    assert (len(both), len(one)) == (2, 1)


def test_rotating_again_never_lengthens_an_old_secrets_life(session, owner):
    made = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    sources.rotate(session, actor=OPERATOR, source=made["id"], old_valid=timedelta())
    sources.rotate(session, actor=OPERATOR, source=made["id"], old_valid=timedelta(days=9))

    live = sources.live_secrets(session, source_id=int(made["id"]))[1]

    assert len(live) == 2


def test_an_unknown_source_has_no_organization_and_no_secret(session):
    assert sources.live_secrets(session, source_id=999_999) == (None, [])


def test_a_strangers_source_cannot_be_rotated(session, owner, world):
    made = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    stranger = Actor("token", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        sources.rotate(session, actor=stranger, source=made["id"])


def test_a_value_that_no_column_can_hold_is_refused_in_a_sentence(database):
    with pytest.raises(errors.InvalidInputError), transaction_of() as opened:
        opened.execute(text("SELECT CAST(:value AS text)"), {"value": "a\x00b"}).all()


def test_what_lets_somebody_in_has_256_random_bits(session, owner):
    token = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)
    source = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    users.invite(
        session, actor=OPERATOR, email="a@example.com", role=Role.ANALYST, organization=owner
    )
    link = links.mint(session, user_id=session.scalar(text("SELECT max(id) FROM console_user")))

    for clear in (token["token"], source["secret"], link):
        letters = clear.removeprefix("kp_").removeprefix("whsec_").rstrip("=")
        assert len(letters) * 6 >= 256
