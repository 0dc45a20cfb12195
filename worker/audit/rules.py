"""The rules that the audit proves, each as SQL over a slice of rows."""

from dataclasses import dataclass

# The least id whose row was made since: ids come in the order of time, so halving finds it without an index. A
# transaction may have been open for a while, hence the hour.
KEYS_SINCE = """
    WITH RECURSIVE halved (low, high) AS (
        SELECT min(id), max(id) FROM key
        UNION ALL
        SELECT CASE WHEN early THEN middle + 1 ELSE low END, CASE WHEN early THEN high ELSE middle END
          FROM (SELECT low, high, (low + high) / 2 AS middle,
                       (SELECT created_at FROM key WHERE id >= (low + high) / 2 ORDER BY id LIMIT 1)
                       < CAST(:since AS timestamptz) - interval '1 hour' AS early
                  FROM halved WHERE low < high) AS half)
    SELECT max(low) FROM halved"""
# By an index on time; OFFSET keeps the planner from walking all ids for the least one.
ROWS_SINCE = "SELECT min(id) FROM (SELECT id FROM {table} WHERE {time} >= :since OFFSET 0) AS late"


@dataclass(frozen=True)
class Rows:
    """The rows that a rule goes through, by their ids: a slice is the next `size` of them.

    Since a time, it begins at the id that `first` finds, and takes only rows for which `since` holds.
    """

    table: str
    size: int
    id: str = "id"
    first: str = ""
    since: str = ""


KEYS = Rows("key", 20_000, first=KEYS_SINCE)
ASSIGNMENTS = Rows(
    "assignment", 5_000, first=ROWS_SINCE.format(table="assignment", time="redeemed_at")
)
CHARGES = Rows("charge", 5_000, first=ROWS_SINCE.format(table="charge", time="occurred_at"))
POOLS = Rows(
    "pool",
    1,
    since="""(EXISTS (SELECT FROM assignment WHERE pool_id = pool.id AND redeemed_at >= :since)
              OR (SELECT created_at FROM key WHERE pool_id = pool.id ORDER BY id DESC LIMIT 1) >= :since)""",
)
LARGE_DISTRIBUTIONS = Rows("distribution_tally", 10, id="distribution_id")
INVOICES = Rows(
    "invoice",
    10,
    since="""(coalesce(finalized_at, 'infinity') >= :since OR voided_at >= :since
              OR paid_on >= CAST(CAST(:since AS timestamptz) AS date) - 1)""",
)
LINES = Rows(
    "invoice_line",
    10,
    since=f"EXISTS (SELECT FROM invoice WHERE id = invoice_id AND {INVOICES.since})",
)


@dataclass(frozen=True)
class Check:
    """A rule: a query for a slice's figures (one row), and one for rows that break it (none if it holds).

    A slice is the ids above `:after` up to `:upto` of the rows that the rule goes through; a rule without rows
    reads an index of few at once. With `equal`, each slice's figures must also be the same number.
    """

    name: str
    rows: Rows | None
    figures: str
    broken: str
    equal: bool = False


