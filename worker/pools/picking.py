"""Picked keys: the very ones that somebody chose are given to one recipient (K7)."""

from collections.abc import Sequence

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.pools import codes, giving, pools
from worker.pools.reading import unfit_recipient
from worker.tables.labels import KeyState
from worker.tables.pools import Distribution, Key, Pool
from worker.tenancy import addresses, history
from worker.tenancy.actors import Actor, Role

# The distribution of a recipient and a reference, made if there is none.
HOLD = text("""
    INSERT INTO distribution (pool_id, recipient, recipient_name, reference)
    VALUES (:pool_id, :recipient, :name, :reference)
    ON CONFLICT (pool_id, recipient_lower, reference)
    DO UPDATE SET recipient = distribution.recipient  -- changes nothing, but returns it
    RETURNING id
""")

# Keys that nobody holds and that are not being redeemed; the others are told apart afterwards.
GIVE = text("""
    UPDATE key SET distribution_id = :distribution_id
     WHERE id = ANY (:ids) AND pool_id = :pool_id AND state = 'issued' AND distribution_id IS NULL
    RETURNING id
""")


def distribution(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    recipient: str,
    reference: str = "",
    name: str = "",
) -> int:
    """Find or make the distribution under which picked keys are given; gives its id.

    Raises:
        InvalidInputError: there is no recipient, or they or the reference are malformed.
        PoolOverError: the pool's keys do not work any more.
    """
    actor.require(Role.MANAGER)
    found = pools.find(session, actor=actor, pool=pool)
    pools.require_giving(session, found)
    asked = {
        "recipient": addresses.recipient(recipient),
        "name": name.strip(),
        "reference": reference.strip(),
    }
    if not asked["recipient"]:
        raise errors.InvalidInputError(
            "There is no recipient; give an e-mail address or a name.", field="recipient"
        )
    if reason := unfit_recipient(asked["recipient"], asked["name"], asked["reference"]):
        raise errors.InvalidInputError(reason, field="recipient")
    return int(session.scalars(HOLD, asked | {"pool_id": found.id}).one())


def give(
    session: Session, *, actor: Actor, distribution_id: int, ids: Sequence[int]
) -> list[errors.KeypoolError | None]:
    """Give picked keys under a distribution of their pool; for each id, why it was refused, if it was.

    Idempotent: what is held under the distribution already is not refused.

    Raises:
        DistributionRecalledError: it was recalled; use another reference.
        NotFoundError: it is of no pool that the actor sees.
    """
    actor.require(Role.MANAGER)
    statement = select(Distribution, Pool).join(Pool).where(Distribution.id == distribution_id)
    row = session.execute(statement.where(actor.sees(Pool.organization_id))).one_or_none()
    if row is None:
        raise errors.NotFoundError
    if row.Distribution.recalled_at is not None:
        raise errors.DistributionRecalledError
    pools.require_giving(session, row.Pool)
    giving.take_turn(session, row.Pool.id)
    place = {"distribution_id": distribution_id, "pool_id": row.Pool.id, "ids": list(ids)}
    given = session.scalars(GIVE, place).all()
    if given:
        _remember(session, actor, row.Pool, row.Distribution, len(given))
    found = {key.id: key for key in session.scalars(_picked(row.Pool, ids))}
    return [_why_not(found.get(id_), distribution_id) for id_ in ids]


def _picked(pool: Pool, ids: Sequence[int]) -> Select[Key]:
    wanted = select(Key).where(Key.id.in_(ids), Key.pool_id == pool.id)
    return wanted.execution_options(populate_existing=True)


def _why_not(key: Key | None, distribution_id: int) -> errors.KeypoolError | None:
    if key is None:
        return errors.NotFoundError("The pool has no such key.")
    if key.distribution_id == distribution_id and key.state is not KeyState.RETIRED:
        return None
    masked = codes.masked(key.code)
    if key.state is not KeyState.ISSUED:
        return errors.KeyNotIssuedError(f"The key “{masked}” is {key.state} already.")
    return errors.KeyHeldError(f"Somebody holds the key “{masked}” already; recall or replace it.")


def _remember(session: Session, actor: Actor, pool: Pool, held: Distribution, count: int) -> None:
    history.record(
        session,
        actor=actor,
        action="keys distributed",
        thing="distribution",
        thing_ids=held.id,
        organization_id=pool.organization_id,
        pool=str(pool.id),
        recipient=held.recipient,
        reference=held.reference,
        count=count,
    )
