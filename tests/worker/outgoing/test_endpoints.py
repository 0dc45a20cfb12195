"""Endpoints: registered, edited, removed, and their secrets."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors, signatures
from worker.outgoing import endpoints
from worker.tables.labels import DeliveryType
from worker.tenancy import secrets
from worker.tenancy.actors import Actor, Role

URL = "https://hooks.example/keypool"


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def added(world: World, **given):
    asked = {"actor": OPERATOR, "url": URL, "organization": str(world.parent), **given}
    return endpoints.add(world.session, **asked)


def secrets_of(world: World, endpoint: str) -> list[bytes]:
    kept = world.session.scalars(
        text("SELECT encrypted FROM endpoint_secret WHERE endpoint_id = :id"
             " AND (expires_at IS NULL OR clock_now() < expires_at) ORDER BY id"),
        {"id": int(endpoint)},
    )  # fmt: skip
    return [secrets.decrypt(one) for one in kept]


def test_an_endpoints_secret_is_shown_once_and_kept_encrypted(world):
    made = added(world)

    clear = signatures.read_secret(made["secret"])
    kept = world.figures("SELECT encrypted FROM endpoint_secret").encrypted
    assert made["secret"].startswith("whsec_")
    assert len(clear) == 32
    assert clear not in bytes(kept)
    assert secrets_of(world, made["id"]) == [clear]
    assert "secret" not in endpoints.listing(world.session, actor=OPERATOR).items[0]


def test_during_a_rotation_the_old_secret_lives_on_for_a_while(world):
    made = added(world)
    rotated = endpoints.rotate(
        world.session, actor=OPERATOR, endpoint=made["id"], old_valid=timedelta(hours=2)
    )

    both = [signatures.read_secret(one["secret"]) for one in (made, rotated)]
    assert secrets_of(world, made["id"]) == both
    pass_time(world.session, seconds=7201)
    assert secrets_of(world, made["id"]) == both[1:]


def test_an_old_secret_cannot_end_in_the_past(world):
    made = added(world)

    with pytest.raises(errors.InvalidInputError):
        endpoints.rotate(
            world.session, actor=OPERATOR, endpoint=made["id"], old_valid=timedelta(seconds=-1)
        )


def test_an_address_is_registered_once_until_it_is_removed(world):
    made = added(world)
    with pytest.raises(errors.AlreadyExistsError), world.session.begin_nested():
        added(world)

    endpoints.remove(world.session, actor=OPERATOR, endpoint=made["id"])

    assert added(world)["id"] != made["id"]
    with pytest.raises(errors.NotFoundError):
        endpoints.edit(world.session, actor=OPERATOR, endpoint=made["id"], pool_low=3)


def test_removing_sets_apart_what_still_waited(world):
    made = added(world)
    world.session.execute(
        text("INSERT INTO delivery (endpoint_id, type, data) VALUES (:id, 'pool.low', '{}')"),
        {"id": int(made["id"])},
    )

    endpoints.remove(world.session, actor=OPERATOR, endpoint=made["id"])

    waited = world.figures("SELECT state::text, error FROM delivery")
    assert tuple(waited) == ("failed", endpoints.REMOVED)


def test_an_endpoint_is_edited(world):
    made = added(world)

    edited = endpoints.edit(
        world.session,
        actor=OPERATOR,
        endpoint=URL,
        url=f"{URL}/new",
        types=["pool.low", "invoice.finalized"],
        pool_low=7,
        pool_expiring_days=30,
    )

    assert edited["id"] == made["id"]
    assert (edited["url"], edited["pool_low"], edited["pool_expiring_days"]) == (
        f"{URL}/new",
        7,
        30,
    )
    assert edited["types"] == ["pool.low", "invoice.finalized"]


@pytest.mark.parametrize(
    "given",
    [
        {"types": ["pool.full"]},
        {"types": []},
        {"pool_low": 0},
        {"pool_expiring_days": 3651},
        {"url": "http://169.254.169.254/latest"},
        {"url": "http://localhost:8080/"},
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(world, given):
    with pytest.raises(errors.InvalidInputError), world.session.begin_nested():
        added(world, **given)


def test_an_endpoint_is_told_of_all_types_unless_some_are_named(world):
    assert added(world)["types"] == list(DeliveryType)


@pytest.mark.parametrize("role", [Role.FINANCE, Role.ANALYST, Role.SENDER])
def test_others_have_nothing_to_do_with_endpoints(world, role):
    with pytest.raises(errors.ForbiddenError):
        added(world, actor=Actor("token", role, world.parent))


def test_a_strangers_endpoint_is_not_found(world):
    made = added(world)
    stranger = Actor("token", Role.MANAGER, world.sibling)

    for call in (endpoints.edit, endpoints.rotate, endpoints.remove):
        with pytest.raises(errors.NotFoundError):
            call(world.session, actor=stranger, endpoint=made["id"])


def test_failing_endpoints_are_those_whose_last_attempt_failed(world):
    added(world)
    failing = added(world, url=f"{URL}/failing")["id"]
    world.session.execute(
        text("UPDATE endpoint SET failures = 3 WHERE id = :id"), {"id": int(failing)}
    )
    filters = endpoints.Filters(failing=True)

    listed = endpoints.listing(world.session, actor=OPERATOR, filters=filters).items

    assert [one["id"] for one in listed] == [failing]