CHECKS = [
    Check(
        "redeemed keys = assignments that were not undone = redemption charges that stand",
        ASSIGNMENTS,
        """SELECT count(*) FILTER (WHERE key.state = 'redeemed' OR status = 'cancelled') AS redeemed_keys,
                  count(*) AS assignments, coalesce(sum(charges), 0)::bigint AS charges
             FROM assignment
             JOIN key ON key.id = key_id
            CROSS JOIN LATERAL (SELECT count(*) AS charges FROM charge
                                 WHERE assignment_id = assignment.id AND kind = 'redemption') AS charged
            WHERE assignment.id > :after AND assignment.id <= :upto AND NOT undone""",
        """SELECT 'key ' || key.id AS broken FROM assignment JOIN key ON key.id = key_id
            WHERE assignment.id > :after AND assignment.id <= :upto
              AND status <> 'cancelled' AND state <> 'redeemed'
           UNION ALL
           SELECT 'assignment ' || assignment.id FROM assignment
             LEFT JOIN charge ON charge.assignment_id = assignment.id AND kind = 'redemption'
             LEFT JOIN redemption ON redemption.assignment_id = assignment.id AND outcome = 'redeemed'
            WHERE assignment.id > :after AND assignment.id <= :upto
              AND (charge.id IS NULL OR redemption.event_id IS NULL)""",
        equal=True,
    ),
    Check(
        "every redeemed key has its assignment",
        KEYS,
        """SELECT count(*) AS redeemed_keys FROM key
            WHERE id > :after AND id <= :upto AND state = 'redeemed'""",
        """SELECT 'key ' || key.id AS broken FROM key
            WHERE id > :after AND id <= :upto AND state = 'redeemed'
              AND NOT EXISTS (SELECT FROM assignment
                               WHERE key_id = key.id AND assignment.status <> 'cancelled')""",
    ),
    Check(
        "no key is spent twice",
        ASSIGNMENTS,
        """SELECT count(*) AS spent_keys FROM assignment
            WHERE id > :after AND id <= :upto AND status <> 'cancelled'""",
        """SELECT 'key ' || key_id AS broken FROM assignment
            WHERE id > :after AND id <= :upto AND NOT undone
              AND EXISTS (SELECT FROM assignment AS other
                           WHERE other.key_id = assignment.key_id AND other.id <> assignment.id
                             AND NOT other.undone)""",
    ),
    Check(
        "undone assignments are credited in full",
        ASSIGNMENTS,
        "SELECT count(*) AS undone FROM assignment WHERE id > :after AND id <= :upto AND undone",
        """SELECT 'assignment ' || assignment.id AS broken FROM assignment
             JOIN charge ON charge.assignment_id = assignment.id AND charge.kind = 'redemption'
             LEFT JOIN charge AS credit ON credit.credits_id = charge.id
            WHERE assignment.id > :after AND assignment.id <= :upto AND assignment.undone
            GROUP BY assignment.id, charge.id
           HAVING charge.amount + coalesce(sum(credit.amount), 0) <> 0""",
    ),
    Check(
        "credits stay within their charges",
        CHARGES,
        "SELECT count(*) AS credits FROM charge WHERE id > :after AND id <= :upto AND kind = 'credit'",
        """SELECT DISTINCT 'charge ' || charge.id AS broken
             FROM charge AS given
             JOIN charge ON charge.id = given.credits_id
            WHERE given.id > :after AND given.id <= :upto
              AND charge.amount + (SELECT sum(amount) FROM charge AS credit
                                    WHERE credit.credits_id = charge.id) < 0""",
    ),
    Check(
        "no charge is on two unreleased invoices",
        CHARGES,
        """SELECT count(invoice_charge.charge_id) AS invoiced, count(*) FILTER (WHERE unbilled) AS unbilled
             FROM charge
             LEFT JOIN invoice_charge ON charge_id = charge.id AND released_at IS NULL
            WHERE charge.id > :after AND charge.id <= :upto""",
        """SELECT 'charge ' || charge.id AS broken FROM charge
             LEFT JOIN invoice_charge ON charge_id = charge.id AND released_at IS NULL
             LEFT JOIN charge_cancelled_out ON charge_cancelled_out.charge_id = charge.id
            WHERE charge.id > :after AND charge.id <= :upto
            GROUP BY charge.id, cancelled_at
           HAVING count(invoice_charge.charge_id) + count(cancelled_at) / greatest(count(*), 1)
                  <> CASE WHEN unbilled THEN 0 ELSE 1 END""",
    ),
    Check(
        "what cancelled out comes to nothing",
        CHARGES,
        """SELECT count(*) AS charges FROM charge_cancelled_out
            WHERE charge_id > :after AND charge_id <= :upto""",
        """SELECT 'charge ' || charge.id AS broken
             FROM charge_cancelled_out
             JOIN charge ON charge.id = charge_cancelled_out.charge_id
             LEFT JOIN charge AS credit ON credit.credits_id = charge.id
            WHERE charge_cancelled_out.charge_id > :after AND charge_cancelled_out.charge_id <= :upto
              AND charge.credits_id IS NULL
            GROUP BY charge.id HAVING charge.amount + coalesce(sum(credit.amount), 0) <> 0""",
    ),
    Check(
        "credits stand on credit notes, and name lines of final invoices that have their charges",
        INVOICES,
        """SELECT count(*) AS credit_notes, coalesce(sum(total), 0)::text AS totals FROM invoice
            WHERE id > :after AND id <= :upto AND kind = 'credit_note' AND status <> 'draft'""",
        """SELECT 'credit ' || charge.id || ' on document ' || invoice.id AS broken
             FROM invoice
             JOIN invoice_charge ON invoice_charge.invoice_id = invoice.id
             JOIN invoice_line AS line ON line.id = invoice_charge.line_id
             JOIN charge ON charge.id = invoice_charge.charge_id
            WHERE invoice.id > :after AND invoice.id <= :upto AND invoice.kind = 'credit_note'
              AND NOT EXISTS (SELECT FROM invoice_charge AS credited
                                JOIN invoice AS paper ON paper.id = credited.invoice_id
                               WHERE credited.charge_id = charge.credits_id
                                 AND credited.line_id = line.credits_line_id
                                 AND credited.released_at IS NULL AND paper.status IN ('finalized', 'paid'))""",
    ),
    Check(
        "every tax = its lines, and an invoice that was credited whole was given back whole",
        INVOICES,
        """SELECT count(*) AS taxes, coalesce(sum(tax), 0)::text AS tax FROM invoice_tax
            WHERE invoice_id > :after AND invoice_id <= :upto""",
        """SELECT 'invoice ' || invoice.id AS broken FROM invoice
            WHERE id > :after AND id <= :upto AND status <> 'draft'
              AND (subtotal, tax) <> (SELECT coalesce(sum(subtotal), 0), coalesce(sum(tax), 0)
                                        FROM invoice_tax WHERE invoice_id = invoice.id)
           UNION ALL
           SELECT 'invoice ' || taxed.invoice_id || ' at rate ' || coalesce(taxed.tax_rate_id, 0)
             FROM (SELECT invoice_id, tax_rate_id, sum(subtotal) AS subtotal FROM invoice_tax
                    WHERE invoice_id > :after AND invoice_id <= :upto GROUP BY 1, 2) AS taxed
             FULL JOIN (SELECT invoice_id, tax_rate_id, sum(amount) AS subtotal FROM invoice_line
                         WHERE invoice_id > :after AND invoice_id <= :upto GROUP BY 1, 2) AS lines
               ON (lines.invoice_id, coalesce(lines.tax_rate_id, 0))
                = (taxed.invoice_id, coalesce(taxed.tax_rate_id, 0))
            WHERE taxed.subtotal IS DISTINCT FROM lines.subtotal
           UNION ALL
           SELECT 'invoice ' || invoice.id || ' credited by ' || -sum(note.subtotal + note.tax)
             FROM invoice JOIN invoice_tax AS note ON note.credits_invoice_id = invoice.id
             JOIN invoice AS paper ON paper.id = note.invoice_id AND paper.status <> 'draft'
            WHERE invoice.id > :after AND invoice.id <= :upto
            GROUP BY invoice.id
           HAVING sum(note.subtotal) = -invoice.subtotal AND sum(note.tax) <> -invoice.tax""",
    ),
    Check(
        "what is paid has nothing open, and what has nothing open is paid",
        INVOICES,
        """SELECT count(*) FILTER (WHERE status = 'paid') AS paid,
                  count(*) FILTER (WHERE status = 'finalized') AS open,
                  (SELECT count(*) FROM payment WHERE invoice_id > :after AND invoice_id <= :upto
                                                  AND taken_back_at IS NULL) AS payments
             FROM invoice WHERE id > :after AND id <= :upto""",
        """SELECT 'invoice ' || id AS broken FROM invoice
            WHERE id > :after AND id <= :upto AND status IN ('finalized', 'paid')
              AND (status = 'paid') <> (invoice_open(id, status, total) = 0)""",
    ),
    Check(
        "drafts of a voided invoice wait for a person",
        None,
        "SELECT count(*) AS by_hand FROM invoice WHERE status = 'draft' AND by_hand",
        """SELECT 'draft ' || id AS broken FROM invoice
            WHERE status = 'draft' AND by_hand AND kind = 'credit_note'""",
    ),
    Check(
        "every finalized invoice's total = its lines = its charges",
        INVOICES,
        """SELECT count(*) AS invoices, coalesce(sum(subtotal), 0)::text AS subtotals
             FROM invoice WHERE id > :after AND id <= :upto AND status <> 'draft'""",
        """SELECT 'invoice ' || invoice.id AS broken FROM invoice
            WHERE id > :after AND id <= :upto AND status <> 'draft'
              AND (subtotal <> (SELECT coalesce(sum(amount), 0) FROM invoice_line WHERE invoice_id = invoice.id)
                   OR subtotal <> (SELECT coalesce(sum(amount), 0) FROM invoice_charge
                                     JOIN charge ON charge.id = charge_id
                                    WHERE invoice_charge.invoice_id = invoice.id))""",
    ),
    Check(
        "every line = its shares = its charges, by learners' organization",
        LINES,
        """SELECT count(*) AS shares, coalesce(sum(quantity), 0)::bigint AS charges FROM invoice_share
            WHERE line_id > :after AND line_id <= :upto
              AND invoice_id IN (SELECT invoice_id FROM invoice_line WHERE id > :after AND id <= :upto)""",
        """SELECT 'line ' || line.id || coalesce(' for organization ' || wrong.organization_id, '') AS broken
             FROM invoice_line AS line
            CROSS JOIN LATERAL (
                  SELECT NULL::bigint AS organization_id
                    FROM (SELECT sum(quantity) AS quantity FROM invoice_share
                           WHERE invoice_id = line.invoice_id AND line_id = line.id) AS shared
                   WHERE (shared.quantity, shared.quantity * line.unit_price)
                         IS DISTINCT FROM (line.quantity, line.amount)
                  UNION ALL
                  SELECT organization_id
                    FROM (SELECT charge.learner_organization_id AS organization_id,
                                 count(*) AS quantity, sum(charge.amount) AS amount
                            FROM invoice_charge JOIN charge ON charge.id = charge_id
                           WHERE invoice_charge.invoice_id = line.invoice_id AND line_id = line.id
                           GROUP BY 1) AS counted
                    FULL JOIN (SELECT learner_organization_id AS organization_id, quantity,
                                      quantity * line.unit_price AS amount
                                 FROM invoice_share
                                WHERE invoice_id = line.invoice_id AND line_id = line.id) AS shares
                   USING (organization_id)
                   WHERE (counted.quantity, counted.amount) IS DISTINCT FROM (shares.quantity, shares.amount)
                  ) AS wrong
            WHERE line.id > :after AND line.id <= :upto""",
    ),
    Check(
        "invoice numbers have no gap",
        INVOICES,
        "SELECT count(*) AS numbered FROM invoice WHERE id > :after AND id <= :upto AND serial IS NOT NULL",
        """SELECT 'invoice ' || id || ' is number ' || number AS broken FROM invoice
            WHERE id > :after AND id <= :upto AND serial > 1
              AND NOT EXISTS (
                  SELECT FROM invoice AS before
                   WHERE before.number = invoice.year::text || '-' || lpad(
                         (invoice.serial - 1)::text, greatest(6, length((invoice.serial - 1)::text)), '0'))""",
    ),
    Check(
        "no event is unsettled past its time",
        None,
        """SELECT (SELECT count(*) FROM event WHERE is_undecided(status, waits_for))
                + (SELECT count(*) FROM event WHERE waits_for IS NOT NULL) AS waiting,
                  (SELECT count(*) FROM event WHERE status = 'failed') AS set_apart""",
        """SELECT 'event ' || id AS broken FROM event
            WHERE is_undecided(status, waits_for)
              AND received_at < clock_now() - interval '5 minutes'""",
    ),
    Check(
        "pools' figures = their keys",
        POOLS,
        """SELECT coalesce(sum(issued + redeemed + retired), 0)::bigint AS keys FROM pool_tally
            WHERE pool_id > :after AND pool_id <= :upto""",
        # Three counts, each of an index alone, of a pool that may have many million keys.
        """SELECT 'pool ' || pool.id AS broken
             FROM pool
            CROSS JOIN LATERAL (SELECT count(*) AS keys FROM key WHERE pool_id = pool.id) AS counted
            CROSS JOIN LATERAL (SELECT count(*) AS redeemed FROM key
                                 WHERE pool_id = pool.id AND state = 'redeemed') AS spent
            CROSS JOIN LATERAL (SELECT count(*) AS retired FROM key
                                 WHERE pool_id = pool.id AND state = 'retired') AS gone
            CROSS JOIN LATERAL (SELECT coalesce(sum(issued), 0) AS issued,
                                       coalesce(sum(redeemed), 0) AS redeemed,
                                       coalesce(sum(retired), 0) AS retired
                                  FROM pool_tally WHERE pool_id = pool.id) AS tally
            WHERE pool.id > :after AND pool.id <= :upto
              AND (keys - spent.redeemed - gone.retired, spent.redeemed, gone.retired)
               <> (tally.issued, tally.redeemed, tally.retired)""",
    ),
    Check(
        "large distributions' figures = their keys",
        LARGE_DISTRIBUTIONS,
        """SELECT count(*) AS distributions, coalesce(sum(given), 0)::bigint AS keys
             FROM distribution_tally WHERE distribution_id > :after AND distribution_id <= :upto""",
        """SELECT 'distribution ' || distribution_id AS broken
             FROM distribution_tally AS kept
             JOIN distribution ON distribution.id = kept.distribution_id
            CROSS JOIN LATERAL (
                  SELECT coalesce(sum(given), 0) AS given, coalesce(sum(change.redeemed), 0) AS redeemed,
                         coalesce(sum(change.retired), 0) AS retired
                    FROM pool_tally, unnest(distribution_ids, their_given, their_redeemed, their_retired)
                             AS change (id, given, redeemed, retired)
                   WHERE pool_tally.pool_id = distribution.pool_id
                     AND change.id = kept.distribution_id) AS later
            CROSS JOIN LATERAL (
                  SELECT count(*) AS given, count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
                         count(*) FILTER (WHERE state = 'retired') AS retired
                    FROM key WHERE key.distribution_id = kept.distribution_id) AS counted
            WHERE kept.distribution_id > :after AND kept.distribution_id <= :upto
              AND (counted.given, counted.redeemed, counted.retired)
               <> (kept.given + later.given, kept.redeemed + later.redeemed, kept.retired + later.retired)""",
    ),
    Check(
        "what pools were charged = their charges",
        POOLS,
        """SELECT coalesce(sum(quantity), 0)::bigint AS charges FROM pool_charged
            WHERE pool_id > :after AND pool_id <= :upto""",
        """SELECT 'pool ' || pool.id || ' in ' || wrong.currency AS broken
             FROM pool
            CROSS JOIN LATERAL (
                  SELECT currency
                    FROM (SELECT currency, count(*) AS quantity, sum(amount) AS amount
                            FROM charge WHERE pool_id = pool.id GROUP BY 1) AS counted
                    FULL JOIN (SELECT currency, sum(quantity) AS quantity, sum(amount) AS amount
                                 FROM pool_charged WHERE pool_id = pool.id GROUP BY 1) AS tally USING (currency)
                   WHERE (counted.quantity, counted.amount) IS DISTINCT FROM (tally.quantity, tally.amount)
                  ) AS wrong
            WHERE pool.id > :after AND pool.id <= :upto""",
    ),
]
