"""Reminding: what comes with time, such as an end of access or an overdue invoice, becomes mails.

Each kind of reminder is a query: the occasions that hold now, of the organizations that want it. Once an
occasion is the index message_reminds_once. After an outage a thing's newest occasion alone is told,
since nothing is told of a thing that was told of a few hours ago.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import connections
from worker.logs import log
from worker.outgoing.reminders import FOR_LEARNERS
from worker.tables.labels import ReminderKind as Kind
from worker.tenancy.actors import Role

# Rows that a long transaction committed late are still found: whatever comes with time is looked for
# this much further back than the last sweep looked.
OVERLAP = "interval '1 hour'"
LATELY = "interval '20 hours'"

BOUND = {  # up to which instant of a thing its occasion has come
    Kind.KEY_UNUSED: "clock_now() - make_interval(days => threshold)",
    Kind.ACCESS_UNLAUNCHED: "clock_now() - make_interval(days => threshold)",
    Kind.ACCESS_ENDING: "clock_now() + make_interval(days => threshold)",
}

# OFFSET 0 keeps the range with the look into the table: an index finds the few rows of the last minutes.
# A key counts from when it can be redeemed. The second part is of pools that started afterwards.
GIVEN = """
    SELECT wanted.organization_id, given.recipient AS address, NULL AS reader,
           'distribution ' || given.id AS about, {instant} AS occasion, given.id AS distribution_id,
           jsonb_build_object('given_at', given.distributed_at) AS data
      FROM wanted
      JOIN pool ON pool.organization_id = wanted.organization_id
      JOIN course ON course.id = pool.course_id
     CROSS JOIN LATERAL (
           SELECT given.* FROM distribution AS given
            WHERE given.pool_id = pool.id
              AND {instant} > wanted.since AND {instant} <= wanted.bound AND {first}
           OFFSET 0) AS given
     WHERE given.recalled_at IS NULL AND given.recipient LIKE '%_@_%'
       AND pool_state(course.archived_at, pool.paused_at, pool.starts_at, pool.expires_at,
                      clock_now()) = 'active'
       AND EXISTS (SELECT FROM key WHERE key.distribution_id = given.id AND key.state = 'issued')"""

ACCESS = """
    SELECT wanted.organization_id, learner.email AS address, NULL AS reader,
           'assignment ' || assignment.id AS about, assignment.{instant} AS occasion,
           CAST(NULL AS bigint) AS distribution_id,
           jsonb_build_object('assignment', assignment.id, 'name', learner.name, 'course', course.title,
                              'redeemed_at', assignment.redeemed_at, 'ends_at', assignment.expires_at)
               AS data
      FROM wanted
      {pools}
     CROSS JOIN LATERAL (
           SELECT assignment.* FROM assignment
            WHERE {of_pool} assignment.status = 'active'
              AND assignment.{instant} > wanted.since AND assignment.{instant} <= wanted.bound
           OFFSET 0) AS assignment
      {pool_of}JOIN course ON course.id = assignment.course_id
      JOIN learner ON learner.id = assignment.learner_id AND learner.erased_at IS NULL
     WHERE {in_pool}
           gives_access(assignment.status, assignment.expires_at, clock_now()) AND {holds}"""

# What is told of a pool: see the deliveries' pool.low and pool.expiring.
POOL = """
      FROM reminder AS wanted
      JOIN pool ON pool.organization_id = wanted.organization_id AND clock_now() < pool.expires_at
      JOIN course ON course.id = pool.course_id AND course.archived_at IS NULL
     CROSS JOIN LATERAL (
           SELECT sum(issued) AS issued, sum(issued) - sum(distributed) AS keys_left,
                  sum(issued + redeemed + retired) AS made
             FROM pool_tally WHERE pool_tally.pool_id = pool.id) AS tally"""
LOW = f"""
    SELECT pool.id {POOL}
     WHERE wanted.kind = 'pool_low' AND tally.made > 0 AND tally.keys_left < wanted.threshold
       AND NOT EXISTS (SELECT FROM batch
                        WHERE batch.pool_id = pool.id AND batch.state IN ('queued', 'running'))"""  # noqa: S608  # a constant
SHORTAGES = (
    text(f"DELETE FROM pool_shortage WHERE pool_id NOT IN ({LOW})"),  # noqa: S608  # constants
    text(f"INSERT INTO pool_shortage (pool_id) {LOW} ON CONFLICT DO NOTHING"),
)
OF_POOL = """
    SELECT wanted.organization_id, CAST(NULL AS text) AS address, 'manager' AS reader,
           'pool ' || pool.id AS about, {occasion} AS occasion, CAST(NULL AS bigint) AS distribution_id,
           jsonb_build_object('pool', pool.id, 'pool_name', pool.name, 'course', course.title,
                              'keys_left', {keys}, 'ends_at', pool.expires_at) AS data"""

# Days are the seller's. Where nobody takes the invoices by mail, whoever reads them in the console does.
INVOICE = """
    SELECT wanted.organization_id, nullif(buyer.billing_email, '') AS address, '{reader}' AS reader,
           'invoice ' || invoice.id AS about, {occasion} AS occasion,
           CAST(NULL AS bigint) AS distribution_id,
           jsonb_build_object('invoice', invoice.id) AS data
      FROM wanted
      JOIN organization AS buyer ON buyer.id = wanted.organization_id
      JOIN invoice ON invoice.organization_id = wanted.organization_id
     CROSS JOIN (SELECT (clock_now() AT TIME ZONE time_zone)::date AS today FROM seller) AS seller
     WHERE {holds}"""
OPEN = """invoice.kind = 'invoice' AND invoice.status = 'finalized'
       AND invoice_open(invoice.id, invoice.status, invoice.total) > 0"""
DUE_DAY = "invoice.due_on::timestamp AT TIME ZONE 'UTC'"

REPORT = f"""
    SELECT wanted.organization_id, CAST(NULL AS text) AS address,
           CASE report.notebook WHEN 'billing' THEN '{Role.FINANCE}' ELSE 'manager' END AS reader,
           'report ' || report.id AS about, report.finished_at AS occasion,
           CAST(NULL AS bigint) AS distribution_id,
           jsonb_build_object('report', report.id, 'notebook', report.notebook,
                              'first_day', report.first_day, 'last_day', report.last_day) AS data
      FROM wanted
      JOIN report_run AS report ON report.organization_id = wanted.organization_id
     WHERE report.state = 'done' AND report.finished_at > wanted.since"""  # noqa: S608  # a constant

# An endpoint that said it is gone is told at once, the others after a day.
# A source fails as long as everything that it sends is set apart, or names keys that do not exist.
# The newest of what began to fail is the occasion; all that fails is told.
TROUBLE = """
    SELECT wanted.organization_id, CAST(NULL AS text) AS address, 'manager' AS reader,
           'organization ' || wanted.organization_id AS about, failing.newest AS occasion,
           CAST(NULL AS bigint) AS distribution_id, failing.data
      FROM wanted
     CROSS JOIN LATERAL (
           SELECT max(since) AS newest,
                  jsonb_build_object('failing', jsonb_agg(
                      jsonb_build_object('what', what, 'name', name, 'since', since)
                      ORDER BY since, what, name)) AS data
             FROM (SELECT 'endpoint' AS what, url AS name, failing_since AS since FROM endpoint
                    WHERE endpoint.organization_id = wanted.organization_id AND removed_at IS NULL
                      AND paused_at IS NULL
                    UNION ALL
                   SELECT 'gone', url, paused_at FROM endpoint
                    WHERE endpoint.organization_id = wanted.organization_id AND removed_at IS NULL
                      AND paused_because IS NOT NULL
                    UNION ALL
                   SELECT 'source', source.name, bad.since FROM source
                    CROSS JOIN LATERAL (
                          SELECT greatest(
                                 (SELECT max(received_at) FROM event
                                   WHERE event.source_id = source.id
                                     AND outcome IN ('unknown_key', 'mistyped_key')
                                     AND received_at > clock_now() - interval '1 day'),
                                 (SELECT max(received_at) FROM event
                                   WHERE event.source_id = source.id AND status = 'failed'
                                     AND received_at > clock_now() - interval '1 day')) AS latest
                           OFFSET 0) AS lately
                    CROSS JOIN LATERAL (
                          SELECT max(received_at) AS at FROM event
                           WHERE event.source_id = source.id AND status = 'settled'
                             AND outcome NOT IN ('unknown_key', 'mistyped_key')
                             AND received_at > lately.latest - interval '30 days') AS good
                    CROSS JOIN LATERAL (
                          SELECT min(received_at) AS since FROM event
                           WHERE event.source_id = source.id
                             AND (status = 'failed' OR outcome IN ('unknown_key', 'mistyped_key'))
                             AND received_at > coalesce(good.at, lately.latest - interval '30 days'))
                          AS bad
                    WHERE source.organization_id = wanted.organization_id) AS trouble
            WHERE what = 'gone' OR since <= clock_now() - interval '1 day') AS failing
     WHERE failing.newest IS NOT NULL"""

OCCASIONS: Mapping[Kind, str] = MappingProxyType({
    Kind.KEY_UNUSED: " UNION ALL ".join((
        GIVEN.format(instant="given.distributed_at", first="given.distributed_at >= pool.starts_at"),
        GIVEN.format(instant="pool.starts_at", first="given.distributed_at < pool.starts_at"),
    )),
    Kind.ACCESS_ENDING: ACCESS.format(
        instant="expires_at",
        pool_of="JOIN pool ON pool.id = assignment.pool_id\n      ",
        pools="",  # by assignment_to_expire, whoever's
        of_pool="",
        in_pool="pool.organization_id = wanted.organization_id AND",
        # Access that is shorter than that would be told of with its beginning.
        holds="assignment.expires_at - assignment.redeemed_at > make_interval(days => threshold)",
    ),
    Kind.ACCESS_UNLAUNCHED: ACCESS.format(
        instant="redeemed_at",
        pool_of="",
        pools="JOIN pool ON pool.organization_id = wanted.organization_id",
        of_pool="assignment.pool_id = pool.id AND",  # by assignment_by_pool
        in_pool="",
        holds="NOT EXISTS (SELECT FROM launch WHERE launch.assignment_id = assignment.id)",
    ),
    Kind.POOL_LOW: OF_POOL.format(occasion="pool_shortage.since", keys="tally.keys_left")
    + POOL + " JOIN pool_shortage ON pool_shortage.pool_id = pool.id WHERE wanted.kind = 'pool_low'",
    Kind.POOL_ENDING: OF_POOL.format(occasion="pool.expires_at", keys="tally.issued") + POOL
    + """ WHERE wanted.kind = 'pool_ending' AND tally.issued > 0
            AND pool.expires_at <= clock_now() + make_interval(days => threshold)""",
    Kind.INVOICE_OVERDUE: INVOICE.format(
        reader=Role.FINANCE,
        occasion=DUE_DAY, holds=f"{OPEN} AND seller.today >= invoice.due_on + threshold"
    ),
    Kind.INVOICE_DUE: INVOICE.format(
        reader=Role.FINANCE,
        occasion=DUE_DAY,
        holds=f"{OPEN} AND seller.today BETWEEN invoice.due_on - threshold AND invoice.due_on"
        " AND invoice.issued_on < invoice.due_on - threshold",
    ),
    Kind.INVOICE_SENT: INVOICE.format(
        reader=Role.FINANCE,
        occasion="invoice.finalized_at",
        holds="invoice.status IN ('finalized', 'paid') AND invoice.finalized_at > wanted.since",
    ),
    Kind.REPORT_MADE: REPORT,
    Kind.TROUBLE: TROUBLE,
})  # fmt: skip

# Who gets it: the address of the occasion; else the one that the organization named; else those of its
# people who read such things, its managers, or whoever answers its mails.
WRITE = """
    WITH wanted AS MATERIALIZED (
        SELECT *, looked_to - {overlap} AS since, {bound} AS bound FROM reminder
         WHERE kind = '{kind}'),
    occasion AS MATERIALIZED ({occasions}),
    reached AS (
        SELECT occasion.*, receiver.address AS receiver
          FROM occasion
         CROSS JOIN LATERAL (
               SELECT coalesce(occasion.address, nullif(wanted.recipient, '')) AS named
                 FROM wanted WHERE wanted.organization_id = occasion.organization_id) AS wish
         CROSS JOIN LATERAL (
               SELECT wish.named AS address WHERE wish.named IS NOT NULL
                UNION ALL
               (SELECT address FROM (
                   SELECT email AS address, rank() OVER (ORDER BY role::text <> occasion.reader) AS nth
                     FROM console_user
                    WHERE console_user.organization_id = occasion.organization_id
                      AND disabled_at IS NULL AND role::text IN (occasion.reader, 'manager')
                    UNION ALL
                   SELECT reply_to, 1000000000 FROM organization
                    WHERE organization.id = occasion.organization_id AND reply_to <> '') AS known
                WHERE wish.named IS NULL
                ORDER BY nth FETCH FIRST ROW WITH TIES)) AS receiver)
    INSERT INTO message (organization_id, kind, recipient, distribution_id, about, occasion, data)
    SELECT organization_id, '{kind}', receiver, distribution_id, about, occasion, data FROM reached
     WHERE NOT EXISTS (SELECT FROM message AS lately
                        WHERE lately.about = reached.about
                          AND lately.recipient_lower = lower(reached.receiver)
                          AND lately.happened_at > clock_now() - {lately})
       AND NOT ({is_for_learners} AND EXISTS (
               SELECT FROM unsubscribed WHERE unsubscribed.organization_id = reached.organization_id
                                          AND unsubscribed.address = lower(reached.receiver)))
     ORDER BY occasion, about
    ON CONFLICT (about, recipient_lower, kind, occasion) WHERE about IS NOT NULL DO NOTHING
    RETURNING id
