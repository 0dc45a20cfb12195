"""Invoices: a month's charges of many organizations, billed; and what years of them cost later."""

from functools import partial

import psycopg
from fpdf import FPDF

from benchmarks.frame import Rig, Round, benchmark, in_a_process, plain, seconds
from worker.billing import handing_over, invoices, runs
from worker.billing.invoices import InvoiceShown
from worker.billing.pdf import invoice_pdf
from worker.database import connections
from worker.languages.scripts import FONTS
from worker.tenancy.actors import Actor

ORGANIZATIONS = 1_000
EACH = 1_000  # charges of each organization: at a smaller scale there are fewer organizations
COURSES = 10
POOLS = 2  # of each organization
OPERATOR = Actor.operator("benchmark")

BUYERS = """
    ALTER TABLE charge DROP CONSTRAINT charge_assignment_id_fkey;
    INSERT INTO organization (name, time_zone)
    SELECT 'Buyer ' || n, (ARRAY['Europe/Berlin', 'America/New_York', 'UTC'])[1 + n %% 3]
      FROM generate_series(1, %(organizations)s) AS n;
    INSERT INTO course (code, title) SELECT 'C-' || n, 'Course ' || n FROM generate_series(1, %(courses)s) AS n;
    INSERT INTO pool (organization_id, course_id, name, starts_at, expires_at, content_availability_days)
    SELECT organization.id, 1 + (organization.id + n) %% %(courses)s, 'Pool ' || n, '2020-01-01',
           '2090-01-01', 90
      FROM organization CROSS JOIN generate_series(1, %(pools)s) AS n;
"""

# Each of an assignment of its own, which billing never looks at, nor at its key and learner: they
# are left out.
CHARGES = """
    INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                        assignment_id, amount, currency, occurred_at)
    SELECT 'redemption', pool.organization_id, pool.organization_id, pool.course_id, pool.id,
           (SELECT coalesce(max(assignment_id), 0) FROM charge) + n, 49.90 + n %% 2 * 10, 'EUR',
           CAST(%(month)s AS date) + interval '2 days' + n %% 20 * interval '1 day'
      FROM generate_series(1, %(count)s) AS n
      JOIN (SELECT pool.*, row_number() OVER (ORDER BY organization_id, id) - 1 AS place
              FROM pool) AS pool ON pool.place = n %% %(pools)s
"""

# What a run makes of them, for all organizations at once, by whoever knows that nothing was billed
# before and minds no rule: keys and foreign keys hold, and none of the triggers does.
BARE = """
    BEGIN;
    ALTER TABLE charge DISABLE TRIGGER USER;
    ALTER TABLE invoice DISABLE TRIGGER USER;
    ALTER TABLE invoice_line DISABLE TRIGGER USER;
    ALTER TABLE invoice_share DISABLE TRIGGER USER;
    ALTER TABLE invoice_charge DISABLE TRIGGER USER;
    INSERT INTO invoice (organization_id, month, currency)
    SELECT DISTINCT organization_id, date_trunc('month', occurred_at AT TIME ZONE time_zone)::date,
           charge.currency
      FROM charge JOIN organization ON organization.id = organization_id WHERE unbilled;
    INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price, quantity, amount)
    SELECT invoice.id, course_id, pool_id, charge.kind, month, charge.amount, count(*), sum(charge.amount)
      FROM charge JOIN invoice USING (organization_id) WHERE unbilled GROUP BY 1, 2, 3, 4, 5, 6;
    INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
    SELECT invoice.id, invoice_line.id, learner_organization_id, count(*)
      FROM charge JOIN invoice USING (organization_id)
      JOIN invoice_line ON invoice_line.invoice_id = invoice.id AND invoice_line.pool_id = charge.pool_id
           AND invoice_line.unit_price = charge.amount
     WHERE unbilled GROUP BY 1, 2, 3;
    INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
    SELECT invoice.id, charge.id, invoice_line.id
      FROM charge JOIN invoice USING (organization_id)
      JOIN invoice_line ON invoice_line.invoice_id = invoice.id AND invoice_line.pool_id = charge.pool_id
           AND invoice_line.unit_price = charge.amount
     WHERE unbilled;
    UPDATE charge SET unbilled = false WHERE unbilled;
    UPDATE invoice SET subtotal = sums.amount, total = sums.amount
      FROM (SELECT invoice_id, sum(amount) AS amount FROM invoice_line GROUP BY invoice_id) AS sums
     WHERE invoice.id = sums.invoice_id;
    COMMIT;
"""

