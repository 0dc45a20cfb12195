"""The outbox of mails: a row says what is to go out, in the transaction of what causes it.

`worker.outgoing` renders and sends it. The deliveries' outbox is written by triggers of schema.sql.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Mail:
    """One mail to one address: the keys that it is about, if any, and the words of its template."""

    recipient: str
    distribution_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


# Keys that were mailed before are not mailed again: the index message_gives_keys_once says so.
WRITE = text("""
    INSERT INTO message (organization_id, kind, template_id, recipient, distribution_id, data)
    SELECT :organization_id, :kind, CAST(:template_id AS bigint), recipient, distribution_id, data
      FROM unnest(CAST(:recipients AS text[]), CAST(:distribution_ids AS bigint[]),
                  CAST(:data AS jsonb[]))
           WITH ORDINALITY AS mail (recipient, distribution_id, data, nth)
     ORDER BY nth
    ON CONFLICT (distribution_id) WHERE kind = 'keys' DO NOTHING
    RETURNING id
""")


def write(
    session: Session,
    *,
    kind: str,
    organization_id: int | None,
    mails: Sequence[Mail],
    template_id: int | None = None,
) -> int:
    """Write mails of a kind, which is a template's name, in an organization's name; None: the seller's.

    `template_id` is of a template of its own that they are written by instead. Gives how many there
    are to send; those of a distribution are written once.
    """
    asked = {
        "organization_id": organization_id,
        "kind": kind,
        "template_id": template_id,
        "recipients": [mail.recipient for mail in mails],
        "distribution_ids": [mail.distribution_id for mail in mails],
        "data": [json.dumps(mail.data) for mail in mails],
    }
    return len(session.scalars(WRITE, asked).all())
