"""Keys of others that an input names: who imports finds them, as who redeems guesses them.

A line of an import is `already_exists` whoever's the key is, since a key is unique in the whole system. So
imports could ask for keys as guesses do: what they find is in the history, and counts towards a limit.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.pools import codes
from worker.pools.import_reports import ImportReport
from worker.settings import settings
from worker.tables.labels import LineResult
from worker.tables.pools import Pool
from worker.tenancy import history
from worker.tenancy.actors import Actor

ACTION = "keys of others found"

COUNT = text("SELECT count_keys_of_others(:pool_id, CAST(:canonicals AS text[]))")
LATELY = text("""
    SELECT coalesce(sum((detail ->> 'count')::bigint), 0) FROM history
     WHERE action = :action AND organization_id = :organization_id
       AND at > clock_now() - CAST(:since AS interval)
""")
OF_BATCH = text("""
    SELECT code FROM batch_line WHERE batch_id = :batch_id AND result = 'already_exists'
""")


def refuse_guessing(session: Session, pool: Pool) -> None:
    """Refuse an import of an organization whose imports found too many keys of others lately.

    Raises:
        TooManyGuessesError: as many as a source may guess, in the same time.
    """
    since = settings().guess_window
    asked = {"action": ACTION, "organization_id": pool.organization_id, "since": since}
    if session.execute(LATELY, asked).scalar_one() >= settings().guesses_per_source:
        raise errors.TooManyGuessesError(retry_after=int(since.total_seconds()))


def noted(
    session: Session, *, actor: Actor, pool: Pool, report: ImportReport, dry_run: bool
) -> ImportReport:
    """Remember what an import found, by its report, and give that; a long one's first refused lines count."""
    named = [line for line in report["refused"] if line["result"] == LineResult.ALREADY_EXISTS]
    known = [line["code"] for line in named]
    found = _count(session, pool, known)
    if found and len(known) < report["already_exists"]:
        found = report["already_exists"] * found // len(known)  # the others are as these are
    _remember(session, actor, pool, found, dry_run=dry_run)
    return report


def note_batch(session: Session, *, actor: Actor, pool: Pool, batch_id: int) -> None:
    """Remember what a batch found, once it is done."""
    known = session.scalars(OF_BATCH, {"batch_id": batch_id}).all()
    _remember(session, actor, pool, _count(session, pool, known), dry_run=False)


def _count(session: Session, pool: Pool, known: Sequence[str]) -> int:
    """Count keys that are in pools of organizations other than the pool's and its descendants."""
    canonicals = list({codes.canonical(code) for code in known})
    if not canonicals:
        return 0
    asked = {"pool_id": pool.id, "canonicals": canonicals}
    return int(session.execute(COUNT, asked).scalar_one())


def _remember(session: Session, actor: Actor, pool: Pool, found: int, *, dry_run: bool) -> None:
    if found:
        history.record(
            session,
            actor=actor,
            action=ACTION,
            thing="pool",
            thing_ids=pool.id,
            organization_id=pool.organization_id,
            count=found,
            dry_run=dry_run,
        )
