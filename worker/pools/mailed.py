"""Mails that bring people the keys that they were given."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from worker.database import outbox
from worker.pools.giving import Asked
from worker.tables.pools import Pool
from worker.tenancy import templates
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
