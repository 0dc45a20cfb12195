"""The forecasts of reports leave out days on which a pool was paused."""

from alembic import op

revision = "0063"
down_revision = "0062"
oldest_code = "0055"


def upgrade() -> None:
    """Add the view of pauses; older code does not read it."""
    op.execute("""
-- Of pauses that ended, history knows, as far back as it is kept.
CREATE VIEW report.pool_pause WITH (security_barrier) AS
SELECT pool.id AS pool_id, pool.name AS pool, organization.name AS organization,
       pause.paused_at, pause.resumed_at, pool.organization_id
  FROM (SELECT resumed.thing_id AS pool_id, resumed.at AS resumed_at,
               (SELECT max(paused.at) FROM history AS paused
                 WHERE paused.thing = 'pool' AND paused.thing_id = resumed.thing_id
                   AND paused.id < resumed.id AND paused.action = 'pool paused') AS paused_at
          FROM history AS resumed WHERE resumed.thing = 'pool' AND resumed.action = 'pool resumed'
         UNION ALL
        SELECT id, NULL::timestamptz AS resumed_at, paused_at FROM pool WHERE paused_at IS NOT NULL) AS pause
  JOIN pool ON pool.id = pause.pool_id
  JOIN organization ON organization.id = pool.organization_id
 WHERE pause.paused_at IS NOT NULL AND pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_pause IS 'One row a time during which a pool was paused.';
COMMENT ON COLUMN report.pool_pause.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_pause.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_pause.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_pause.paused_at IS 'When it was paused.';
COMMENT ON COLUMN report.pool_pause.resumed_at IS 'When it was resumed; null while it is paused.';
COMMENT ON COLUMN report.pool_pause.organization_id IS 'The owner''s organization_id.';
GRANT SELECT ON report.pool_pause TO keypool_analyst, keypool_web;
    """)
