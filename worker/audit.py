"""The ledger's audit: proves on the live database that nothing was lost or doubled."""

import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database import periods

LISTED = 20

KEEP = text("INSERT INTO audit_result (seconds, failed) VALUES (:seconds, :failed)")


class CheckShape(TypedDict):
    """One rule of the ledger."""

    name: str
    """The rule."""
    ok: bool
    """Whether it holds."""
    figures: dict[str, int | str]
    """What was counted for it."""
    rows: list[str]
    """The first rows that break it."""


class AuditShape(TypedDict):
    """Whether nothing was lost or doubled."""

    ok: bool
    """Whether every rule holds."""
    checks: list[CheckShape]
    """The rules."""


@dataclass(frozen=True)
class Check:
    """A rule: a query for its figures (one row), and one for rows that break it (none if it holds).

    With `equal`, the figures must also be the same number.
    """

    name: str
    figures: str
    broken: str
    equal: bool = False


CHECKS = [
    Check(
        "redeemed keys = assignments that were not undone = redemption charges that stand",
        """SELECT (SELECT count(*) FROM key WHERE state = 'redeemed')
                + (SELECT count(*) FROM assignment WHERE status = 'cancelled' AND NOT undone) AS redeemed_keys,
                  (SELECT count(*) FROM assignment WHERE NOT undone) AS assignments,
                  (SELECT count(*) FROM charge JOIN assignment ON assignment.id = assignment_id
                    WHERE kind = 'redemption' AND NOT undone) AS charges""",
        """SELECT 'key ' || key.id AS broken FROM key
             LEFT JOIN assignment ON assignment.key_id = key.id AND assignment.status <> 'cancelled'
            WHERE (key.state = 'redeemed') <> (assignment.id IS NOT NULL)
           UNION ALL
           SELECT 'assignment ' || assignment.id FROM assignment
             LEFT JOIN charge ON charge.assignment_id = assignment.id AND kind = 'redemption'
             LEFT JOIN redemption ON redemption.assignment_id = assignment.id AND outcome = 'redeemed'
            WHERE charge.id IS NULL OR redemption.event_id IS NULL""",
        equal=True,
    ),
    Check(
        "no key is spent twice",
        "SELECT count(*) AS spent_keys FROM assignment WHERE status <> 'cancelled'",
        """SELECT 'key ' || key_id AS broken FROM assignment WHERE NOT undone
            GROUP BY key_id HAVING count(*) > 1""",
    ),
    Check(
        "undone assignments are credited in full",
        "SELECT count(*) AS undone FROM assignment WHERE undone",
        """SELECT 'assignment ' || assignment.id AS broken FROM assignment
             JOIN charge ON charge.assignment_id = assignment.id AND charge.kind = 'redemption'
             LEFT JOIN charge AS credit ON credit.credits_id = charge.id
            WHERE assignment.undone
            GROUP BY assignment.id, charge.id
           HAVING charge.amount + coalesce(sum(credit.amount), 0) <> 0""",
    ),
    Check(
        "credits stay within their charges",
        "SELECT count(*) AS credits FROM charge WHERE kind = 'credit'",
        """SELECT 'charge ' || charge.id AS broken
             FROM charge JOIN charge AS credit ON credit.credits_id = charge.id
            GROUP BY charge.id HAVING charge.amount + sum(credit.amount) < 0""",
    ),
    Check(
        "no charge is on two unreleased invoices",
        """SELECT count(*) AS invoiced, (SELECT count(*) FROM charge WHERE unbilled) AS unbilled
             FROM invoice_charge WHERE released_at IS NULL""",
        """SELECT 'charge ' || charge.id AS broken FROM charge
             LEFT JOIN invoice_charge ON charge_id = charge.id AND released_at IS NULL
             LEFT JOIN charge_cancelled_out ON charge_cancelled_out.charge_id = charge.id
            GROUP BY charge.id, cancelled_at
           HAVING count(invoice_charge.charge_id) + count(cancelled_at) / greatest(count(*), 1)
                  <> CASE WHEN unbilled THEN 0 ELSE 1 END""",
    ),
    Check(
        "what cancelled out comes to nothing",
        "SELECT count(*) AS charges FROM charge_cancelled_out",
        """SELECT 'charge ' || charge.id AS broken
             FROM charge
             JOIN charge_cancelled_out ON charge_cancelled_out.charge_id = charge.id
             LEFT JOIN charge AS credit ON credit.credits_id = charge.id
            WHERE charge.credits_id IS NULL
            GROUP BY charge.id HAVING charge.amount + coalesce(sum(credit.amount), 0) <> 0""",
    ),
    Check(
        "credits stand on credit notes, and name lines of final invoices that have their charges",
        """SELECT count(*) AS credit_notes, coalesce(sum(total), 0)::text AS totals
             FROM invoice WHERE kind = 'credit_note' AND status <> 'draft'""",
        """SELECT 'credit ' || charge.id || ' on document ' || invoice.id AS broken
             FROM invoice
             JOIN invoice_charge ON invoice_charge.invoice_id = invoice.id
             JOIN invoice_line AS line ON line.id = invoice_charge.line_id
             JOIN charge ON charge.id = invoice_charge.charge_id
            WHERE invoice.kind = 'credit_note'
              AND NOT EXISTS (SELECT FROM invoice_charge AS credited
                                JOIN invoice AS paper ON paper.id = credited.invoice_id
                               WHERE credited.charge_id = charge.credits_id
                                 AND credited.line_id = line.credits_line_id
                                 AND credited.released_at IS NULL AND paper.status IN ('finalized', 'paid'))""",
    ),
    Check(
        "every tax = its lines, and an invoice that was credited whole was given back whole",
        """SELECT count(*) AS taxes, coalesce(sum(tax), 0)::text AS tax FROM invoice_tax""",
        """SELECT 'invoice ' || invoice.id AS broken FROM invoice
            WHERE status <> 'draft'
              AND (subtotal, tax) <> (SELECT coalesce(sum(subtotal), 0), coalesce(sum(tax), 0)
                                        FROM invoice_tax WHERE invoice_id = invoice.id)
           UNION ALL
           SELECT 'invoice ' || taxed.invoice_id || ' at rate ' || coalesce(taxed.tax_rate_id, 0)
             FROM (SELECT invoice_id, tax_rate_id, sum(subtotal) AS subtotal FROM invoice_tax GROUP BY 1, 2)
                  AS taxed
             FULL JOIN (SELECT invoice_id, tax_rate_id, sum(amount) AS subtotal
                          FROM invoice_line GROUP BY 1, 2) AS lines
               ON (lines.invoice_id, coalesce(lines.tax_rate_id, 0))
                = (taxed.invoice_id, coalesce(taxed.tax_rate_id, 0))
            WHERE taxed.subtotal IS DISTINCT FROM lines.subtotal
           UNION ALL
           SELECT 'invoice ' || invoice.id || ' credited by ' || -sum(note.subtotal + note.tax)
             FROM invoice JOIN invoice_tax AS note ON note.credits_invoice_id = invoice.id
             JOIN invoice AS paper ON paper.id = note.invoice_id AND paper.status <> 'draft'
            GROUP BY invoice.id
           HAVING sum(note.subtotal) = -invoice.subtotal AND sum(note.tax) <> -invoice.tax""",
    ),
    Check(
        "what is paid has nothing open, and what has nothing open is paid",
        """SELECT count(*) FILTER (WHERE status = 'paid') AS paid,
                  count(*) FILTER (WHERE status = 'finalized') AS open,
                  (SELECT count(*) FROM payment WHERE taken_back_at IS NULL) AS payments FROM invoice""",
        """SELECT 'invoice ' || id AS broken FROM invoice
            WHERE status IN ('finalized', 'paid')
              AND (status = 'paid') <> (invoice_open(id, status, total) = 0)""",
    ),
    Check(
        "drafts of a voided invoice wait for a person",
        "SELECT count(*) AS by_hand FROM invoice WHERE status = 'draft' AND by_hand",
        """SELECT 'draft ' || id AS broken FROM invoice
            WHERE status = 'draft' AND by_hand AND kind = 'credit_note'""",
    ),
    Check(
        "every finalized invoice's total = its lines = its charges",
        """SELECT count(*) AS invoices, coalesce(sum(subtotal), 0)::text AS subtotals
             FROM invoice WHERE status <> 'draft'""",
        """SELECT 'invoice ' || invoice.id AS broken FROM invoice
            WHERE status <> 'draft'
              AND (subtotal <> (SELECT coalesce(sum(amount), 0) FROM invoice_line WHERE invoice_id = invoice.id)
                   OR subtotal <> (SELECT coalesce(sum(amount), 0) FROM invoice_charge
                                     JOIN charge ON charge.id = charge_id
                                    WHERE invoice_charge.invoice_id = invoice.id))""",
    ),
    Check(
        "every line = its shares = its charges, by learners' organization",
        """SELECT count(*) AS shares, coalesce(sum(quantity), 0)::bigint AS charges FROM invoice_share""",
        """SELECT 'line ' || invoice_line.id AS broken
             FROM invoice_line
             LEFT JOIN (SELECT line_id, sum(quantity) AS quantity
                          FROM invoice_share GROUP BY line_id) AS shares ON line_id = id
            WHERE (shares.quantity, shares.quantity * unit_price)
                  IS DISTINCT FROM (invoice_line.quantity, invoice_line.amount)
           UNION ALL
           SELECT 'line ' || line_id || ' for organization ' || learner_organization_id
             FROM (SELECT line_id, learner_organization_id, count(*) AS quantity, sum(amount) AS amount
                     FROM invoice_charge JOIN charge ON charge.id = charge_id GROUP BY 1, 2) AS counted
             FULL JOIN (SELECT line_id, learner_organization_id, share.quantity,
                               share.quantity * unit_price AS amount
                          FROM invoice_share AS share JOIN invoice_line ON id = line_id) AS shares
            USING (line_id, learner_organization_id)
            WHERE (counted.quantity, counted.amount) IS DISTINCT FROM (shares.quantity, shares.amount)""",
    ),
    Check(
        "invoice numbers have no gap",
        "SELECT count(*) AS numbered, count(DISTINCT year) AS years FROM invoice WHERE serial IS NOT NULL",
        """SELECT 'year ' || year AS broken FROM invoice WHERE serial IS NOT NULL
            GROUP BY year HAVING max(serial) <> count(*) OR min(serial) <> 1""",
    ),
    Check(
        "no event is unsettled past its time",
        """SELECT count(*) FILTER (WHERE status <> 'failed') AS waiting,
                  count(*) FILTER (WHERE status = 'failed') AS set_apart
             FROM event WHERE status <> 'settled'""",
        """SELECT 'event ' || id AS broken FROM event
            WHERE is_undecided(status, waits_for)
              AND received_at < clock_now() - interval '5 minutes'""",
    ),
    Check(
        "pools' figures = their keys",
        "SELECT coalesce(sum(issued + redeemed + retired), 0)::bigint AS keys FROM pool_tally",
        """SELECT 'pool ' || pool.id AS broken
             FROM pool
             LEFT JOIN (SELECT pool_id, count(*) FILTER (WHERE state = 'issued') AS issued,
                               count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
                               count(*) FILTER (WHERE state = 'retired') AS retired
                          FROM key GROUP BY pool_id) AS counted ON counted.pool_id = pool.id
             LEFT JOIN (SELECT pool_id, sum(issued) AS issued, sum(redeemed) AS redeemed,
                               sum(retired) AS retired
                          FROM pool_tally GROUP BY pool_id) AS tally ON tally.pool_id = pool.id
            WHERE (coalesce(counted.issued, 0), coalesce(counted.redeemed, 0), coalesce(counted.retired, 0))
               <> (coalesce(tally.issued, 0), coalesce(tally.redeemed, 0), coalesce(tally.retired, 0))""",
    ),
    Check(
        "large distributions' figures = their keys",
        """SELECT count(*) AS distributions, coalesce(sum(given), 0)::bigint AS keys
             FROM distribution_tally""",
        """SELECT 'distribution ' || distribution_id AS broken
             FROM (SELECT distribution_id, sum(given) AS given, sum(redeemed) AS redeemed,
                          sum(retired) AS retired
                     FROM (SELECT * FROM distribution_tally
                           UNION ALL
                           SELECT change.*
                             FROM pool_tally, unnest(distribution_ids, their_given, their_redeemed,
                                                     their_retired) AS change (id)
                             JOIN distribution_tally ON distribution_id = id) AS piece
                    GROUP BY distribution_id) AS tally
             LEFT JOIN (SELECT distribution_id, count(*) AS given,
                               count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
                               count(*) FILTER (WHERE state = 'retired') AS retired
                          FROM key GROUP BY distribution_id) AS counted USING (distribution_id)
            WHERE (counted.given, counted.redeemed, counted.retired)
                  IS DISTINCT FROM (tally.given, tally.redeemed, tally.retired)""",
    ),
    Check(
        "what pools were charged = their charges",
        "SELECT coalesce(sum(quantity), 0)::bigint AS charges FROM pool_charged",
        """SELECT 'pool ' || pool_id || ' in ' || currency AS broken
             FROM (SELECT pool_id, currency, count(*) AS quantity, sum(amount) AS amount
                     FROM charge GROUP BY 1, 2) AS counted
             FULL JOIN (SELECT pool_id, currency, sum(quantity) AS quantity, sum(amount) AS amount
                          FROM pool_charged GROUP BY 1, 2) AS tally USING (pool_id, currency)
            WHERE (counted.quantity, counted.amount) IS DISTINCT FROM (tally.quantity, tally.amount)""",
    ),
]


