"""Erasing a person (D1), a redaction: a pseudonym replaces name and address everywhere.

Ids, dates, amounts and hashes stay. The learner's own row, access and history are redacted once;
every other table once for each word (an address or a name) that the person was known by.
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import locks
from worker.reporting import claims
from worker.tenancy import secrets

KNOWN_NAMES = text("""
    SELECT DISTINCT name FROM (
        SELECT name FROM learner WHERE id = ANY (:learner_ids)
        UNION ALL
        SELECT detail->moment->>'name' FROM history, unnest('{before,after}'::text[]) AS moment
         WHERE thing = 'learner' AND thing_id = ANY (:learner_ids)
        UNION ALL
        SELECT event.data->'learner'->>'name' FROM event JOIN redemption ON redemption.event_id = event.id
         WHERE redemption.learner_email_lower = ANY (:addresses)
           AND redemption.learner_organization_id = ANY (:organization_ids)
        UNION ALL
        SELECT recipient_name FROM distribution JOIN pool ON pool.id = pool_id
         WHERE recipient_lower = ANY (:addresses) AND organization_id = ANY (:organization_ids))
           AS known (name)
     WHERE btrim(name) <> ''
""")

# Rows of the learners themselves. Stored answers are encrypted, so they cannot be searched: all go.
END = [
    text("""
        UPDATE learner SET name = '', erased_at = clock_now(), email = CASE
               -- Of two in one organization, each needs its own.
               WHEN duplicate_of IS NULL THEN :pseudonym
               ELSE replace(:pseudonym, '@', '-' || id || '@') END
         WHERE id = ANY (:learner_ids)"""),
    text("""
        UPDATE assignment
           SET status = 'expired', expired_at = clock_now(),
               expires_at = greatest(redeemed_at + interval '1 microsecond', clock_now())
         WHERE learner_id = ANY (:learner_ids) AND status = 'active'"""),
    text(
        "UPDATE history SET detail = '{}' WHERE thing = 'learner' AND thing_id = ANY (:learner_ids)"
    ),
    text("""
        UPDATE answer SET encrypted = NULL
         WHERE encrypted IS NOT NULL
           AND token_id IN (SELECT id FROM token WHERE organization_id IS NULL
                                                    OR organization_id = ANY (:organization_ids))"""),
]

# Columns whose whole value is a word. Decided events are found by their redemptions.
ENTRIES = [
    text("""
        UPDATE event
           SET data = jsonb_set(data, '{learner}', jsonb_build_object('email', CAST(:pseudonym AS text)))
         WHERE data ? 'learner' AND id IN (
               SELECT event_id FROM redemption
                WHERE learner_email_lower = lower(:word) AND learner_organization_id = ANY (:organization_ids)
               UNION ALL
               SELECT id FROM event
                WHERE is_undecided(status, waits_for)
                  AND lower(data->'learner'->>'email') = lower(:word)
                  AND learner_organization_id = ANY (:organization_ids)
               UNION ALL
               SELECT id FROM event
                WHERE status = 'failed' AND lower(data->'learner'->>'email') = lower(:word)
                  AND learner_organization_id = ANY (:organization_ids))"""),
    text("""
        UPDATE redemption SET learner_email = :pseudonym
         WHERE learner_email_lower = lower(:word) AND learner_organization_id = ANY (:organization_ids)"""),
    text("""
        UPDATE delivery SET data = jsonb_set(data, '{learner}', to_jsonb(CAST(:pseudonym AS text)))
         WHERE lower(data->>'learner') = lower(:word)
           AND learner_organization_id = ANY (:organization_ids)"""),
    # The files of mails are removed by the sweep that blanks bodies.
    text("""
        UPDATE message
           SET recipient = :pseudonym, data = NULL, refused = false,
               state = CASE WHEN state = 'waiting' THEN 'failed' ELSE state END,
               ended_at = coalesce(ended_at, clock_now()),
               error = CASE WHEN state <> 'sent' THEN 'The person was erased.' END
         WHERE recipient_lower = lower(:word)
           AND (organization_id IS NULL OR organization_id = ANY (:organization_ids))"""),
    text("SELECT forget_page_sessions(:word, :organization_ids)"),
    text("""
        UPDATE unsubscribed SET address = :pseudonym
         WHERE address = lower(:word) AND organization_id = ANY (:organization_ids)"""),
    text("""
        UPDATE distribution SET recipient = :pseudonym, recipient_name = ''
         WHERE recipient_lower = lower(:word)
           AND pool_id IN (SELECT id FROM pool WHERE organization_id = ANY (:organization_ids))"""),
    text("""
        UPDATE batch_chunk
           SET recipients = ARRAY(SELECT CASE WHEN lower(of.recipient) = lower(:word) THEN :pseudonym
                                              ELSE of.recipient END
                                    FROM unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
                                   ORDER BY nth),
               recipient_names = ARRAY(SELECT CASE WHEN lower(of.recipient) = lower(:word) THEN ''
                                                   ELSE of.recipient_name END
                                         FROM unnest(recipients, recipient_names) WITH ORDINALITY
                                              AS of (recipient, recipient_name, nth)
                                        ORDER BY nth)
         WHERE lower(:word) IN (SELECT lower(recipient) FROM unnest(recipients) AS recipient)
           AND batch_id IN (SELECT batch.id FROM batch JOIN pool ON pool.id = pool_id
                             WHERE organization_id = ANY (:organization_ids))"""),
]

# Columns where a word may be part of a text: what people wrote, and refused lines of imports.
MENTIONS = [
    text("""
        UPDATE assignment SET cancel_reason = regexp_replace(cancel_reason, :pattern, :pseudonym, 'gi')
         WHERE cancel_reason ~* :pattern AND organization_id = ANY (:organization_ids)
           AND (NOT :own OR learner_id = ANY (:learner_ids))"""),
    text("""
        UPDATE key_replacement SET reason = regexp_replace(reason, :pattern, :pseudonym, 'gi')
         WHERE reason ~* :pattern AND NOT :own
           AND old_key_id IN (SELECT key.id FROM key JOIN pool ON pool.id = pool_id
                               WHERE organization_id = ANY (:organization_ids))"""),
    text("""
        UPDATE charge SET reason = regexp_replace(reason, :pattern, :pseudonym, 'gi')
         WHERE reason ~* :pattern AND organization_id = ANY (:organization_ids)
           AND (NOT :own OR assignment_id IN (
               SELECT id FROM assignment WHERE learner_id = ANY (:learner_ids)))"""),
    text("""
        UPDATE batch_line SET code = regexp_replace(code, :pattern, :pseudonym, 'gi'),
                              reason = regexp_replace(reason, :pattern, :pseudonym, 'gi')
         WHERE result = 'invalid' AND (code ~* :pattern OR reason ~* :pattern) AND NOT :own
           AND batch_id IN (SELECT batch.id FROM batch JOIN pool ON pool.id = pool_id
                             WHERE organization_id = ANY (:organization_ids))"""),
    text("""
        UPDATE bulk_act
           SET how = jsonb_set(how, '{reason}', to_jsonb(
                   regexp_replace(how->>'reason', :pattern, :pseudonym, 'gi')))
         WHERE how->>'reason' ~* :pattern AND NOT :own
           AND (organization_id IS NULL OR organization_id IN (
               SELECT ancestor_id FROM organization_ancestry
                WHERE descendant_id = ANY (:organization_ids)))"""),
    text("""
        UPDATE report_run SET traceback = regexp_replace(traceback, :pattern, :pseudonym, 'gi')
         WHERE traceback ~* :pattern AND NOT :own
           AND (organization_id IS NULL OR organization_id = ANY (:organization_ids))"""),
]

# Another learner's history is not changed: they may have the same name.
REMEMBERED = text("""
    SELECT id, detail FROM history
     WHERE detail::text ~* :pattern
       AND (organization_id IS NULL OR organization_id = ANY (:organization_ids))
       AND (:is_address OR thing <> 'learner')
       AND (NOT :own
            OR thing = 'assignment' AND thing_id IN (
               SELECT id FROM assignment WHERE learner_id = ANY (:learner_ids))
            OR thing = 'charge' AND thing_id IN (
               SELECT charge.id FROM charge JOIN assignment ON assignment.id = assignment_id
                WHERE learner_id = ANY (:learner_ids)))
