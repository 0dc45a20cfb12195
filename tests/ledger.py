"""What billing's tests start from: buyers with pools, and redemptions charged at given times."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.billing import runs
from worker.catalogue import courses
from worker.pools import pools
from worker.tenancy import organizations
from worker.tenancy.actors import Actor

OPERATOR = Actor.operator("test")
NO_GRACE = timedelta()

# Keys, learners and assignments made up for it, then charged as settling does.
REDEEM = text("""
    WITH asked AS (
        SELECT gen_random_uuid() AS tag, CAST(at AS timestamptz) AS at
          FROM unnest(CAST(:at AS timestamptz[])) WITH ORDINALITY AS redemption (at, place)
         ORDER BY place),
    made AS (INSERT INTO key (pool_id, code, state, created_at)
             SELECT :pool, tag, 'redeemed', '1970-01-01' FROM asked RETURNING id, code),
    met AS (INSERT INTO learner (organization_id, email)
            SELECT coalesce(:learner_organization, pool.organization_id), tag || '@example.com'
              FROM asked, pool WHERE pool.id = :pool RETURNING id, organization_id, email),
    granted AS (
        INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,
                                redeemed_at, expires_at)
        SELECT made.id, pool.id, pool.course_id, met.id, met.organization_id, at, at + interval '30 d'
          FROM asked JOIN made ON made.code = tag::text JOIN met ON met.email = tag || '@example.com'
          JOIN pool ON pool.id = :pool
         ORDER BY at
        RETURNING *)
    INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                        assignment_id, amount, currency, occurred_at, tax_rate_id)
    SELECT 'redemption', pool.organization_id, granted.organization_id, granted.course_id, pool.id,
           granted.id, price.amount, price.currency, granted.redeemed_at, tax.tax_rate_id
      FROM granted JOIN pool ON pool.id = granted.pool_id
     CROSS JOIN LATERAL price_in_force(
           granted.course_id, pool.organization_id, granted.redeemed_at) AS price
      LEFT JOIN LATERAL tax_rate_in_force(pool.organization_id, granted.redeemed_at) AS tax ON true
    RETURNING occurred_at, id
""")

SET_CLOCK = text("""
    SELECT set_config('keypool.clock_offset',
                      extract(epoch FROM CAST(:at AS timestamptz) - now())::text, true)
""")
BACKDATE = text("UPDATE price SET valid_from = '2000-01-01' WHERE course_id = :course")


@dataclass(frozen=True)
class Buyer:
    """An organization with one pool of one course."""

    id: int
    name: str
    course: str
    pool: int


def instant(value: str) -> datetime:
    """Read an instant; without an offset it is UTC."""
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def set_clock(session: Session, at: str) -> None:
    """Set the one clock for the rest of the transaction."""
    session.execute(SET_CLOCK, {"at": instant(at)})


def add_buyer(
    session: Session,
    name: str = "Academy",
    *,
    price: str = "49.90",
    currency: str = "EUR",
    course: str | None = None,
    **organization: Any,
) -> Buyer:
    """Add an organization with a pool; its course has been sold at a list price since 2000."""
    made = organizations.add(session, actor=OPERATOR, name=name, currency=currency, **organization)
    if course is None:
        course = f"C-{name}"
        added = courses.add(
            session, actor=OPERATOR, code=course, title="A course", price=price, currency=currency
        )
        session.execute(BACKDATE, {"course": int(added["id"])})
    return Buyer(int(made["id"]), name, course, add_pool(session, name, course))


def add_pool(session: Session, organization: str, course: str, name: str = "Pool") -> int:
    """Add a pool and give its id."""
    pool = pools.create(
        session,
        actor=OPERATOR,
        name=name,
        organization=organization,
        course=course,
        starts="2000-01-01",
        expires="2090-12-31",
        content_availability=30,
    )
    return int(pool["id"])


def redeem(
    session: Session, pool: int, *at: str, learner_organization: int | None = None
) -> list[int]:
    """Redeem a key of a pool at each of the given times; gives the charges' ids, oldest first."""
    told = {
        "pool": pool,
        "at": [instant(moment) for moment in at],
        "learner_organization": learner_organization,
    }
    return [row.id for row in sorted(session.execute(REDEEM, told).all())]


def bill(session: Session, buyer: Buyer, **options: Any) -> tuple[dict[int, int], list[int]]:
    """Bill one buyer, as a run does for each; gives the drafts' charges, and what was finalized."""
    return runs.bill(session, actor=OPERATOR, organization_id=buyer.id, **options)


def set_tax_rate(session: Session, buyer: Buyer, percent: str, valid_from: str) -> None:
    """Set a buyer's tax rate from an instant on."""
    session.execute(
        text("""INSERT INTO tax_rate (organization_id, label, percent, valid_from)
                VALUES (:id, 'VAT', :percent, :valid_from)"""),
        {"id": buyer.id, "percent": percent, "valid_from": valid_from},
    )