# One buyer, whose charges differ in price: each is a line of its own. Every other title is Arabic.
LINES = """
    UPDATE organization SET locale = 'de' WHERE id = 1;
    INSERT INTO course (code, title)
    SELECT 'L-' || n,
           CASE WHEN n %% 2 = 0 AND %(arabic)s THEN 'أساسيات كوبرنيتس ' ELSE 'Kubernetes für Anfänger ' END
           || n
      FROM generate_series(1, 100) AS n;
    INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                        assignment_id, amount, currency, occurred_at)
    SELECT 'redemption', 1, 1, course.id, (SELECT min(id) FROM pool WHERE organization_id = 1), n,
           10 + n * 0.01, 'EUR', '2026-01-05'
      FROM generate_series(1, %(count)s) AS n JOIN course ON course.code = 'L-' || 1 + n %% 100
"""

# Who sells and who buys, as e-invoices have to name them.
PARTIES = """
    UPDATE seller SET name = 'Keys GmbH', street = 'Kai 1', postcode = '20457', city = 'Hamburg',
           country = 'DE', tax_id = 'DE136695976', electronic_address = '0088:4012345000009';
    INSERT INTO seller_bank VALUES ('EUR', 'DE89370400440532013000', 'COBADEFFXXX');
    UPDATE organization SET street = 'Weg 2', postcode = '53111', city = 'Bonn', country = 'DE', locale = 'de',
           buyer_reference = 'B-' || id, electronic_address = 'EM:ap' || id || '@buyer.example';
"""

BILLED = "SELECT count(*), count(DISTINCT invoice_id) FROM invoice_charge"