""")
REWRITE = text("UPDATE history SET detail = CAST(:detail AS jsonb) WHERE id = :id")


@dataclass(frozen=True)
class Person:
    """Who is erased: all addresses that they had, and their learners in all organizations."""

    addresses: list[str]
    learner_ids: list[int]
    organization_ids: list[int]


def erase(session: Session, *, person: Person) -> str:
    """Replace a person's names and addresses by a pseudonym everywhere, and give it.

    A name of a single word may be somebody else's, too: it is replaced only in this person's rows.
    """
    locks.await_settlers(session, person.organization_ids)
    session.execute(text("SELECT set_config('keypool.erasing', 'on', true)"))
    asked = {
        "learner_ids": person.learner_ids,
        "organization_ids": person.organization_ids,
        "addresses": [address.lower() for address in person.addresses],
    }
    names = session.scalars(KNOWN_NAMES, asked).all()
    for word in sorted({*person.addresses, *names}, key=len, reverse=True):
        _erase_word(session, word, asked, is_address=word in person.addresses)
    pseudonym = _pseudonym(person.addresses[-1], person.learner_ids)
    for statement in END:
        session.execute(statement, asked | {"pseudonym": pseudonym})
    session.execute(text("SELECT set_config('keypool.erasing', '', true)"))
    return pseudonym


def _erase_word(session: Session, word: str, asked: dict[str, Any], *, is_address: bool) -> None:
    own = not is_address and " " not in word.strip()
    pseudonym = _pseudonym(word, asked["learner_ids"])
    parameters = asked | {
        "word": word,
        "pseudonym": pseudonym,
        "own": own,
        "is_address": is_address,
    }
    for statement in [] if own else ENTRIES:
        session.execute(statement, parameters)
    for statement in MENTIONS:
        session.execute(statement, parameters | {"pattern": _pattern(word)})
    written = json.dumps(word, ensure_ascii=False)[1:-1]
    for row in session.execute(REMEMBERED, parameters | {"pattern": _pattern(written)}).all():
        detail = json.dumps(_without(row.detail, word, pseudonym))
        session.execute(REWRITE, {"id": row.id, "detail": detail})
    if is_address:
        claims.erase(session, email=word, pseudonym=pseudonym)


def _pseudonym(word: str, learner_ids: list[int]) -> str:
    """Make a pseudonym that reveals nothing; only the secret key could recompute it."""
    key = secrets.derived("pseudonyms")
    person = min(learner_ids, default=0)
    digest = hmac.new(key, f"{person} {word.lower()}".encode(), hashlib.sha256).hexdigest()
    return f"erased-{digest[:16]}@erased.invalid"


def _pattern(word: str) -> str:
    """Make a regular expression, for PostgreSQL and Python, that finds a word, not inside another."""
    literal = "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in word)
    return rf"(?<![\w.+-]){literal}(?!\w)"


def _without(detail: Any, word: str, pseudonym: str) -> Any:
    """Replace a word by a pseudonym in every text of a detail."""
    if isinstance(detail, dict):
        return {name: _without(value, word, pseudonym) for name, value in detail.items()}
    if isinstance(detail, list):
        return [_without(value, word, pseudonym) for value in detail]
    if isinstance(detail, str):
        return re.sub(_pattern(word), pseudonym, detail, flags=re.IGNORECASE)
    return detail
