"""Keys of others that an input names: who imports finds them, as who redeems guesses them.

A line of an import is `already_exists` whoever's the key is, since a key is unique in the whole system. So
imports could ask for keys as guesses do: what they find is in the history, and counts towards a limit.
"""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.pools import codes
from worker.settings import settings
from worker.tables.pools import Pool
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

ACTION = "keys of others found"

COUNT = text("SELECT count_keys_of_others(:pool_id, CAST(:canonicals AS text[]))")
LATELY = text("""
    SELECT coalesce(sum((detail ->> 'count')::bigint), 0) FROM history
     WHERE action = :action AND organization_id = :organization_id
       AND at > clock_now() - CAST(:since AS interval)
""")
# An organization's imports are counted one after the other, whichever pools they are of.
TAKE_TURNS = text("SELECT FROM organization WHERE id = :organization_id FOR NO KEY UPDATE")
OF_BATCH = text("""
    SELECT code FROM batch_line WHERE batch_id = :batch_id AND result = 'already_exists'
""")


class Finds:
    """What one import, or its dry run, finds of others' keys, within its organization's limit.

    The limit is a source's of guesses, in the same time. The operator, who sees every key, has none.
    """

    def __init__(self, session: Session, *, actor: Actor, pool: Pool, dry_run: bool) -> None:
        """Look up how many are left.

        Raises:
            TooManyGuessesError: none.
        """
        self._session, self._actor, self._pool, self._dry_run = session, actor, pool, dry_run
        self._is_limited = actor.role is not Role.OPERATOR
        self._found = 0
        self._left = _left(session, pool)
        if self._is_limited and self._left <= 0:
            raise _refusal()

    def count(self, known: Collection[str]) -> None:
        """Count those of some existing keys, given by their canonical forms, that are others'.

        Raises:
            TooManyGuessesError: the import found too many, so that it may tell of none.
        """
        self._found += _count(self._session, self._pool, known)
        if self._is_limited and self._found > self._left:
            self.settle()

    def settle(self) -> None:
        """Remember what was found since the last time, for the web in a transaction of its own.

        So what a refused import found counts, too, or one that the console takes back after a check; and
        concurrent imports are counted one after the other without waiting for each other's reading.

        Raises:
            TooManyGuessesError: it is too much, with what other imports found meanwhile.
        """
        found, self._found = self._found, 0
        if not found:
            return
        if self._actor.scope is None:  # the command line's, who is the operator
            self._remember(self._session, found)
            return
        with connections.session(Login.WEB, sees=self._actor.scope) as session:
            session.execute(TAKE_TURNS, {"organization_id": self._pool.organization_id})
            left = _left(session, self._pool)
            self._remember(session, found)
        self._left = left - found
        if self._is_limited and self._left < 0:
            raise _refusal()

    def _remember(self, session: Session, found: int) -> None:
        _remember(session, self._actor, self._pool, found, dry_run=self._dry_run)


def note_batch(session: Session, *, actor: Actor, pool: Pool, batch_id: int) -> None:
    """Remember what a batch found, once it is done."""
    known = session.scalars(OF_BATCH, {"batch_id": batch_id}).all()
    found = _count(session, pool, {codes.canonical(code) for code in known})
    if found:
        _remember(session, actor, pool, found, dry_run=False)


def _refusal() -> errors.TooManyGuessesError:
    seconds = settings().guess_window.total_seconds()
    return errors.TooManyGuessesError(retry_after=int(seconds))


def _left(session: Session, pool: Pool) -> int:
    """Say how many keys of others an organization's imports may still find."""
    since = settings().guess_window
    asked = {"action": ACTION, "organization_id": pool.organization_id, "since": since}
    return settings().guesses_per_source - int(session.execute(LATELY, asked).scalar_one())


def _count(session: Session, pool: Pool, known: Collection[str]) -> int:
    """Count keys that are in pools of organizations other than the pool's and its descendants."""
    if not known:
        return 0
    asked = {"pool_id": pool.id, "canonicals": list(known)}
    return int(session.execute(COUNT, asked).scalar_one())


def _remember(session: Session, actor: Actor, pool: Pool, found: int, *, dry_run: bool) -> None:
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