"""
SWEEPS = {
    kind: text(
        WRITE.format(
            kind=kind,
            bound=BOUND.get(kind, "clock_now()"),
            occasions=occasions,
            overlap=OVERLAP,
            lately=LATELY,
            is_for_learners=kind in FOR_LEARNERS,
        )
    )
    for kind, occasions in OCCASIONS.items()
}
LOOKED = {
    kind: text(f"""
        UPDATE reminder SET looked_to = {BOUND.get(kind, "clock_now()")}
         WHERE kind = '{kind}' AND looked_to < {BOUND.get(kind, "clock_now()")}
    """)  # noqa: S608  # constants
    for kind in OCCASIONS
}
WANTED = text("SELECT DISTINCT kind::text FROM reminder")


def remind() -> int:
    """Write the reminders whose occasion has come, a transaction a kind; gives their number."""
    wanted = set(connections.transaction(_wanted))
    written = 0
    for kind in OCCASIONS:  # of a thing's kinds, the one that comes last first
        if kind in wanted:
            written += _attempt(kind)
    return written


def write(session: Session, kind: Kind) -> int:
    """Write the reminders of a kind whose occasion has come, and give their number."""
    if kind is Kind.POOL_LOW:
        for shortage in SHORTAGES:
            session.execute(shortage)
    written = len(session.scalars(SWEEPS[kind]).all())
    session.execute(LOOKED[kind])
    return written


def _attempt(kind: Kind) -> int:
    try:
        written: int = connections.transaction(write, kind)
    except Exception:  # one kind's error must not stop the others
        log.exception("no reminders", kind=kind)
        return 0
    return written


def _wanted(session: Session) -> list[Kind]:
    return [Kind(kind) for kind in session.scalars(WANTED)]
