"""Attempts to redeem are counted by the quarter of an hour, for the console's first page."""

from alembic import op

revision = "0070"
down_revision = "0069"
oldest_code = "0055"


def upgrade() -> None:
    """Count new ones by a trigger, and those of the last 100 days; older code fills it, too."""
    op.execute("""
-- Attempts to redeem in a quarter of an hour (no time zone's day begins within one), a row a statement,
-- folded together by the schedule as pool_tally is: a period's redemptions and refusals are counted without
-- reading every attempt. An attempt is counted for who may see it; pool_id is null where no key was found.
CREATE TABLE attempt_tally (
    organization_id bigint             NOT NULL REFERENCES organization ON DELETE RESTRICT,
    pool_id         bigint             REFERENCES pool ON DELETE RESTRICT,
    outcome         redemption_outcome NOT NULL,
    tried_at        timestamptz        NOT NULL,
    attempts        bigint             NOT NULL,

    CONSTRAINT attempt_tally_counts_attempts CHECK (attempts > 0)
);

-- Read by an organization's first page, and by the pace of its pools.
CREATE INDEX attempt_tally_by_organization ON attempt_tally (organization_id, tried_at);
-- Read by the operator's first page, and by the fold: what is new.
CREATE INDEX attempt_tally_by_time ON attempt_tally (tried_at);

CREATE FUNCTION tally_attempts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO attempt_tally (organization_id, pool_id, outcome, tried_at, attempts)
    SELECT organization_id, pool_id, outcome, date_bin('15 minutes', received_at, '2000-01-01'), count(*)
      FROM added GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END
$$;

CREATE TRIGGER attempts_are_tallied AFTER INSERT ON redemption
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_attempts();

-- The trigger's lock keeps new ones out until this commits.
INSERT INTO attempt_tally (organization_id, pool_id, outcome, tried_at, attempts)
SELECT organization_id, pool_id, outcome, date_bin('15 minutes', received_at, '2000-01-01'), count(*)
  FROM redemption WHERE received_at > clock_now() - interval '100 days' GROUP BY 1, 2, 3, 4;

ALTER TABLE attempt_tally ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON attempt_tally TO keypool_web
    USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY persons ON attempt_tally AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
GRANT SELECT ON attempt_tally TO keypool_web;
    """)
