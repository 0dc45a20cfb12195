"""Replacing a key: it is retired, and its recipient gets another one of the pool (K11)."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session, aliased

from worker import errors
from worker.pools import giving, keys, pools
from worker.pools.keys import KeyShape
from worker.pools.reading import unfit_recipient
from worker.tables.labels import KeyState
from worker.tables.pools import Distribution, Key, KeyReplacement, Pool
from worker.tenancy import addresses, history
from worker.tenancy.actors import Actor, Role


class Replacement(KeyShape):
    """The key that replaced another."""

    replaces: str
    """The code of the key that it replaces."""
    reason: str
    """Why it was replaced."""


class KeyInLine(KeyShape):
    """A key with the key that it replaces, and the one that replaced it."""

    replaces: str | None
    """The code of the key that it replaces."""
    replaced_by: str | None
    """The code of the key that replaced it."""
    replaced_because: str | None
    """Why it was replaced."""


LONGEST_REASON = 1000

# Waits for a concurrent redemption, which locks the row; then the key is no longer issued.
WITHDRAW = text("""
    UPDATE key SET state = 'retired', distribution_id = NULL WHERE id = :id AND state = 'issued'
    RETURNING id
""")

# The pool's next undistributed key; one that is being redeemed or retired is skipped. It takes
# over the labels, as many as a key can have.
GIVE = text("""
    UPDATE key SET distribution_id = :distribution_id,
           labels = (labels_together((SELECT labels FROM key WHERE id = :old_id), labels))[1:10]
     WHERE id = (SELECT id FROM key
                  WHERE pool_id = :pool_id AND state = 'issued' AND distribution_id IS NULL
                  ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id
""")

# A recipient's distribution without a reference; made if there is none.
HOLD = text("""
    INSERT INTO distribution (pool_id, recipient) VALUES (:pool_id, :recipient)
    ON CONFLICT (pool_id, recipient_lower, reference)
    DO UPDATE SET recipient = distribution.recipient  -- changes nothing, but returns it
    RETURNING id, recalled_at
""")


def replace(
    session: Session, *, actor: Actor, code: str, reason: str, recipient: str | None = None
) -> Replacement:
    """Retire an issued key, and give another of its pool to the same recipient; gives the new key.

    A key without a recipient is replaced for the given `recipient`.

    Raises:
        InvalidInputError: there is no reason, or no recipient for the new key, or a malformed address.
        KeyNotIssuedError: the key is redeemed or retired already.
        NotEnoughKeysError: the pool has no other undistributed key.
        NotFoundError: no key of the actor's organizations has the code.
    """
    actor.require(Role.MANAGER)
    reason = checked(reason)
    old = keys.find(session, actor=actor, code=code)
    if old.state is not KeyState.ISSUED:
        raise keys.not_issued(old.code, old.state)
    pool = session.get_one(Pool, old.pool_id)
    pools.require_giving(session, pool)
    giving.take_turn(session, pool.id)
    held = old.distribution_id or _handed_to(session, pool, recipient)
    _withdraw(session, old)
    new = _give(session, pool, held, old)
    session.add(
        KeyReplacement(old_key_id=old.id, new_key_id=new, distribution_id=held, reason=reason)
    )
    history.record(
        session,
        actor=actor,
        action="key replaced",
        thing="key",
        thing_ids=old.id,
        organization_id=pool.organization_id,
        pool=str(pool.id),
        by=new,
        recipient=session.get_one(Distribution, held).recipient,
        reason=reason,
    )
    shown = keys.shape(session.execute(keys.ROWS.where(Key.id == new)).one())
    return {**shown, "replaces": old.code, "reason": reason}


def shown(session: Session, *, key_id: int) -> KeyInLine:
    """Give a key with the keys before and after it in the chain of replacements."""
    old, new = aliased(Key), aliased(Key)
    rows = session.execute(
        select(KeyReplacement, old.code.label("old"), new.code.label("new"), Distribution)
        .join(old, old.id == KeyReplacement.old_key_id)
        .join(new, new.id == KeyReplacement.new_key_id)
        .join(Distribution, Distribution.id == KeyReplacement.distribution_id)
        .where((old.id == key_id) | (new.id == key_id))
    ).all()
    key = keys.shape(session.execute(keys.ROWS.where(Key.id == key_id)).one())
    chain: KeyInLine = {**key, "replaces": None, "replaced_by": None, "replaced_because": None}
    for row in rows:
        if row.KeyReplacement.new_key_id == key_id:
            chain["replaces"] = row.old
        else:
            chain["replaced_by"] = row.new
            chain["replaced_because"] = row.KeyReplacement.reason
            chain["recipient"] = row.Distribution.recipient
            chain["reference"] = row.Distribution.reference
    return chain


def checked(reason: str) -> str:
    """Give a reason for replacing without the blanks around it.

    Raises:
        InvalidInputError: it is empty or too long.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise errors.InvalidInputError(
            f"Give the reason in 1 to {LONGEST_REASON} characters.", field="reason"
        )
    return reason


def _handed_to(session: Session, pool: Pool, recipient: str | None) -> int:
    recipient = addresses.recipient(recipient or "")
    if not recipient:
        raise errors.InvalidInputError(
            "The key has no recipient; say who gets the new one.", field="recipient"
        )
    if reason := unfit_recipient(recipient, "", ""):
        raise errors.InvalidInputError(reason, field="recipient")
    row = session.execute(HOLD, {"pool_id": pool.id, "recipient": recipient}).one()
    if row.recalled_at is not None:
        raise errors.DistributionRecalledError
    return int(row.id)


def _withdraw(session: Session, old: Key) -> None:
    if session.execute(WITHDRAW, {"id": old.id}).one_or_none() is None:
        session.refresh(old)
        raise keys.not_issued(old.code, old.state)


def _give(session: Session, pool: Pool, distribution: int, old: Key) -> int:
    place = {"pool_id": pool.id, "distribution_id": distribution, "old_id": old.id}
    key_id = session.scalar(GIVE, place)
    if key_id is None:
        raise errors.NotEnoughKeysError(requested=1, free=0)
    return int(key_id)
