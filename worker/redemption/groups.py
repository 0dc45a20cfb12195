"""Messages of one source that arrive together: recorded by one statement, with one commit."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from psycopg import Connection

from worker.redemption import inbox
from worker.redemption.inbox import Door, Message
from worker.settings import settings

# What is not as it was remembered, was sent before, is too old or has to wait is no row: `inbox` looks at
# that by itself. In the order of their ids, so that two groups with the same ones wait for each other.
RECORD = """
    WITH door AS MATERIALIZED (
        SELECT enter_source(%(source_id)s, %(proofs)s)
               AND ARRAY(SELECT encrypted FROM find_source(%(source_id)s)) = %(sealed)s::bytea[] AS is_known)
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    SELECT %(source_id)s, %(organization_id)s,
           CASE WHEN email IS NOT NULL THEN %(organization_id)s END, webhook_id, body_hash, type, data
      FROM door
      JOIN jsonb_to_recordset(%(messages)s::jsonb)
           AS message (webhook_id text, sent_at bigint, body_hash bytea, type event_type, data jsonb,
                       email text) ON is_known
     WHERE abs(sent_at - extract(epoch FROM now())) <= %(tolerance)s
       AND (email IS NULL OR guessing_pause(
               %(source_id)s, email, %(guess_window)s, %(guesses_per_source)s,
               %(guesses_per_learner)s) IS NULL)
     ORDER BY webhook_id
        ON CONFLICT ON CONSTRAINT event_is_recorded_once DO NOTHING
    RETURNING webhook_id, id
"""


@dataclass(frozen=True)
class Arrived:
    """A message whose signature fits its source's secrets, for the source's own organization."""

    webhook_id: str
    sent_at: int
    body_hash: bytes
    message: Message


def record(
    connection: Connection, door: Door, arrived: Collection[Arrived], *, tolerance: int
) -> dict[str, int]:
    """Record messages with different webhook ids, and give the event's id of each that is new.

    The door may have been read a while ago: nothing is recorded if it is not so any more. `tolerance` is
    how many seconds a message's time may be from now. Committed if the connection autocommits.
    """
    source_id, proofs = inbox.entry(door.source_id).arguments
    asked = {
        "source_id": source_id,
        "proofs": proofs,
        "sealed": door.sealed,
        "organization_id": door.organization_id,
        "messages": json.dumps([_row(one) for one in arrived]),  # arrays take psycopg twice as long
        "tolerance": tolerance,
        "guess_window": settings().guess_window,
        "guesses_per_source": settings().guesses_per_source,
        "guesses_per_learner": settings().guesses_per_learner,
    }
    return dict(connection.execute(RECORD, asked).fetchall())


def _row(arrived: Arrived) -> dict[str, object]:
    return {
        "webhook_id": arrived.webhook_id,
        "sent_at": arrived.sent_at,
        "body_hash": "\\x" + arrived.body_hash.hex(),
        "type": arrived.message.type,
        "data": arrived.message.data,
        "email": arrived.message.email,
    }