@benchmark("invoices.run", unit="charges/s", n=1_000_000)
def running(rig: Rig, count: int) -> Round:
    """A run over a closed month, and one SQL script; then what the next month costs after much."""
    later, organizations = max(count // 10, 1), min(ORGANIZATIONS, max(count // EACH, 1))
    with rig.database(buyers):
        charged(count, organizations, month="2026-01-01")
        ours = in_a_process("benchmarks.invoices:run")
        made = figures()
        ten = next_month(later, organizations)
    with rig.database(buyers):
        charged(count, organizations, month="2026-01-01")
        limit = count / seconds(bare)
        if figures() != made:
            raise AssertionError("the script does not bill what the run does")
    with rig.database(buyers):
        charged(later, organizations, month="2026-01-01")
        run()
        one = next_month(later, organizations)
    return Round(
        ours=count / ours.seconds,
        limit=limit,
        peak_memory_mb=ours.memory_mb,
        notes={
            f"ms an organization, {later:,} charges billed before": one,
            f"ms an organization, {count:,} charges billed before": ten,
        },
    )


@benchmark("invoices.pdf", unit="lines/s", n=10_000)
def printing(rig: Rig, count: int) -> Round:
    """A long invoice on paper, and the same words put there by the library alone, one after another."""
    with rig.database(buyers):
        plainly = long_invoice(count, arabic=False)
    with rig.database(buyers):
        shaped = long_invoice(count, arabic=True)
    return Round(
        ours=count / seconds(lambda: invoice_pdf(plainly)),
        limit=count / seconds(lambda: bare_pdf(plainly)),
        notes={"lines/s, every other title Arabic": count / seconds(lambda: invoice_pdf(shaped))},
    )


@benchmark("invoices.documents", unit="invoices/s", n=1_000)
def handing_over_a_month(rig: Rig, count: int) -> Round:
    """A month's invoices in one zip, each as PDF and as XML; and as Factur-X, which has both in one."""
    with rig.database(buyers):
        finalized(count)
        ours = in_a_process("benchmarks.invoices:handed_over")
        hybrids = count / seconds(partial(hand_over, "facturx"))
    return Round(
        ours=count / ours.seconds,
        peak_memory_mb=ours.memory_mb,
        notes={"invoices/s, as Factur-X": hybrids},
    )


def finalized(count: int) -> None:
    """Finalize an invoice of ten charges for each of so many organizations."""
    charged(10 * count, count, month="2026-01-01")
    with psycopg.connect(plain()) as connection:
        connection.execute(PARTIES)
    done = runs.run(actor=OPERATOR, finalize=True)
    if len(done.finalized) != count:
        raise AssertionError(f"{len(done.finalized)} invoices instead of {count}: {done.lacks}")


def handed_over() -> None:
    """Write every invoice as PDF and XML."""
    hand_over(None)


def hand_over(format: str | None) -> None:
    """Read a zip of every invoice to its end."""
    with connections.session() as session:
        made = handing_over.export(
            session, actor=OPERATOR, from_="2020-01-01", to="2090-12-31", format=format
        )
        size = sum(map(len, made.content))
    if size < 1_000_000:
        raise AssertionError(f"{size} bytes are no month of invoices")


def long_invoice(count: int, *, arabic: bool) -> InvoiceShown:
    """Bill so many lines to one buyer, and give the invoice."""
    with psycopg.connect(plain()) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(LINES, {"count": count, "arabic": arabic})
    run()
    with connections.session() as session:
        shown = invoices.show(session, actor=OPERATOR, invoice="1")
    if len(shown["lines"]) != count:
        raise AssertionError(f"{len(shown['lines'])} lines were billed instead of {count}")
    return shown


def bare_pdf(invoice: InvoiceShown) -> None:
    """Put the same words on as many pages: nothing is wrapped, shaped or written in a language."""
    paper = FPDF()
    paper.add_font("body", "", FONTS / "DejaVuSans.ttf")
    paper.set_font("body", size=9)
    for place, line in enumerate(invoice["lines"]):
        if place % 24 == 0:
            paper.add_page()
        y = 20 + place % 24 * 10
        paper.text(18, y, line["course_title"])
        paper.text(18, y + 4, line["pool_name"])
        paper.text(120, y, str(line["quantity"]))
        paper.text(140, y, line["unit_price"])
        paper.text(170, y, line["amount"])
    paper.output()


def run() -> None:
    """Bill every closed month, as the schedule does."""
    runs.run(actor=OPERATOR)


def bare() -> None:
    """Bill everything in one go."""
    with psycopg.connect(plain(), autocommit=True) as connection:
        connection.execute(BARE)


def buyers() -> None:
    """Make organizations with their pools."""
    sizes = {"organizations": ORGANIZATIONS, "courses": COURSES, "pools": POOLS}
    with psycopg.connect(plain()) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(BUYERS, sizes)


def charged(count: int, organizations: int, *, month: str) -> None:
    """Charge a month's redemptions, shared out among the pools of so many organizations."""
    with psycopg.connect(plain()) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(CHARGES, {"count": count, "month": month, "pools": POOLS * organizations})
    with psycopg.connect(plain(), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE charge")


def next_month(count: int, organizations: int) -> float:
    """Bill one month more, and say how many milliseconds each organization took."""
    charged(count, organizations, month="2026-02-01")
    connections.dispose()  # connections that planned for other tables
    return 1000 * seconds(run) / organizations


def figures() -> object:
    """Say how many charges are on how many invoices."""
    with psycopg.connect(plain()) as connection:
        return connection.execute(BILLED).fetchone()
