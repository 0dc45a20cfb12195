"""Mails that bring people the keys that they were given."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from worker import errors
from worker.database import outbox
from worker.database.paging import Selected
from worker.pools.giving import MOST_MAILED, Asked
from worker.tables.labels import KeyState
from worker.tables.mail import Message
from worker.tables.pools import Distribution, Key, Pool
from worker.tenancy import templates
from worker.tenancy.actors import Actor, Role
from worker.tenancy.templates import Wording


def write(
    session: Session,
    pool: Pool,
    asked: Sequence[Asked],
    ids: Sequence[int],
    *,
    template: Wording = None,
) -> int:
    """Write a mail for each distribution that has none, and give their number.

    They are in the words of the owner's `template`, or of this once, if such are given.

    Raises:
        NotFoundError: the owner has no such template.
        InvalidInputError: the words of this once do not work.
    """
    whose = pool.organization_id
    words = templates.chosen(session, template, organization_id=whose)
    pairs = zip(asked, ids, strict=True)
    return outbox.write(
        session,
        kind="keys",
        organization_id=whose,
        mails=[outbox.Mail(one.recipient, id_) for one, id_ in pairs],
        template_id=words.id if words else None,
    )


def write_for(
    session: Session, *, actor: Actor, ids: Sequence[int], since: datetime, template_id: int | None
) -> list[errors.KeypoolError | None]:
    """Mail the holders of picked keys what they hold; for each key, why there is no mail, if there is none.

    A holder gets one mail with all keys of the distribution. What was mailed before `since` is not mailed
    again: that is done where the mail is.
    """
    actor.require(Role.MANAGER)
    found = {row.id: row for row in session.execute(_held(actor, ids))}
    refusals = {id_: _why_not(row, since) for id_, row in found.items()}
    fresh = {
        (row.organization_id, row.distribution_id, row.recipient)
        for id_, row in found.items()
        if refusals[id_] is None and row.mailed_at is None
    }
    for owner, distribution, recipient in sorted(fresh):
        mail = outbox.Mail(recipient, distribution)
        outbox.write(
            session,
            kind="keys",
            organization_id=owner,
            mails=[mail],
            template_id=template_id,
        )
    return [refusals.get(id_, errors.NotFoundError()) for id_ in ids]


def _held(actor: Actor, ids: Sequence[int]) -> Select[Any]:
    """Select picked keys with who holds them, and when they were mailed."""
    count = (
        select(func.count()).where(Key.distribution_id == Distribution.id).correlate(Distribution)
    )
    return (
        select(
            Key.id,
            Key.state,
            Pool.organization_id,
            Distribution.id.label("distribution_id"),
            Distribution.recipient,
            Distribution.recalled_at,
            Message.happened_at.label("mailed_at"),
            count.scalar_subquery().label("keys"),
        )
        .join(Pool, Pool.id == Key.pool_id)
        .join(Distribution, Distribution.id == Key.distribution_id, isouter=True)
        .join(
            Message,
            (Message.distribution_id == Distribution.id) & (Message.kind == "keys"),
            isouter=True,
        )
        .where(Key.id.in_(ids), actor.sees(Pool.organization_id))
    )


def _why_not(row: Selected, since: datetime) -> errors.KeypoolError | None:
    if row.distribution_id is None:
        return errors.NotMailedError("Nobody holds the key; distribute it first.")
    if row.state is not KeyState.ISSUED or row.recalled_at is not None:
        return errors.NotMailedError("The key cannot be redeemed any more.")
    if "@" not in row.recipient:
        return errors.NotMailedError("Who holds the key is no e-mail address.")
    if row.keys > MOST_MAILED:
        return errors.NotMailedError(
            f"A mail carries up to {MOST_MAILED:,} keys; export them and send the file."
        )
    if row.mailed_at is not None and row.mailed_at < since:
        return errors.NotMailedError(
            "It was mailed before; send that mail again where it is listed."
        )
    return None