def audit(session: Session) -> AuditShape:
    """Prove the ledger's rules on one snapshot.

    The session must be new, because the snapshot begins here.
    """
    _take_snapshot(session)
    return _kept(session)


def audit_daily(session: Session) -> AuditShape | None:
    """Audit; None if that was done today already."""
    _take_snapshot(session)
    return _kept(session) if periods.is_due(session, job="audit", every="day") else None


def _take_snapshot(session: Session) -> None:
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    session.execute(text("SET LOCAL statement_timeout = '30min'"))


def _kept(session: Session) -> AuditShape:
    """Audit, and keep what was found for the metrics."""
    begun = time.monotonic()
    result = _prove(session)
    failed = [check["name"] for check in result["checks"] if not check["ok"]]
    session.execute(KEEP, {"seconds": time.monotonic() - begun, "failed": failed})
    return result


def _prove(session: Session) -> AuditShape:
    checks = [_result(session, check) for check in CHECKS]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _result(session: Session, check: Check) -> CheckShape:
    figures = dict(session.execute(text(check.figures)).mappings().one())
    rows = list(session.scalars(text(f"{check.broken} LIMIT {LISTED}")))  # constants of this module
    ok = not rows and not (check.equal and len(set(figures.values())) > 1)
    return {"name": check.name, "ok": ok, "figures": figures, "rows": rows}
