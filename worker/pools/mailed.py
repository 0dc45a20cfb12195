"""Mails that bring people the keys that they were given."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from worker.database import outbox
from worker.pools.giving import Asked
from worker.tables.pools import Pool
from worker.tenancy import templates


def write(
    session: Session,
    pool: Pool,
    asked: Sequence[Asked],
    ids: Sequence[int],
    *,
    template: str | None = None,
) -> int:
    """Write a mail for each distribution that has none, and give their number.

    They are in the words of the owner's `template`, if one is named.

    Raises:
        NotFoundError: the owner has no such template.
    """
    whose = pool.organization_id
    named = templates.find(session, organization_id=whose, name=template) if template else None
    pairs = zip(asked, ids, strict=True)
    return outbox.write(
        session,
        kind="keys",
        organization_id=whose,
        mails=[outbox.Mail(one.recipient, id_) for one, id_ in pairs],
        template_id=named.id if named else None,
    )
