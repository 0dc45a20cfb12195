"""The checker: what was acknowledged against what the tables say, the trace, and the audit."""

import time
from pathlib import Path

from sqlalchemy import text

from tests.faults.points import BUGGY, DEADLY, TRACE
from tests.faults.senders import History
from worker import errors
from worker.audit import auditing
from worker.database.connections import session as transaction_of
from worker.database.connections import transaction

SETTLED_WITHIN = 90  # seconds after the last fault
# A deadly event takes a dozen settlers with it before it is set apart, and those that were claimed
# with it wait for that.
AMID_POISON = 300
FEW = 5  # rows that are named where something is wrong

# What must give no row, and what it says of the rows that it gives.
NEVER = {
    "events were recorded twice": """
        SELECT webhook_id FROM event GROUP BY source_id, webhook_id HAVING count(*) > 1""",
    "keys were spent twice": """
        SELECT key_id FROM redemption WHERE outcome = 'redeemed'
         GROUP BY key_id HAVING count(*) > 1""",
    # A winner that is behind another attempt which was recorded for good when it was settled: the
    # web gives up a transaction after four seconds, so what was received five before was there.
    "keys went to somebody who was not first": """
        SELECT winner.key_id FROM redemption AS winner
          JOIN event AS won ON won.id = winner.event_id
          JOIN redemption AS other
            ON other.key_id = winner.key_id AND other.event_id <> winner.event_id
          JOIN event AS lost ON lost.id = other.event_id
         WHERE winner.outcome = 'redeemed' AND other.outcome = 'already_redeemed'
           AND (lost.received_at, lost.id) < (won.received_at, won.id)
           AND lost.received_at < won.settled_at - interval '5 seconds'""",
    "attempts were judged by another clock": """
        SELECT event.id FROM event
          JOIN redemption ON redemption.event_id = event.id
          LEFT JOIN assignment ON assignment.id = redemption.assignment_id
                              AND redemption.outcome = 'redeemed'
          LEFT JOIN pool ON pool.id = redemption.pool_id
         WHERE redemption.received_at <> event.received_at
            OR assignment.redeemed_at <> event.received_at
            OR redemption.outcome = 'pool_expired' AND event.received_at < pool.expires_at
            OR redemption.outcome = 'redeemed' AND event.received_at >= pool.expires_at""",
    "harmless events were set apart": f"""
        SELECT id FROM event WHERE status = 'failed'
           AND data #>> '{{learner,email}}' NOT LIKE '{DEADLY}%'
           AND data #>> '{{learner,email}}' NOT LIKE '{BUGGY}%'""",
    "poisonous events were settled": f"""
        SELECT id FROM event WHERE status = 'settled'
           AND (data #>> '{{learner,email}}' LIKE '{DEADLY}%'
             OR data #>> '{{learner,email}}' LIKE '{BUGGY}%')""",
    # Of assignments that are all in force, in these storms.
    "launches were refused": """
        SELECT id FROM event WHERE type = 'training.launched' AND outcome <> 'launched'""",
    "ends were not joined to their launches": """
        SELECT event.id FROM event
          LEFT JOIN launch ON launch.source_id = event.source_id
                          AND launch.launch = event.data ->> 'launch'
         WHERE event.type = 'training.ended' AND event.status = 'settled' AND launch.ended_at IS NULL""",
    "generations made too few or too many keys": """
        SELECT batch.id FROM batch LEFT JOIN key ON key.batch_id = batch.id
         WHERE batch.kind = 'generate' AND batch.state = 'done'
         GROUP BY batch.id HAVING count(key.id) <> batch.requested""",
}


def waiting() -> int:
    """Count the events that are not decided; 1 at least while the database is away."""
    return _count("status = 'recorded'", away=1)


def decided() -> int:
    """Count the events that are decided; 0 while the database is away."""
    return _count("status <> 'recorded'", away=0)


def _count(which: str, *, away: int) -> int:
    try:
        with transaction_of() as session:
            return int(session.scalar(text(f"SELECT count(*) FROM event WHERE {which}")) or 0)
    except errors.DatabaseAwayError:
        return away


def wait_until_settled(*, within: float = SETTLED_WITHIN) -> None:
    """Wait until no event waits; fails when some still do after that many seconds."""
    deadline = time.monotonic() + within
    while left := waiting():
        assert time.monotonic() < deadline, f"{left} events are stuck"
        time.sleep(0.1)


def check(
    history: History, *, folder: Path | None = None, within: float = SETTLED_WITHIN
) -> dict[str, int]:
    """Compare history and tables, read the trace, audit the ledger, and give the outcomes."""
    wait_until_settled(within=within)
    with transaction_of() as session:
        recorded = set(session.scalars(text("SELECT webhook_id FROM event")))
        counted = text("SELECT coalesce(outcome, 'failed'), count(*) FROM event GROUP BY 1")
        outcomes = dict(session.execute(counted).all())
        wrong = {what: session.scalars(text(query)).all() for what, query in NEVER.items()}
    lost = history.acknowledged.keys() - recorded
    assert not lost, f"{len(lost)} acknowledged events are lost"
    doubled = len(history.contradicted)
    assert not doubled, f"{doubled} messages were acknowledged as two events"
    for what, rows in wrong.items():
        assert not rows, f"{len(rows)} {what}: {rows[:FEW]}"
    if folder is not None:
        at_once = settlers_at_once(folder)
        assert not at_once, f"{len(at_once)} times two settlers decided a tree at once"
    ledger = transaction(auditing.audit)
    assert ledger["ok"], [check for check in ledger["checks"] if not check["ok"]]
    return outcomes


def tally(history: History) -> dict[str, int]:
    """Count what was delivered, and what of it is lost, doubled or stuck."""
    acknowledged = set(history.acknowledged)  # before the tables are read: more comes meanwhile
    with transaction_of() as session:
        recorded = set(session.scalars(text("SELECT webhook_id FROM event")))
        twice = [session.scalars(text(NEVER[what])).all() for what in NEVER if "twice" in what]
    return {
        "deliveries": history.deliveries,
        "events": len(history.acknowledged),
        "unanswered": history.answers[0],
        "answered 503": history.answers[503],
        "lost": len(acknowledged - recorded),
        "doubled": len(history.contradicted) + sum(map(len, twice)),
        "stuck": waiting(),
    }


def told(what: str, *, faults: int, history: History) -> None:
    """Print a storm's figures in one line."""
    figures = {"faults": faults, **tally(history)}
    words = "  ".join(f"{name} {count:,}" for name, count in figures.items())
    print(f"{time.strftime('%H:%M:%S')}  {what}  {words}", flush=True)  # noqa: T201  # the figures


def settlers_at_once(folder: Path) -> list[tuple[str, str]]:
    """Give the pairs of settlers that both had the lock of a tree at a moment, by the trace."""
    trace = folder / TRACE
    lines = [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []
    periods = sorted((tree, float(since), float(until), pid) for pid, since, until, tree in lines)
    overlapping, last, whose = [], ("", 0.0), ""
    for tree, since, until, pid in periods:
        if (tree, since) < last and pid != whose:
            overlapping.append((whose, pid))
        if (tree, until) > last:
            last, whose = (tree, until), pid
    return overlapping
