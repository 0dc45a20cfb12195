"""Tokens and sources: who may come in, and with which secret."""

import base64
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker import errors, sources, tokens
from worker.actors import Actor, Role
from worker.database import clock_now
from worker.database import session as transaction_of
from worker.models import Organization


@pytest.fixture
def world(session):
    return worlds.build(session)


@pytest.fixture
def owner(world):
    return world.session.get_one(Organization, world.parent).name


def test_a_token_says_who_it_is_until_it_is_revoked(session, owner, world):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)

    token_id, known = tokens.authenticate(session, made["token"])
    tokens.revoke(session, actor=OPERATOR, token="ci")

    assert str(token_id) == made["id"]
    assert (known.role, known.organization_id) == (Role.SENDER, world.parent)
    assert tokens.authenticate(session, made["token"]) is None


def test_a_token_ends_on_its_day(session, owner):
    made = tokens.add(
        session,
        actor=OPERATOR,
        name="ci",
        role=Role.ANALYST,
        organization=owner,
        expires_at=clock_now(session) + timedelta(days=1),
    )

    pass_time(session, days=1)

    assert tokens.authenticate(session, made["token"]) is None


def test_a_token_is_kept_as_a_hash_alone(session, owner):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.FINANCE, organization=owner)

    stored = session.scalars(text("SELECT t::text FROM token AS t")).all()

    assert not any(made["token"] in row for row in stored)
    assert "token" not in tokens.listing(session, actor=OPERATOR)[0]


@pytest.mark.parametrize("wrong", ["", "kp_", "kp_x", "\x00", "é" * 1000])
def test_an_unknown_token_is_nobody(session, wrong):
    assert tokens.authenticate(session, wrong) is None


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
    assert "secret" not in sources.listing(session, actor=OPERATOR)[0]


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
