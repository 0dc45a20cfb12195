"""Mailing the outbox: several connections to the mail server at once, with retries.

Claims and retries are those of the deliveries (`retries`). A server that is away is paused as a
failing endpoint is (a circuit breaker), and only the mails that were tried count the attempt. Where
no server is set, mails are files under the home.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import connections, locks
from worker.logs import log
from worker.outgoing import channels, composing, retries
from worker.outgoing.channels import Connection, Folder
from worker.outgoing.retries import MESSAGES
from worker.settings import settings
from worker.tenancy import links

LANES = 4  # connections to the mail server
CHUNK = 20  # mails that are sent on one connection
SHARE = 5.0  # seconds after which a lane stops, even if part of its chunk is left
# Timeout of a claim, longer than a lane takes.
LEASE = timedelta(seconds=2 * (SHARE + channels.CONNECT_SECONDS + channels.SEND_SECONDS))

OPEN = "(SELECT coalesce(rests_until <= clock_now(), true) FROM mail_server)"
WAITING = text(f"""
    SELECT EXISTS (SELECT FROM message WHERE state = 'waiting' AND due_at <= clock_now()) AND {OPEN}
""")  # noqa: S608  # a constant

# Those that have waited longest, after those that somebody waits for at a page: a flood of others does
# not hold them up. An address that the server refused for good is not tried again.
CLAIM = text(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM message
         WHERE state = 'waiting' AND due_at <= clock_now() AND {OPEN}
         ORDER BY kind NOT IN ('code', 'reset'), due_at, id LIMIT :limit
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE message
       SET {retries.CLAIMED}
      FROM due WHERE message.id = due.id
    RETURNING message.id,
              (SELECT before.error FROM message AS before
                WHERE before.refused AND before.recipient_lower = message.recipient_lower
                  AND before.organization_id IS NOT DISTINCT FROM message.organization_id
                ORDER BY before.id DESC LIMIT 1) AS refused
""")  # noqa: S608  # constants

REFUSE = text("UPDATE message SET refused = true WHERE id = ANY (:ids) AND state = 'failed'")

PAUSE = text(f"UPDATE mail_server SET {retries.PAUSED}")  # noqa: S608  # a constant
RESET_FAILURES = text("""
    UPDATE mail_server SET failures = 0, rests_until = NULL WHERE failures > 0
""")

KEPT = text("""
    SELECT identity::text FROM message
     WHERE identity = ANY (CAST(:names AS uuid[])) AND data IS NOT NULL
""")


@dataclass
class Outcome:
    """The result of a lane: what was sent, what failed and why, what was not tried.

    Attributes:
        final: those of the failed that are not tried again.
        refused: those whose address was refused for good.
        away: whether the mail server was away.
    """

    sent: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    final: set[int] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    untried: list[int] = field(default_factory=list)
    away: bool = False


def send_all(*, until: float) -> Counter[str]:
    """Send what is due, and count what was sent, failed and set apart.

    It goes on until `until`, a time of time.monotonic. If another sender is at work, this one
    returns at once.
    """
    counts: Counter[str] = Counter()
    # The lock's transaction idles while mails are sent, for less than the database allows.
    with ThreadPoolExecutor(LANES, "mail") as threads, connections.session() as holding:
        while locks.take(holding, "mailing") and time.monotonic() < until:
            refused, rows = connections.transaction(_claim)
            if not rows and not refused.failed:
                break
            lanes = threads.map(_drive, [rows[n::LANES] for n in range(LANES) if rows[n::LANES]])
            connections.transaction(_record, [refused, *lanes], counts)
    return counts


def is_due(session: Session) -> bool:
    """Say whether there is a mail to send now."""
    return bool(session.scalar(WAITING))


def remove_files(session: Session) -> int:
    """Remove the files of mails whose body was blanked, or that were sent again; gives their number."""
    folder = _folder()
    names = folder.names()
    if not names:
        return 0
    return folder.remove(names.difference(session.scalars(KEPT, {"names": list(names)})))


def _claim(session: Session) -> tuple[Outcome, list[Any]]:
    """Claim what is due, and give its facts; what is not to be tried has failed already."""
    claimed = session.execute(CLAIM, {"limit": LANES * CHUNK, "lease": LEASE}).all()
    outcome = Outcome()
    for row in claimed:
        if row.refused is not None:
            outcome.failed[row.id] = f"not tried, its address was refused before: {row.refused}"
            outcome.final.add(row.id)
    rows = composing.facts(session, [row.id for row in claimed if row.refused is None])
    for row in rows:
        if "user" in row.data:  # each attempt has a link of its own, which no table keeps
            row.data["link"] = links.address(links.mint(session, user_id=row.data["user"]))
    return outcome, rows


def _drive(rows: Sequence[Any]) -> Outcome:
    """Send a lane's mails one after the other, until the mail server is away."""
    outcome, until = Outcome(), time.monotonic() + SHARE
    waiting = list(rows)
    with _channel() as channel:
        while waiting and not outcome.away and time.monotonic() < until:
            _send(channel, waiting.pop(0), outcome)
    outcome.untried = [row.id for row in waiting]
    return outcome


def _send(channel: Connection | Folder, row: Any, outcome: Outcome) -> None:
    try:
        refusal = channel.send(composing.letter(row))
    except channels.MailServerAwayError as error:
        outcome.failed[row.id], outcome.away = str(error), True
        return
    except composing.NothingToSendError as error:
        outcome.failed[row.id] = str(error)
        outcome.final.add(row.id)
        return
    except Exception as error:  # one mail's fault must neither stop nor repeat the others
        log.exception("mail failed", message=row.id)
        outcome.failed[row.id] = f"The mail could not be made: {type(error).__name__}"
        return
    if refusal is None:
        outcome.sent.append(row.id)
        return
    outcome.failed[row.id] = refusal.error
    if refusal.final:
        outcome.final.add(row.id)
    if refusal.address:
        outcome.refused.append(row.id)


def _channel() -> Connection | Folder:
    known = settings()
    if known.smtp_url is None:
        return _folder()
    return Connection(known.smtp_url, sender=known.mail_from or composing.NO_SENDER)


def _folder() -> Folder:
    return Folder(settings().home / "mail")


def _record(session: Session, outcomes: Iterable[Outcome], counts: Counter[str]) -> None:
    """Record the results of lanes: each message's state, and whether the mail server is paused."""
    done = list(outcomes)
    sent = [one for outcome in done for one in outcome.sent]
    failed = {one: why for outcome in done for one, why in outcome.failed.items()}
    MESSAGES.succeeded(session, sent)
    MESSAGES.untried(session, [one for outcome in done for one in outcome.untried])
    set_apart = MESSAGES.failed(
        session, failed, final=frozenset(one for outcome in done for one in outcome.final)
    )
    session.execute(REFUSE, {"ids": [one for outcome in done for one in outcome.refused]})
    if sent:
        session.execute(RESET_FAILURES)
    elif any(outcome.away for outcome in done):
        session.execute(PAUSE)
    counts.update({"sent": len(sent), "failed": len(failed), "set apart": set_apart})
